"""When to look at a task: what a policy is told of tasks, and what it plans. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

from attrs import Factory, define, field, frozen, validators

from facewarp_async.models import TaskKind

EMPTY_POLLS = 4
"""How often a finished task without a result is looked at again before that is an error (protocol, "Tasks")."""


class Plan(NamedTuple):
    """From when on a look at a task is worth a call, in seconds of the loop's clock."""

    eager: float
    """If it is what the batch waits for, and calls are to spare."""
    early: float
    """If nothing else waits."""
    late: float
    """It is overdue, and goes before uploads."""
    is_bet: bool = False
    """Whether what it finds will change other plans: of such looks few are made at a time."""


class TimeLeft(NamedTuple):
    """For how long something will still go on: probably between two times, which may be the same."""

    least_s: float
    """Seconds."""
    most_s: float
    """Seconds."""


@define(eq=False)
class Watch:
    """A task that is waited for. Times are seconds of the loop's clock.

    Attributes:
        kind: What the task makes; ``None`` where that is not known.
        created_at: When it was created, or came to be waited for.
        looked_at: When it was last looked at, or created.
        looks: How often it was looked at.
        is_fresh: Whether it was created just now; of others nothing can be learnt, and they are looked at at once.
        begins: When it began to be worked on, as each of a policy's beliefs has it; infinity while it queues. Empty
            once the policy is done with it.
    """

    kind: TaskKind | None
    created_at: float
    looked_at: float = Factory(lambda watch: watch.created_at, takes_self=True)
    looks: int = 0
    is_fresh: bool = True
    begins: list[float] = field(factory=list, repr=False)

    @property
    def taken_for(self) -> TaskKind:
        """The kind whose durations are expected of it."""
        return self.kind or TaskKind.IMAGE_SWAP

    def known_s(self, began_at: float) -> float:
        """Return for how long it is known not to have been done, if it began at some time."""
        return max(0.0, self.looked_at - began_at) if self.looks else 0.0


class PollPolicy(Protocol):
    """Plans when tasks are looked at. It is told of them in the order of their creation."""

    def add(self, watch: Watch, /) -> None:
        """Take note of a task that will be waited for."""
        ...

    def plan(self, watch: Watch, /) -> Plan:
        """Say when to look at a task."""
        ...

    def learn(self, watch: Watch, asked_at: float, done: bool, /) -> None:
        """Take a look's outcome into account. The watch is as it was before that look."""
        ...

    def remove(self, watch: Watch, now: float, /) -> None:
        """Forget a task that is not waited for any more, done or not."""
        ...

    def outdated(self) -> Iterable[Watch]:
        """Return the tasks that must be planned anew because of what happened since this was last called."""
        ...

    def slow_s(self, kind: TaskKind, /) -> float:
        """Return how long a slow task of a kind takes, in seconds."""
        ...

    def work_left(self, now: float, /, upcoming: Mapping[TaskKind, int], over_s: float) -> TimeLeft | None:
        """Return in how many seconds the last task will probably be done, ``None`` where that is not known.

        Args:
            now: The time.
            upcoming: How many tasks of each kind are still to be created.
            over_s: In how many seconds the last of them will be created.
        """
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

    def add(self, _watch: Watch, /) -> None:
        """Do nothing."""

    def plan(self, watch: Watch, /) -> Plan:
        """Say that a look is due when the delay is over."""
        due = watch.looked_at + self.delay_s(watch.kind, watch.looks)
        return Plan(due, due, due)

    def learn(self, _watch: Watch, _asked_at: float, _done: bool, /) -> None:
        """Learn nothing."""

    def remove(self, _watch: Watch, _now: float, /) -> None:
        """Do nothing."""

    def outdated(self) -> Iterable[Watch]:
        """Return none: a plan holds until the look."""
        return ()

    def slow_s(self, kind: TaskKind, /) -> float:
        """Return twice the typical time."""
        return 2 * self._typical_s(kind)

    def work_left(self, _now: float, /, upcoming: Mapping[TaskKind, int], over_s: float) -> TimeLeft | None:  # noqa: ARG002
        """Know nothing."""
        return None

    def delay_s(self, kind: TaskKind | None, looks: int) -> float:
        """Return how long to wait before the next look at a task that was looked at so often."""
        first_s = self._typical_s(kind) / 2
        return float(min(self.longest_s, first_s * self.factor ** max(0, min(looks, 60) - 1)))

    def _typical_s(self, kind: TaskKind | None) -> float:
        return self.video_s if kind is not None and kind.is_video else self.image_s
