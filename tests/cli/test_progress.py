"""What bars and lines say, drawn for terminals of any width."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from facewarp_async.cli.progress import _Bars, _Step
from facewarp_async.cli.tally import Tally


def drawn(width: int, **options: Any) -> list[str]:
    """Draw a batch of 1,000 that is half done."""
    tally = Tally(total=1000, done=400, created=700, uploaded=800, **options)
    tally._running.update(range(300))
    file = StringIO()
    Console(file=file, width=width, force_terminal=True, color_system=None).print(_Bars(tally))
    return file.getvalue().splitlines()


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (63, "400/1000 done, 7 failed, 300 running, 12.0 MB sent, 0.0 s"),
        (54, "400/1000 done, 7 failed, 300 running, 0.0 s"),
        (46, "400/1000 done, 7 failed, 300 running"),
        (36, "400/1000 done, 7 failed"),
        (20, "400/100…7 failed"),
    ],
)
def test_a_narrow_line_leaves_out_what_matters_least(width: int, line: str) -> None:
    assert drawn(width, failed=7, sent_bytes=12_000_000) == [line]


@pytest.mark.parametrize("width", [76, 80, 120, 200])
def test_bars_fit_and_say_everything(width: int) -> None:
    uploaded, created, done = drawn(width, failed=7, sent_bytes=12_000_000)
    assert max(map(len, (uploaded, created, done))) <= width - 4
    assert uploaded.rstrip().endswith("800/1000  12.0 MB")
    assert created.rstrip().endswith("700/1000  300 running")
    assert done.rstrip().endswith("400/1000  7 failed  0.0 s")
    assert all("━" in line for line in (uploaded, created, done))


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (80, "holiday/day-2/beach.jpg: waiting for the result, 0.0 s"),
        (50, "holida…ch.jpg: waiting for the result, 0.0 s"),
        (40, "holi…h.jpg: waiting for the result"),
    ],
)
def test_what_one_file_is_at_fits_and_leaves_out_what_matters_least(width: int, line: str) -> None:
    step = _Step("holiday/day-2/beach.jpg")
    step.doing = "waiting for the result"
    file = StringIO()
    Console(file=file, width=width, force_terminal=True, color_system=None).print(step)
    (drawn,) = file.getvalue().splitlines()
    assert drawn[2:].rstrip() == line
    assert len(drawn.rstrip()) <= width - 4


def test_what_is_not_there_is_not_told() -> None:
    line = Tally(total=3)
    assert line.line() == "0 of 3 done, 0 created, 0 uploaded"
    file = StringIO()
    Console(file=file, width=40, force_terminal=True, color_system=None).print(_Bars(line))
    assert file.getvalue() == "0/3 done, 0.0 s\n"
