"""When to look at a task: what a policy plans for one, and what it learns from each look. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Protocol

from attrs import define, field, frozen, validators

from facewarp_async.config import Provider
from facewarp_async.models import TaskKind

EMPTY_POLLS = 4
"""How often a finished task without a result is looked at again before that is an error (protocol, "Tasks")."""


@define(eq=False)
class Watch:
    """A task that is waited for. Times are seconds of the loop's clock.

    Attributes:
        kind: What the task makes; ``None`` where that is not known.
        began_at: When it probably began to be worked on; ``None`` while it is believed to queue.
        looked_at: When it was last looked at, or created.
        looks: How often it was looked at.
        is_fresh: Whether it was created just now; of others nothing can be learnt, and they are looked at at once.
        has_queued: Whether it was believed to queue for a while.
    """

    kind: TaskKind | None
    began_at: float | None
    looked_at: float
    looks: int = 0
    is_fresh: bool = True
    has_queued: bool = False


class PollPolicy(Protocol):
    """Plans when tasks are looked at."""

    @property
    def window(self) -> int | None:
        """How many of the oldest tasks are taken to be worked on; ``None``: all."""
        ...

    def plan(self, watch: Watch, /) -> tuple[float, float]:
        """Return from when on a look may be worth a call, and when it is overdue."""
        ...

    def learn(self, watch: Watch, asked_at: float, done: bool, /) -> None:
        """Take a look's outcome into account."""
        ...


@frozen(kw_only=True)
class FixedPolling:
    """Looks at a task first after half its typical time, then after delays that only ever grow. Learns nothing.

    Attributes:
        image_s: The typical time of an image task or a detection, in seconds.
        video_s: The same for a video task.
        factor: By how much each delay is longer than the one before.
        longest_s: The longest delay.
    """

    image_s: float = field(default=6.0, validator=validators.gt(0))
    video_s: float = field(default=90.0, validator=validators.gt(0))
    factor: float = field(default=1.5, validator=validators.ge(1))
    longest_s: float = field(default=60.0, validator=validators.gt(0))

    @property
    def window(self) -> int | None:
        """All tasks are looked at alike."""
        return None

    def plan(self, watch: Watch, /) -> tuple[float, float]:
        """Return when the delay is over, twice."""
        due = watch.looked_at + self.delay_s(watch.kind, watch.looks)
        return due, due

    def learn(self, _watch: Watch, _asked_at: float, _done: bool, /) -> None:
        """Learn nothing."""

    def delay_s(self, kind: TaskKind | None, looks: int) -> float:
        """Return how long to wait before the next look at a task that was looked at so often."""
        typical = self.video_s if kind is not None and kind.is_video else self.image_s
        return float(min(self.longest_s, typical / 2 * self.factor ** max(0, min(looks, 60) - 1)))


@define
class Delays:
    """What was learnt of a kind of task: seconds to the first look, and between looks."""

    first_s: float
    again_s: float


_AIM = 0.7
"""The share of looks that should find the task done: fewer calls cost lateness, more save little of it."""

_STEP = 0.15
_LATE_FIRST, _LATE_AGAIN = 2.5, 3.0
_TEACHES_FIRST, _TEACHES_AGAIN = 1.15, 1.3
_LONGEST_GAP_S = 60.0
_LONGEST_WAIT = 0.6
_SHORTEST_S, _LONGEST_S = 0.02, 6 * 3600.0

_ENOUGH_LOOKS = 20
_MOST_QUEUED = 0.1


