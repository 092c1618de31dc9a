"""What tests expect of outcomes, and jobs that the service fails."""

from __future__ import annotations

from facewarp_async import Completed, Failed
from facewarp_async.server import Work, WorkError
from tests.heads import PNG


def completed(outcome: object) -> Completed:
    assert isinstance(outcome, Completed), outcome
    return outcome


def failed(outcome: object) -> Failed:
    assert isinstance(outcome, Failed), outcome
    return outcome


def work_errors(work: Work) -> None:
    """Fail a task with the code that stands in its media."""
    label = work.media.read_bytes()[len(PNG) :].decode(errors="replace")
    if label.startswith("code"):
        raise WorkError(int(label.removeprefix("code")), "as asked")
