"""The one limiter that all API calls of a credential wait at."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random

from facewarp_async.policy.rate import Priority, Spacing


class Pacer:
    """Lets calls leave one at a time, the most urgent first, no faster than the rate allows.

    One timer serves all waiters.
    """

    def __init__(self, requests_per_second: float | None) -> None:
        self._spacing = Spacing(requests_per_second)
        self._waiting: list[tuple[Priority, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()
        self._timer: asyncio.TimerHandle | None = None

    async def acquire(self, priority: Priority) -> None:
        """Wait for leave to send one call. Cancelling the wait gives its place up."""
        loop = asyncio.get_running_loop()
        if not self._waiting and self._timer is None and self._spacing.next_at() <= loop.time():
            self._spacing.take(loop.time())
            return
        leave: asyncio.Future[None] = loop.create_future()
        heapq.heappush(self._waiting, (priority, next(self._numbers), leave))
        self._arm()
        await leave

    def refused(self, retry_after_s: float | None) -> None:
        """Close the gate for all calls, because the service said "too many requests"."""
        now = asyncio.get_running_loop().time()
        self._spacing.refused(now, retry_after_s=retry_after_s, jitter=random.random())  # noqa: S311 - no secret

    def accepted(self) -> None:
        """Note that the service did not refuse a call."""
        self._spacing.accepted()

    def _arm(self) -> None:
        if self._timer is None and self._waiting:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(self._spacing.next_at(), self._release)

    def _release(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        # The gate may have been closed since the timer was set, and the loop's clock may fire a little early.
        while self._waiting and self._spacing.next_at() <= now + 1e-4:
            _, _, leave = heapq.heappop(self._waiting)
            if not leave.done():
                self._spacing.take(now)
                leave.set_result(None)
        self._arm()
