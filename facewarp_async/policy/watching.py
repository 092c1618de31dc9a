"""Which of many tasks to look at next. Pure: no clock, no timer, and no more than a heap's work for a look."""

from __future__ import annotations

import heapq
import itertools
import math
from collections import Counter

from attrs import define

from facewarp_async.models import TaskKind
from facewarp_async.policy.polling import Plan, PollPolicy, Watch

_END_TASKS = 4
"""With so few tasks left the batch waits for the one that will be the last."""

_END_SHARE = 0.01
"""With so small a share left of those that there were, likewise: what looks cost then is little beside the rest."""

_MOVED_AT_ONCE = 256
"""How many tasks may be found due at a time: when thousands are, the next time goes on where this one ended."""

_PLANNED_AT_ONCE = 32
"""How many tasks may be planned anew at a time, likewise."""

_NEVER = Plan(math.inf, math.inf, math.inf)


@define(eq=False)
class Watched(Watch):
    """A task in the book, with its place there."""

    number: int = 0
    plan: Plan = _NEVER
    version: int = 0
    deadline: float = math.inf
    is_away: bool = False
    """Whether it is being looked at, or was struck off."""


Entry = tuple[float, int, int, Watched]


class WatchBook:
    """The tasks that are waited for, by when the policy says that a look is worth a call.

    Args:
        policy: When that is.
    """

    def __init__(self, policy: PollPolicy) -> None:
        self._policy = policy
        self._numbers = itertools.count()
        self._live: set[Watched] = set()
        self._gone = 0
        self._kinds: Counter[TaskKind] = Counter()
        self._planned: list[Entry] = []  # by early date
        self._due: list[Entry] = []  # past their early date, by late date
        self._bets: list[Entry] = []  # likewise, of those that are bets
        self._made: set[Watched] = set()
        self._may_be_made = 1
        self._outdated: dict[Watch, None] = {}
        self.is_behind: bool = False
        """Whether there was more to take into account than is done at a time."""

    def __len__(self) -> int:
        return len(self._live)

    def __contains__(self, watched: Watched) -> bool:
        return watched in self._live

    def slow_s(self) -> float:
        """Return how long slow tasks take, of the slowest kind that is waited for."""
        return max((self._policy.slow_s(kind) for kind, number in self._kinds.items() if number), default=0.0)

    def add(self, kind: TaskKind | None, now: float, *, is_fresh: bool) -> Watched:
        """Enter a task that was created now, or, if it is not fresh, some time ago."""
        watched = Watched(kind, now, is_fresh=is_fresh, number=next(self._numbers))
        self._live.add(watched)
        self._kinds[watched.taken_for] += 1
        self._policy.add(watched)
        self._plan(watched)
        return watched

    def remove(self, watched: Watched, now: float) -> None:
        """Strike a task off, done or not."""
        if watched not in self._live:
            return
        self._live.discard(watched)
        self._gone += 1
        self._kinds[watched.taken_for] -= 1
        watched.version += 1
        watched.is_away = True
        self._policy.remove(watched, now)
        self._made.discard(watched)

    def _plan(self, watched: Watched) -> None:
        watched.version += 1
        watched.plan = self._policy.plan(watched)
        if watched.plan.early < math.inf:
            self._push(self._planned, (watched.plan.early, watched.number, watched.version, watched))

    def catch_up(self, now: float) -> None:
        """Take what has happened since into account, as much of it as takes a millisecond or two.

        It is called before looks are picked, and again soon while `is_behind`.
        """
        self._plan_anew()
        self._move_due(now)

    def _plan_anew(self) -> None:
        for _ in range(_PLANNED_AT_ONCE):
            if not self._outdated:
                self._outdated = dict.fromkeys(self._policy.outdated())
                if not self._outdated:
                    self.is_behind = False
                    return
            watched, _ = self._outdated.popitem()
            if isinstance(watched, Watched) and watched in self._live and not watched.is_away:
                self._plan(watched)
        self.is_behind = True

    def next_at(self, *, at_end: bool) -> float:
        """Return when the next look may be worth a call."""
        self._drop_stale(self._planned)
        if due := self._most_overdue():
            return math.inf if due is self._bets and not self._can_bet() else -math.inf
        first_at = self._planned[0][0] if self._planned else math.inf
        last = self._last(at_end)
        return first_at if last is None else min(first_at, last.plan.eager)

    def pick(self, now: float, *, only_overdue: bool, at_end: bool = False) -> Watched | None:
        """Return the task to look at now, if any is worth it, the most overdue first.

        Args:
            now: The time.
            only_overdue: Whether a look that is merely due can wait, because other calls do.
            at_end: Whether nothing is left to create: the last task is looked at sooner.
        """
        if due := self._most_overdue():
            may_go = due is self._due or self._can_bet()
            if may_go and (not only_overdue or due[0][0] <= now):
                return self._send(heapq.heappop(due)[3])
        last = None if only_overdue else self._last(at_end)
        return None if last is None or last.plan.eager > now else self._send(last)

    def _move_due(self, now: float) -> None:
        for _ in range(_MOVED_AT_ONCE):
            if not self._planned or (self._planned[0][0] > now and not self._is_stale(self._planned[0])):
                return
            _, _, version, watched = heapq.heappop(self._planned)
            if watched.version == version:
                self._push_due(watched)

    def _push_due(self, watched: Watched) -> None:
        due = self._bets if watched.plan.is_bet else self._due
        self._push(due, (watched.plan.late, watched.number, watched.version, watched))

    def _push(self, heap: list[Entry], entry: Entry) -> None:
        heapq.heappush(heap, entry)
        if len(heap) > 2 * len(self._live) + _MOVED_AT_ONCE:  # most of it does not count any more
            heap[:] = [entry for entry in heap if not self._is_stale(entry)]
            heapq.heapify(heap)

    def _most_overdue(self) -> list[Entry]:
        """Return the heap whose first one goes before that of the other."""
        self._drop_stale(self._due)
        self._drop_stale(self._bets)
        if self._bets and (not self._due or (self._can_bet() and self._bets[0] < self._due[0])):
            return self._bets
        return self._due

    def _can_bet(self) -> bool:
        return len(self._made) < self._may_be_made

    def _send(self, watched: Watched) -> Watched:
        if watched.plan.is_bet:
            self._made.add(watched)
        watched.version += 1
        watched.is_away = True
        return watched

    def put_back(self, watched: Watched) -> None:
        """Take back a look that was picked while nobody could make it: it is due all the same."""
        if watched in self._live:
            self._made.discard(watched)
            watched.is_away = False
            self._push_due(watched)

    def _last(self, at_end: bool) -> Watched | None:
        """Return the one of the last tasks that will probably be the very last, unless it is being looked at."""
        few = max(_END_TASKS, _END_SHARE * self._gone)
        if not at_end or not 0 < len(self._live) <= few or any(watched.is_away for watched in self._live):
            return None
        return max(self._live, key=lambda watched: (watched.plan.early, watched.number))

    def looked(self, watched: Watched, asked_at: float, *, done: bool) -> None:
        """Note what a look has found."""
        self._policy.learn(watched, asked_at, done)
        if watched in self._made:  # each that is won allows one more at a time, one that is lost takes it all back
            self._may_be_made = self._may_be_made + 1 if done else 1
        watched.looks += 1
        watched.looked_at = asked_at
        if not done and watched in self._live:
            watched.is_away = False
            self._plan(watched)
        self._made.discard(watched)

    def missed(self, watched: Watched, now: float) -> None:
        """Note that a look brought no answer: it is tried again as if it had just been planned."""
        if watched in self._live:
            watched.is_away = False
            watched.looked_at = now
            watched.looks = max(watched.looks, 1)
            self._plan(watched)
        self._made.discard(watched)

    @staticmethod
    def _is_stale(entry: Entry) -> bool:
        return entry[3].version != entry[2]

    @classmethod
    def _drop_stale(cls, heap: list[Entry]) -> None:
        while heap and cls._is_stale(heap[0]):
            heapq.heappop(heap)
