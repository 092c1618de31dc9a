"""Where things lie on a page's time axis; pure. It is as wide as `WIDTH` and leaves out the pauses between runs."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

from attrs import frozen

from facewarp_async.report.values import JobReport, Phase, RunReport
from facewarp_async.text import seconds

WIDTH, HEIGHT = 1000.0, 100.0
_COLUMNS = 160
_COLUMN = WIDTH / _COLUMNS
_NARROWEST = 3.0
_TICKS = 6
_STEPS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 4 * 3600, 12 * 3600, 86400)


@frozen
class Bar:
    """A part of a strip.

    Attributes:
        phase: What it shows.
        x: Where it begins.
        width: How wide it is.
    """

    phase: Phase
    x: float
    width: float


@frozen
class Tick:
    """A mark on the axis."""

    x: float
    label: str


@frozen
class Area:
    """How many jobs were at something, as the outline of an area."""

    phase: Phase
    path: str


class Axis:
    """The time in which runs have worked, one run behind the other.

    Args:
        runs: The runs.
    """

    def __init__(self, runs: Sequence[RunReport]) -> None:
        self._runs = [run for run in runs if run.elapsed_s > 0]
        self._begins = [run.began_at for run in self._runs]
        self._offsets = list(accumulate((run.elapsed_s for run in self._runs), initial=0.0))
        self.elapsed_s: float = self._offsets[-1]
        """How long it is, in seconds."""

    def x(self, at: float) -> float:
        """Return the place of a time; one in a pause lies at the end of the run before."""
        index = bisect_right(self._begins, at) - 1
        if index < 0 or not self.elapsed_s:
            return 0.0
        active_s = self._offsets[index] + min(at - self._begins[index], self._runs[index].elapsed_s)
        return active_s / self.elapsed_s * WIDTH

    def ticks(self) -> list[Tick]:
        """Return a few marks at round times."""
        step_s = next((step for step in _STEPS_S if self.elapsed_s / step <= _TICKS), _STEPS_S[-1])
        count = min(int(self.elapsed_s / step_s), 2 * _TICKS) if self.elapsed_s else 0
        marks = range(count + 1)
        return [Tick(mark * step_s / (self.elapsed_s or 1) * WIDTH, _clock(mark * step_s)) for mark in marks]

    def joints(self) -> list[float]:
        """Return where one run ends and the next begins."""
        return [offset / self.elapsed_s * WIDTH for offset in self._offsets[1:-1]]

    def place(self, job: JobReport) -> tuple[float, float]:
        """Return where a job lies: its beginning and its width, wide enough to be seen."""
        if not job.spans:
            return 0.0, 0.0
        begin, end = self.x(job.spans[0].begin), self.x(job.spans[-1].end)
        width = max(end - begin, _NARROWEST)
        return min(begin, WIDTH - width), width


def strip(job: JobReport) -> list[Bar]:
    """Return a job's own time as bars one behind the other, over the whole width."""
    total = job.elapsed_s
    if not total:
        return []
    bars, x = [], 0.0
    for span in job.spans:
        width = span.duration_s / total * WIDTH
        if width >= 0.05:
            bars.append(Bar(span.phase, x, width))
        x += width
    return bars


def areas(jobs: Iterable[JobReport], axis: Axis) -> list[Area]:
    """Return how many jobs were at what over time, as areas on top of each other, of `HEIGHT` at the most."""
    found = {phase: _Columns() for phase in Phase}
    for job in jobs:
        for span in job.spans:
            found[span.phase].add(axis.x(span.begin), axis.x(span.end))
    base = [0.0] * _COLUMNS
    layers = []
    for phase, columns in found.items():
        top = [low + share for low, share in zip(base, columns.shares(), strict=True)]
        if top != base:
            layers.append((phase, base, top))
        base = top
    most = max(base) or 1.0
    return [Area(phase, _outline(low, high, most)) for phase, low, high in layers]


def most_at_once(jobs: Iterable[JobReport]) -> int:
    """Return how many jobs were worked on at once, at the most."""
    changes = []
    for job in jobs:
        for span in job.spans:
            changes += [(span.begin, 1), (span.end, -1)]
    changes.sort()  # of two at one time the end comes first
    return max(accumulate(change for _, change in changes), default=0)


class _Columns:
    """How much of each column of the axis is covered, counted over all that was added."""

    def __init__(self) -> None:
        self._whole = [0] * (_COLUMNS + 1)
        self._parts = [0.0] * _COLUMNS

    def add(self, begin: float, end: float) -> None:
        first, last = begin / _COLUMN, end / _COLUMN
        here, there = min(int(first), _COLUMNS - 1), min(int(last), _COLUMNS - 1)
        if here == there:
            self._parts[here] += last - first
            return
        self._parts[here] += here + 1 - first
        self._parts[there] += last - there
        self._whole[here + 1] += 1
        self._whole[there] -= 1

    def shares(self) -> list[float]:
        return [whole + part for whole, part in zip(accumulate(self._whole), self._parts, strict=False)]


def _outline(low: Sequence[float], high: Sequence[float], most: float) -> str:
    """Return the outline of what lies between two heights, of which `most` is as high as can be."""
    there = [f"{'M' if not i else 'L'}{i * _COLUMN:g} {_y(y, most)}H{(i + 1) * _COLUMN:g}" for i, y in enumerate(high)]
    back = [f"L{(i + 1) * _COLUMN:g} {_y(y, most)}H{i * _COLUMN:g}" for i, y in reversed(list(enumerate(low)))]
    return "".join([*there, *back, "Z"])


def _y(height: float, most: float) -> str:
    return f"{HEIGHT - height / most * HEIGHT:.1f}"  # SVG counts from above


def _clock(after_s: float) -> str:
    return f"{after_s:g} s" if after_s < 60 else seconds(after_s).replace(" 0 s", "").replace(" 0 min", "")


def describe(job: JobReport) -> Iterator[tuple[Phase, str]]:
    """Return how long a job was at what, in words."""
    for phase, duration_s in job.durations.items():
        if duration_s >= 0.05:
            yield phase, seconds(duration_s)