class LearntPolling:
    """Learns for each kind of task when a look probably finds it done.

    Two numbers a kind are moved after every look so that seven in ten succeed: the delay to the first look, counted
    from when the task probably began to be worked on, and the delay between looks. Successes that came late teach
    nothing.

    Args:
        starts: What to begin with, by kind.
        window: How many of the oldest tasks are taken to be worked on at the service at once.
    """

    def __init__(self, starts: Mapping[TaskKind, Delays], *, window: int = 16) -> None:
        self._delays = {kind: Delays(start.first_s, start.again_s) for kind, start in starts.items()}
        self._window = window
        self._looks: Counter[TaskKind] = Counter()
        self._queued: Counter[TaskKind] = Counter()

    @classmethod
    def for_provider(cls, provider: Provider) -> LearntPolling:
        """Start from the provider's typical times."""
        starts = {}
        for kind in TaskKind:
            typical = provider.typical_video_s if kind.is_video else provider.typical_image_s
            starts[kind] = Delays(typical, 0.4 * typical)
        return cls(starts)

    @property
    def window(self) -> int | None:
        """How many of the oldest tasks are taken to be worked on."""
        return self._window

    @property
    def samples(self) -> int:
        """How many looks were learnt from."""
        return self._looks.total()

    def settled(self) -> dict[TaskKind, Delays]:
        """Return what is worth keeping for another run, by kind.

        That is what many looks have taught while no tasks queued: else the delays are those of a long batch, in which
        tasks wait for each other, and would let the first tasks of the next one lie.
        """
        return {
            kind: Delays(self._delays[kind].first_s, self._delays[kind].again_s)
            for kind, looks in self._looks.items()
            if looks >= _ENOUGH_LOOKS and self._queued[kind] <= _MOST_QUEUED * looks
        }

    def delays(self, kind: TaskKind | None) -> Delays:
        """Return what was learnt of a kind."""
        return self._delays[kind or TaskKind.IMAGE_SWAP]

    def adopt(self, kind: TaskKind, delays: Delays) -> None:
        """Begin from what was learnt elsewhere."""
        first_s = _bounded(delays.first_s)
        self._delays[kind] = Delays(first_s, min(_bounded(delays.again_s), first_s))

    def plan(self, watch: Watch, /) -> tuple[float, float]:
        """Return from when on a look may be worth a call, and when it is overdue."""
        if not watch.is_fresh and not watch.looks:
            return watch.looked_at, watch.looked_at
        if watch.began_at is None:
            return math.inf, math.inf
        delays = self.delays(watch.kind)
        if not watch.looks:
            return watch.began_at + delays.first_s, watch.began_at + _LATE_FIRST * delays.first_s
        # What a batch's beginning has taught, while workers were starting, must not cost its end: a look is never put
        # off by much more than the task has taken so far.
        elapsed_s = watch.looked_at - watch.began_at
        delay_s = min(delays.again_s * 1.5 ** max(0, min(watch.looks, 40) - 2), _LONGEST_WAIT * elapsed_s)
        delay_s = max(_SHORTEST_S, min(delay_s, max(_LONGEST_GAP_S, delays.first_s)))
        return watch.looked_at + delay_s, watch.looked_at + _LATE_AGAIN * delay_s

    def learn(self, watch: Watch, asked_at: float, done: bool, /) -> None:
        """Move the delay that led to this look."""
        if not watch.is_fresh or watch.began_at is None:
            return
        delays = self.delays(watch.kind)
        kind = watch.kind or TaskKind.IMAGE_SWAP
        self._looks[kind] += 1
        self._queued[kind] += watch.has_queued
        if not watch.looks:
            waited_s = asked_at - watch.began_at
            if not done:
                # A look that came later than planned and still was too early says more than one in time.
                at_least_s = max(delays.first_s, min(waited_s, 1.5 * delays.first_s))
                delays.first_s = _bounded(at_least_s * math.exp(_STEP * _AIM))
            elif waited_s <= _TEACHES_FIRST * delays.first_s:
                delays.first_s = _bounded(delays.first_s * math.exp(-_STEP * (1 - _AIM)))
        elif not done:
            delays.again_s = _bounded(delays.again_s * math.exp(_STEP * _AIM))
        elif asked_at - watch.looked_at <= _TEACHES_AGAIN * delays.again_s:
            delays.again_s = _bounded(delays.again_s * math.exp(-_STEP * (1 - _AIM)))
        delays.again_s = min(delays.again_s, delays.first_s)


def _bounded(delay_s: float) -> float:
    return min(max(delay_s, _SHORTEST_S), _LONGEST_S)
