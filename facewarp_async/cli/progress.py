"""Progress on stderr: bars on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from facewarp_async.cli.output import Output
from facewarp_async.cli.tally import Tally
from facewarp_async.errors import Stage
from facewarp_async.pipeline import Event, JobEnded
from facewarp_async.text import bytes_text, seconds, shorten, visible

_NARROW_COLUMNS, _NAME_COLUMNS = 76, 60
_LABEL_COLUMNS, _WIDEST_BAR, _COUNT_COLUMNS = 8, 60, 50
_SPINNING, _SHORTEST_NAME = "⠋ ", 8
_MARGIN = 4
"""Left free, for the ``^C`` that a terminal writes there must not begin a new line."""
_FRAMES_PER_S = 8
_LONGEST_INTERVAL_S = 60.0

OnEvent = Callable[[Event], None]


class _Bars:
    """Draws a tally: three bars, or one line where the terminal is narrow."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._begun = time.monotonic()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        elapsed = seconds(time.monotonic() - self._begun)
        if options.max_width < _NARROW_COLUMNS:
            yield Text(self._line(elapsed, options.max_width - _MARGIN), no_wrap=True)
            return
        tally, total = self._tally, self._tally.total
        bar_columns = min(_WIDEST_BAR, options.max_width - _LABEL_COLUMNS - _COUNT_COLUMNS - 2 - _MARGIN)
        table = Table.grid()
        # Fixed, so that nothing wraps: two threads draw, and neither may find another number of lines than the last.
        for columns in (_LABEL_COLUMNS + 1, bar_columns, _COUNT_COLUMNS + 1):  # Rich's releases pad differently
            table.add_column(width=columns, no_wrap=True, overflow="ellipsis")
        sent = f"  {bytes_text(tally.sent_bytes)}" if tally.sent_bytes else ""
        pace = tally.bytes_per_s()
        speed = f" at {bytes_text(round(pace))}/s" if pace >= 1 and tally.uploaded != total else ""
        running = f"  {tally.running} running" if tally.running else ""
        table.add_row(
            "uploaded", self._bar(tally.uploaded_share, "blue"), f" {_of(tally.uploaded, total)}{sent}{speed}"
        )
        table.add_row("created", self._bar(tally.created, "magenta"), f" {_of(tally.created, total)}{running}")
        failed = (f"  {tally.failed} failed", "red") if tally.failed else ""
        table.add_row(
            "done",
            self._bar(tally.done, "green"),
            Text.assemble(f" {_of(tally.done, total)}", failed, f"  {elapsed}{tally.left()}"),
        )
        yield table

    def _line(self, elapsed: str, width: int) -> str:
        """Return as much as a line holds; what matters least goes first."""
        tally = self._tally
        parts = {
            "done": f"{_of(tally.done, tally.total)} done",
            "failed": f"{tally.failed} failed" * bool(tally.failed),
            "running": f"{tally.running} running" * bool(tally.running),
            "sent": f"{bytes_text(tally.sent_bytes)} sent" * bool(tally.sent_bytes),
            "elapsed": elapsed,
            "left": tally.left().removeprefix(", "),
        }
        for least in ("", "sent", "elapsed", "running", "left"):
            parts.pop(least, None)
            line = ", ".join(filter(None, parts.values()))
            if len(line) <= width:
                return line
        return shorten(line, width)

    def _bar(self, completed: float, colour: str) -> ProgressBar:
        total = self._tally.total
        return ProgressBar(
            total=None if total is None else max(total, completed, 1),
            completed=completed,
            complete_style=colour,
            finished_style=colour,
            pulse_style=colour,
        )


def _of(number: int, total: int | None) -> str:
    return str(number) if total is None else f"{number}/{total}"


class _Lines:
    """Writes a tally as a line, at first often, then less and less."""

    def __init__(self, tally: Tally, output: Output) -> None:
        self._tally = tally
        self._output = output
        self._interval_s = 1.0
        self._due = time.monotonic() + self._interval_s

    def tell(self) -> None:
        """Write one if it is due."""
        if time.monotonic() < self._due:
            return
        self._output.say(self._tally.line() + self._tally.left())
        self._interval_s = min(2 * self._interval_s, _LONGEST_INTERVAL_S)
        self._due = time.monotonic() + self._interval_s


@contextmanager
def batch_progress(output: Output, tally: Tally) -> Iterator[OnEvent]:
    """Show how a batch goes on while the block runs; the pipeline's events go to what is given."""
    if not output.animated:
        lines = _Lines(tally, output)

        def count_and_tell(event: Event) -> None:
            tally.count(event)
            if isinstance(event, JobEnded):
                lines.tell()

        yield count_and_tell
        return
    with _live(output, _Bars(tally)):
        yield tally.count


class _Step:
    """Draws what one job does now."""

    def __init__(self, subject: str) -> None:
        self._subject = subject
        self._begun = time.monotonic()
        self._spinner = Spinner("dots")
        self.doing = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width - len(_SPINNING) - _MARGIN
        tail = f": {self.doing}, {seconds(time.monotonic() - self._begun)}"
        if width - len(tail) < _SHORTEST_NAME:
            tail = f": {self.doing}"
        room = max(width - len(tail), _SHORTEST_NAME)
        self._spinner.update(text=Text(shorten(self._subject, room) + tail, no_wrap=True, overflow="ellipsis"))
        yield self._spinner


_DOING = {
    Stage.CHECK: "looking at the files",
    Stage.UPLOAD: "uploading",
    Stage.CREATE: "creating the task",
    Stage.WAIT: "waiting for the result",
    Stage.DOWNLOAD: "downloading",
}


class ShowStage(Protocol):
    """Shows which stage a job is in, and how far it is in it where that can be told."""

    def __call__(self, stage: Stage, how_far: str = "") -> None:
        """Show it."""


@contextmanager
def job_progress(output: Output, subject: object) -> Iterator[ShowStage]:
    """Show what one job does while the block runs; its stages go to what is given."""
    name = visible(subject)

    def say(stage: Stage, how_far: str = "") -> None:
        if not how_far:
            output.say(f"{shorten(name, _NAME_COLUMNS)}: {_DOING[stage]}")

    if not output.animated:
        yield say
        return
    step = _Step(name)

    def show(stage: Stage, how_far: str = "") -> None:
        step.doing = f"{_DOING[stage]} {how_far}".rstrip()

    with _live(output, step):
        yield show


def _live(output: Output, picture: _Bars | _Step) -> Live:
    # What is written to stdout passes the console already, and a thread of its own draws, so the loop is not held up.
    return Live(
        picture,
        console=output.console,
        refresh_per_second=_FRAMES_PER_S,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
