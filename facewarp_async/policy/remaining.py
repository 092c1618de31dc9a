"""How long a batch will still take, from how far it is. Pure: it is told what happens, and when."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Mapping

from facewarp_async.models import TaskKind
from facewarp_async.policy.polling import TimeLeft

Foresee = Callable[[Mapping[TaskKind, int], float], TimeLeft | None]
"""Says in how many seconds the last task will be done, if so many of each kind are still to be created, the last in so
many seconds; ``None`` where that is not known."""

_NEAR = 1.25**2
"""What differs by no more is told as one time: it is off by a quarter at most."""

_LOOKS = 1.05
"""How many a task takes."""

_REMEMBERED = 2000
_RECENT_SHARE = 0.7
_FEW = 5
_LATE_QUANTILE = 0.9
_DELAYS = 200


class Remaining:
    """Estimates the end of a batch.

    It asks three ways. By speed: jobs go on ending as fast as of late; or, while tasks are still to be created, those
    go on being created as fast as of late, and the last takes as long from its creation to its end as slow ones do, if
    that is sooner. By tasks, where that is known: the service goes on working as was learnt of it. While tasks are to
    be created, the mean of both counts, then the tasks alone. By calls: where they are limited, the batch cannot be
    over before all that are left have been made. Where a few long tasks make the end, nobody can tell it well: so the
    least and the most are told that it may probably be.

    It is told of each job once for each step, in any order of jobs, with times of one steady clock. Jobs that end
    without having been created (done in an earlier run, or failed before) took no time worth counting.

    Args:
        total: How many jobs there are; ``None`` until that is known. It may be set later.
        rate: How many calls a second leave at most; ``None`` for any number. It may be set as it changes.
        foresee: Says what is known of the service.
    """

    def __init__(
        self,
        total: int | None = None,
        *,
        rate: float | None = None,
        foresee: Foresee | None = None,
    ) -> None:
        self.total = total
        self.rate = rate
        self._foresee = foresee
        self._kinds: Counter[TaskKind] = Counter()
        self._to_create: dict[int, TaskKind] = {}
        self._begun_at: float | None = None
        self._uploaded = self._created = self._ended = 0
        self._created_at: dict[int, float] = {}
        self._creates: deque[float] = deque(maxlen=_REMEMBERED)
        self._ends: deque[float] = deque(maxlen=_REMEMBERED)
        self._delays: deque[float] = deque(maxlen=_DELAYS)

    def begun(self, now: float) -> None:
        """Note that a job has begun: the first one starts the clock."""
        if self._begun_at is None:
            self._begun_at = now

    def expected(self, job: int, kind: TaskKind) -> None:
        """Note of which kind the task will be that a job needs."""
        self._kinds[kind] += 1
        self._to_create[job] = kind

    def uploaded(self, now: float) -> None:
        """Note that a job's files are with the service."""
        self.begun(now)
        self._uploaded += 1

    def created(self, job: int, now: float) -> None:
        """Note that a job's task was created. For a job of two tasks, only the last one counts."""
        self.begun(now)
        if job not in self._created_at:
            self._created += 1
        self._created_at[job] = now
        self._to_create.pop(job, None)
        self._creates.append(now)

    def ended(self, job: int, now: float) -> None:
        """Note that a job has its outcome."""
        self.begun(now)
        self._to_create.pop(job, None)
        created_at = self._created_at.pop(job, None)
        if created_at is None:
            self.total = None if self.total is None else self.total - 1
            return
        self._ended += 1
        self._ends.append(now)
        self._delays.append(now - created_at)

    def left(self, now: float) -> TimeLeft | None:
        """Return for how long the batch will still go on; ``None`` where that cannot be told yet.

        It may take some milliseconds: once a second is enough.
        """
        if self.total is None or self._begun_at is None:
            return None
        if self._ended >= self.total:
            return TimeLeft(0.0, 0.0)
        by_calls_s, by_jobs = self._by_calls(self.total), self._by_jobs(self.total, now)
        if by_jobs is None:
            return None if self.rate is None else TimeLeft(by_calls_s, by_calls_s)
        least_s, most_s = (max(by_calls_s, seconds) for seconds in by_jobs)
        if most_s <= _NEAR * least_s:
            least_s = most_s = math.sqrt(least_s * most_s)
        return TimeLeft(least_s, most_s)

    def _by_jobs(self, total: int, now: float) -> TimeLeft | None:
        by_speed_s, by_tasks = self._by_speed(total, now), self._by_tasks(total, now)
        if by_tasks is None:
            return None if by_speed_s is None else TimeLeft(by_speed_s, by_speed_s)
        if by_speed_s is None or self._created >= total:
            return by_tasks
        # Speed knows nothing of the end, durations little of what comes: half way, on a scale of ratios.
        return TimeLeft(math.sqrt(by_speed_s * by_tasks.least_s), math.sqrt(by_speed_s * by_tasks.most_s))

    def _by_calls(self, total: int) -> float:
        if self.rate is None:
            return 0.0
        looks = _LOOKS * (total - self._ended)
        return (max(0, total - self._uploaded) + max(0, total - self._created) + looks) / self.rate

    def _by_tasks(self, total: int, now: float) -> TimeLeft | None:
        if self._foresee is None or not self._ended:
            return None
        to_create = max(0, total - self._created)
        # Each still takes a look at another's task and, if it is not uploaded, a call for that.
        calls = max(0, total - self._uploaded) + 2 * to_create
        by_calls_s = 0.0 if self.rate is None else calls / self.rate
        by_speed_s = 0.0 if len(self._ends) < _FEW else to_create / self._speed(self._creates, now)
        return self._foresee(self._upcoming(to_create), max(by_calls_s, by_speed_s))

    def _upcoming(self, number: int) -> Counter[TaskKind]:
        """Return the kinds of the tasks to create; those of jobs that were not begun are as the others' are."""
        upcoming = Counter(self._to_create.values())
        unknown, seen = max(0, number - upcoming.total()), self._kinds.total()
        for kind, count in self._kinds.items():
            upcoming[kind] += round(unknown * count / seen)
        return upcoming

    def _by_speed(self, total: int, now: float) -> float | None:
        if len(self._ends) < _FEW:
            return None
        by_ends = (total - self._ended) / self._speed(self._ends, now)
        if self._created >= total:
            return by_ends
        slow_s = sorted(self._delays)[int(_LATE_QUANTILE * (len(self._delays) - 1))]
        return min(by_ends, (total - self._created) / self._speed(self._creates, now) + slow_s)

    def _speed(self, times: deque[float], now: float) -> float:
        """Return how many a second there were of late."""
        assert self._begun_at is not None
        since = max(now - _RECENT_SHARE * (now - self._begun_at), times[0])
        count = 0
        for at in reversed(times):
            if at < since:
                break
            count += 1
        return max(count, 1) / max(now - since, 1e-9)
