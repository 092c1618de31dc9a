"""Services and batches that a pace is measured at, and what no client can do better."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Iterator, Sequence

from attrs import frozen

from facewarp_async.config import Limits
from facewarp_async.models import TaskKind

IMAGE_S, VIDEO_S = 5.0, 80.0
"""The medians of the durations."""

VIDEO_SPREAD = 0.5
"""The standard deviation of the logarithm of the videos'."""

TYPICAL_IMAGE_S, TYPICAL_VIDEO_S = 6.0, 90.0
"""What the client is told to start from: wrong, as such figures are."""

VIDEO_SHARE = 0.2
LIMITS = Limits(in_flight=128)

OUTAGE = (60.0, 70.0)
"""When a disturbed service refuses all calls, in seconds after the first."""

FAILING = 0.05
"""How many of its calls that create nothing end in HTTP 500."""


@frozen(kw_only=True)
class Regime:
    """A service and a batch.

    Attributes:
        name: For the table.
        rate: Calls a second; ``None`` for any number.
        workers: How many tasks the service works on at once.
        mixed: Whether a fifth of the jobs are videos.
        factor: By how much time is compressed where it really passes.
        disturbed: Whether durations drift to three times as long, one call in twenty that creates nothing ends in
            HTTP 500, and the service refuses all calls for ten seconds.
        image_s: The median of the images' durations.
        spread: The standard deviation of their logarithm.
    """

    name: str
    rate: float | None
    workers: int
    mixed: bool = False
    factor: float = 1.0
    disturbed: bool = False
    image_s: float = IMAGE_S
    spread: float = 0.45


STEADY = [
    Regime(name="1/s, images", rate=1, workers=8, factor=100),
    Regime(name="1/s, mixed", rate=1, workers=16, mixed=True, factor=100),
    Regime(name="5/s, images", rate=5, workers=4, factor=24),
    Regime(name="5/s, mixed", rate=5, workers=12, mixed=True, factor=40),
    Regime(name="20/s, images", rate=20, workers=16, factor=8),
    Regime(name="20/s, mixed", rate=20, workers=16, mixed=True, factor=20),
    Regime(name="any, images", rate=None, workers=8, factor=12),
    Regime(name="any, mixed", rate=None, workers=8, mixed=True, factor=30),
]
DISTURBED = [
    Regime(name="1/s, disturbed", rate=1, workers=8, factor=80, disturbed=True),
    Regime(name="5/s, disturbed", rate=5, workers=8, factor=20, disturbed=True),
    Regime(name="20/s, disturbed", rate=20, workers=16, factor=8, disturbed=True),
]
PARALLEL = [
    Regime(name="any, all at once, 3 s", rate=None, workers=1000, image_s=3.0, spread=0.05),
    Regime(name="any, all at once, 15 s", rate=None, workers=1000, image_s=15.0, spread=0.3),
    Regime(name="any, 64 at once", rate=None, workers=64),
    Regime(name="any, 64 at once, mixed", rate=None, workers=64, mixed=True),
    Regime(name="20/s, 64 at once", rate=20, workers=64),
    Regime(name="any, 2 at once", rate=None, workers=2),
    Regime(name="5/s, one at a time", rate=5, workers=1),
]
SETS = {"steady": STEADY, "disturbed": DISTURBED, "parallel": PARALLEL}


class Durations:
    """Draws what tasks take: the same for each kind, one after the other, whoever asks."""

    def __init__(self, regime: Regime, jobs: int, seed: int) -> None:
        self._regime, self._jobs = regime, jobs
        self._draws = {kind: random.Random(f"{seed}{kind}") for kind in TaskKind}
        self.drawn: list[float] = []

    def __call__(self, kind: TaskKind) -> float:
        median, spread = law_of(self._regime, kind, len(self.drawn) / self._jobs)
        seconds = median * math.exp(self._draws[kind].gauss(0, spread))
        self.drawn.append(min(max(seconds, median / 4), 4 * median) / self._regime.factor)
        return self.drawn[-1]


def law_of(regime: Regime, kind: TaskKind, begun: float) -> tuple[float, float]:
    """Return the median and the spread of a kind's durations, when a share of the batch's tasks has begun."""
    median, spread = (VIDEO_S, VIDEO_SPREAD) if kind.is_video else (regime.image_s, regime.spread)
    return median * (1 + 2 * begun if regime.disturbed else 1), spread


def kinds_of(regime: Regime, jobs: int, seed: int) -> list[TaskKind]:
    """Draw which jobs are videos."""
    draw = random.Random(seed)
    is_video = [regime.mixed and draw.random() < VIDEO_SHARE for _ in range(jobs)]
    return [TaskKind.VIDEO_SWAP if each else TaskKind.IMAGE_SWAP for each in is_video]


@frozen(kw_only=True)
class Bound:
    """What no client can do better that creates its tasks in this order: seconds until the last is done, and calls."""

    makespan_s: float
    calls: float


def bound(regime: Regime, took: Sequence[float]) -> Bound:
    """Work a batch off with every duration known, all calls leaving as early as the rate allows.

    Args:
        regime: The service.
        took: What the tasks took, in the order in which they were begun: that in which the client created them.
    """
    end = max(done_at for _, done_at in work_off(regime, took))
    return Bound(makespan_s=max(end, called_at(regime, len(took))), calls=_calls(regime, len(took)))


def work_off(regime: Regime, took: Sequence[float]) -> Iterator[tuple[float, float]]:
    """Give when each task begins and is done; the arguments are those of `bound`."""
    free_at = [0.0] * regime.workers
    for number, seconds in enumerate(took, 1):
        begins_at = max(free_at[0], created_at(regime, number))
        heapq.heapreplace(free_at, begins_at + seconds)
        yield begins_at, begins_at + seconds


def created_at(regime: Regime, number: int) -> float:
    """Return when the task of that number, from 1, can be created: the face and its media were uploaded before."""
    return _leaves_at(regime, (number + 1) * _sendings(regime) + number)


def called_at(regime: Regime, jobs: int) -> float:
    """Return when the last of a batch's calls can leave."""
    return _leaves_at(regime, _calls(regime, jobs))


def _calls(regime: Regime, jobs: int) -> float:
    return (2 * jobs + 1) * _sendings(regime) + jobs


def _sendings(regime: Regime) -> float:
    """Return how often a call that creates nothing is sent until it does not fail."""
    return 1 / (1 - FAILING) if regime.disturbed else 1.0


def _leaves_at(regime: Regime, call: float) -> float:
    if regime.rate is None:
        return 0.0
    at = max(0.0, (call - max(1, int(regime.rate))) / regime.rate)
    return (at + OUTAGE[1] - OUTAGE[0] if regime.disturbed and at >= OUTAGE[0] else at) / regime.factor
