"""How long a batch will still take, from how far it is. Pure: it is told what happens, and when."""

from __future__ import annotations

from collections import deque

_REMEMBERED = 2000
_RECENT_SHARE = 0.7
_FEW = 5
_LATE_QUANTILE = 0.9
_DELAYS = 200


class Remaining:
    """Estimates the end of a batch.

    Jobs go on ending as fast as of late; or, while tasks are still to be created, those go on being created as fast as
    of late, and the last takes as long from its creation to its end as slow ones do, if that is sooner. Where calls are
    limited, the batch cannot be over before all the calls that are left have been made.

    It is told of each job once for each step, in any order of jobs, with times of one steady clock. Jobs that end
    without having been created (done in an earlier run, or failed before) took no time worth counting.

    Args:
        total: How many jobs there are; ``None`` until that is known. It may be set later.
        rate: How many calls a second leave at most; ``None`` for any number. It may be set as it changes.
        calls_per_job: How many calls a job takes, uploads and looks at its task included. Likewise.
    """

    def __init__(self, total: int | None = None, *, rate: float | None = None, calls_per_job: float = 3.2) -> None:
        self.total = total
        self.rate = rate
        self.calls_per_job = calls_per_job
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
        self._creates.append(now)

    def ended(self, job: int, now: float) -> None:
        """Note that a job has its outcome."""
        self.begun(now)
        created_at = self._created_at.pop(job, None)
        if created_at is None:
            self.total = None if self.total is None else self.total - 1
            return
        self._ended += 1
        self._ends.append(now)
        self._delays.append(now - created_at)

    def remaining_s(self, now: float) -> float | None:
        """Return for how many seconds the batch will still go on; ``None`` where that cannot be told yet."""
        if self.total is None or self._begun_at is None:
            return None
        if self._ended >= self.total:
            return 0.0
        by_calls = self._by_calls(self.total)
        by_speed = self._by_speed(self.total, now)
        if by_speed is None:
            return by_calls
        return by_speed if by_calls is None else max(by_speed, by_calls)

    def _by_calls(self, total: int) -> float | None:
        if self.rate is None:
            return None
        looks = max(1.0, self.calls_per_job - 2)
        calls = max(0, total - self._uploaded) + max(0, total - self._created) + looks * (total - self._ended)
        return calls / self.rate

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
