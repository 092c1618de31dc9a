"""Which of many tasks to look at next. Pure: no clock, no timer, and no more than a heap's work for a look."""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque

from attrs import define

from facewarp_async.models import TaskKind
from facewarp_async.policy.polling import PollPolicy, Watch

_GALLOP_AFTER = 5
_END_TASKS = 3
_MOVED_AT_ONCE = 256
"""How many tasks one look may find due: when thousands are, the next look goes on where it ended."""

_END_SHARE_FIRST, _END_SHARE_AGAIN = 0.6, 0.3


@define(eq=False)
class Watched(Watch):
    """A task in the book, with its place there."""

    number: int = 0
    early: float = math.inf
    late: float = math.inf
    version: int = 0
    deadline: float = math.inf
    is_away: bool = False
    """Whether it is being looked at, or was struck off."""
    is_probed: bool = False
    """Whether it was looked at while it was believed to queue. Such a look counts for nothing if it was too early."""


Entry = tuple[float, int, int, Watched]


class WatchBook:
    """The tasks that are waited for.

    The service is taken to work on tasks in the order of their creation, of whatever kind. The oldest that have not
    been found done, as many as the policy's window holds, are believed to be worked on; the others queue.

    Args:
        policy: When each may be worth a look.
    """

    def __init__(self, policy: PollPolicy) -> None:
        self._policy = policy
        self._numbers = itertools.count()
        self._live: set[Watched] = set()
        self._queue: deque[Watched] = deque()
        self._begun = 0
        self._planned: list[Entry] = []  # by early date
        self._due: list[Entry] = []  # past their early date, by late date
        self._hits = self._misses = 0
        self._galloping: Watched | None = None

    def __len__(self) -> int:
        return len(self._live)

    def __contains__(self, watched: Watched) -> bool:
        return watched in self._live

    def add(self, kind: TaskKind | None, now: float, *, is_fresh: bool) -> Watched:
        """Enter a task that was created now, or, if it is not fresh, some time ago."""
        watched = Watched(kind, None, now, is_fresh=is_fresh, number=next(self._numbers))
        self._live.add(watched)
        if is_fresh:
            self._queue.append(watched)
            self._advance(now)
        else:
            watched.began_at = now
            self._begun += 1
        if watched.version == 0:
            self._plan(watched)
        return watched

    def remove(self, watched: Watched, now: float) -> None:
        """Strike a task off, done or not."""
        if watched not in self._live:
            return
        self._live.discard(watched)
        watched.version += 1
        watched.is_away = True
        if self._galloping is watched:
            self._galloping = None
        if watched.began_at is not None:
            self._begun -= 1
        self._advance(now)

    def _advance(self, now: float) -> None:
        """Take the oldest queueing tasks to be worked on, as many as the window has places for."""
        window = self._policy.window
        while self._queue and (window is None or self._begun < window):
            watched = self._queue.popleft()
            if watched in self._live:
                watched.began_at = max(now, watched.looked_at)
                watched.has_queued = watched.version > 0
                self._begun += 1
                if not watched.is_away:
                    self._plan(watched)

    def _plan(self, watched: Watched) -> None:
        watched.version += 1
        watched.early, watched.late = self._policy.plan(watched)
        if watched.early < math.inf:
            heapq.heappush(self._planned, (watched.early, watched.number, watched.version, watched))

    def next_at(self, *, at_end: bool) -> float:
        """Return when the next look may be worth a call."""
        self._drop_stale(self._planned)
        self._drop_stale(self._due)
        if self._due:
            return -math.inf
        first_at = math.inf
        if self._planned:
            first_at = self._sooner(self._planned[0][3]) if self._is_end(at_end) else self._planned[0][0]
        ahead = self._look_ahead()
        return first_at if ahead is None else min(first_at, self._ahead_at(ahead))

    def pick(self, now: float, *, only_overdue: bool, at_end: bool = False) -> Watched | None:
        """Return the task to look at now, if any is worth it, the most overdue first.

        Args:
            now: The time.
            only_overdue: Whether a look that is merely due can wait, because other calls do.
            at_end: Whether nothing is left to create: the last tasks are looked at a little sooner.
        """
        for _ in range(_MOVED_AT_ONCE):
            if not self._planned or (self._planned[0][0] > now and not self._is_stale(self._planned[0])):
                break
            _, number, version, watched = heapq.heappop(self._planned)
            if watched.version == version:
                heapq.heappush(self._due, (watched.late, number, version, watched))
        self._drop_stale(self._due)
        if self._due and (self._due[0][0] <= now or not only_overdue):
            return self._send(heapq.heappop(self._due)[3])
        if only_overdue:
            return None
        if self._is_end(at_end):
            self._drop_stale(self._planned)
            if self._planned and self._sooner(self._planned[0][3]) <= now:
                return self._send(self._planned[0][3])
        return self._gallop(now)

    def _send(self, watched: Watched) -> Watched:
        watched.version += 1
        watched.is_away = True
        return watched

    def put_back(self, watched: Watched) -> None:
        """Take back a look that was picked while nobody could make it: it is due all the same."""
        if self._galloping is watched:
            self._galloping = None
        if watched in self._live:
            watched.is_away = False
            watched.version += 1
            heapq.heappush(self._due, (watched.late, watched.number, watched.version, watched))

    def _is_end(self, at_end: bool) -> bool:
        return at_end and 0 < len(self._live) <= _END_TASKS

    @staticmethod
    def _sooner(watched: Watched) -> float:
        if watched.looks:
            return watched.looked_at + _END_SHARE_AGAIN * (watched.early - watched.looked_at)
        since = watched.began_at
        return watched.early if since is None else since + _END_SHARE_FIRST * (watched.early - since)

    def _look_ahead(self) -> Watched | None:
        """Return the task to look at ahead of the plan, one at a time, when the last looks say it is far off.

        After many hits in a row that is the next one planned; after many misses the youngest that is believed to queue.
        """
        if self._galloping is not None:
            return None
        if self._hits >= _GALLOP_AFTER:
            self._drop_stale(self._planned)
            return self._planned[0][3] if self._planned else None
        if self._misses >= _GALLOP_AFTER and self._queue:
            youngest = self._queue[-1]
            return None if youngest.is_away or youngest.is_probed else youngest
        return None

    @staticmethod
    def _ahead_at(watched: Watched) -> float:
        """Return from when on a task may be looked at ahead of the plan: half way to its date; in the queue at once."""
        if watched.began_at is None:
            return -math.inf
        since = max(watched.looked_at, watched.began_at)
        return since + (watched.early - since) / 2

    def _gallop(self, now: float) -> Watched | None:
        watched = self._look_ahead()
        if watched is None or self._ahead_at(watched) > now:
            return None
        self._misses = 0
        self._galloping = watched
        return self._send(watched)

    def looked(self, watched: Watched, asked_at: float, *, done: bool) -> None:
        """Note what a look has found."""
        if self._galloping is watched:
            self._galloping = None
        is_early_probe = watched.began_at is None and not done
        if not is_early_probe:
            self._count(done, in_time=asked_at < watched.late)
            self._policy.learn(watched, asked_at, done)
            watched.looks += 1
        watched.is_probed = is_early_probe
        watched.looked_at = asked_at
        if not done and watched in self._live:
            watched.is_away = False
            self._plan(watched)

    def _count(self, done: bool, *, in_time: bool) -> None:
        if not done:
            self._hits, self._misses = 0, self._misses + 1
        else:
            self._misses = 0
            self._hits += in_time

    def missed(self, watched: Watched, now: float) -> None:
        """Note that a look brought no answer: it is tried again as if it had just been planned."""
        if self._galloping is watched:
            self._galloping = None
        if watched in self._live:
            watched.is_away = False
            watched.looked_at = now
            watched.looks = max(watched.looks, 1)
            self._plan(watched)

    @staticmethod
    def _is_stale(entry: Entry) -> bool:
        return entry[3].version != entry[2]

    @classmethod
    def _drop_stale(cls, heap: list[Entry]) -> None:
        while heap and cls._is_stale(heap[0]):
            heapq.heappop(heap)
