"""The account's cap: how many tasks may be under way at once, wherever they are waited for."""

from __future__ import annotations

import asyncio
import math
from collections import deque


class TaskSlots:
    """Places for tasks, each held by the job that the task is for.

    A place belongs to the task, not to who waits for it: a worker that dies leaves it taken. Whoever goes on with the
    job takes the place over; if nobody does, it is free again when the task cannot be under way any more.

    Args:
        limit: How many places there are. More may be taken by what an earlier run has left.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held: set[bytes] = set()
        self._kept: dict[bytes, float] = {}
        """Until when the places stay taken that nobody answers for."""
        self._waiting: deque[tuple[bytes, asyncio.Future[None]]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, key: bytes) -> bool:
        return key in self._held

    async def take(self, key: bytes) -> None:
        """Wait for a place. A job that has one has it again. Cancelling gives it up."""
        if key in self._held or (len(self._held) < self._limit and not self._waiting):
            self._held.add(key)
            self._kept.pop(key, None)
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((key, place))
        self._arm()
        try:
            await place
        except asyncio.CancelledError:
            if not place.cancelled():  # it was given at the same moment
                self.free(key)
            raise

    def free(self, key: bytes) -> None:
        """Give a job's place to the next."""
        self._held.discard(key)
        self._kept.pop(key, None)
        self._serve()

    def keep(self, key: bytes, seconds: float) -> None:
        """Leave a place taken for so long, unless the job is gone on with: its task may be under way."""
        if seconds <= 0:
            self.free(key)
            return
        self._held.add(key)
        self._kept.setdefault(key, asyncio.get_running_loop().time() + seconds)
        self._arm()

    def _serve(self) -> None:
        while self._waiting and (self._waiting[0][1].done() or len(self._held) < self._limit):
            key, place = self._waiting.popleft()
            if not place.done():
                self._held.add(key)
                place.set_result(None)

    def _arm(self) -> None:
        """Look again when the first of the kept places is free, if somebody waits for one."""
        at = min(self._kept.values(), default=math.inf) if self._waiting else math.inf
        if at < self._timer_at:
            self.close()
            self._timer_at = at
            self._timer = asyncio.get_running_loop().call_at(at, self._expire)

    def _expire(self) -> None:
        self._timer, self._timer_at = None, math.inf
        now = asyncio.get_running_loop().time()
        for key in [key for key, until in self._kept.items() if until <= now]:
            self.free(key)
        self._arm()

    def close(self) -> None:
        """End what waits for its time."""
        if self._timer is not None:
            self._timer.cancel()
