"""What became of a batch, as one HTML page. Needs the extra ``cli``; to put pictures into the page, also ``local``."""

from facewarp_async.errors import MissingExtraError

try:
    from facewarp_async.report.page import write_page
except ModuleNotFoundError as _missing:
    if _missing.name not in {"jinja2", "markupsafe"}:
        raise
    raise MissingExtraError("a report is made with jinja2: pip install 'facewarp-async[cli]'") from _missing

from facewarp_async.journal import Ending
from facewarp_async.report.cards import Pictures
from facewarp_async.report.reading import read_report
from facewarp_async.report.values import Fate, JobReport, Phase, Report, RunReport, Span

__all__ = [
    "Ending",
    "Fate",
    "JobReport",
    "Phase",
    "Pictures",
    "Report",
    "RunReport",
    "Span",
    "read_report",
    "write_page",
]
