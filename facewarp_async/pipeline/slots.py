"""The limit of uploads, at which jobs with long tasks go first."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from contextlib import AbstractAsyncContextManager

from attrs import frozen

from facewarp_async.models import TaskKind

_AHEAD = 128
"""How many uploads that came earlier a video's goes past: with no end to that, pictures might wait for good."""


class UploadSlots:
    """Lets so many uploads go on at once. Of those that wait, videos go first.

    A long task that is created last makes a batch end late, while the service has nothing else to do. So jobs that are
    begun create their long tasks first; the order of their outcomes does not change.

    Args:
        number: How many at once.
    """

    def __init__(self, number: int) -> None:
        self._free = number
        self._numbers = itertools.count()
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []

    def of(self, kind: TaskKind) -> AbstractAsyncContextManager[None]:
        """Return what a job of a kind holds while it uploads; it may be entered again and again."""
        return _Slot(self, _AHEAD if kind.is_video else 0)

    async def acquire(self, ahead: int) -> None:
        """Wait for a slot. Cancelling the wait gives the place up."""
        number = next(self._numbers)
        if self._free:  # then nobody waits
            self._free -= 1
            return
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (number - ahead, number, granted))
        try:
            await granted
        except asyncio.CancelledError:
            if not granted.cancelled():  # it was given in the same moment
                self.release()
            raise

    def release(self) -> None:
        """Give a slot to who waits, or back."""
        while self._waiting:
            granted = heapq.heappop(self._waiting)[2]
            if not granted.done():
                granted.set_result(None)
                return
        self._free += 1


@frozen
class _Slot(AbstractAsyncContextManager[None]):
    slots: UploadSlots
    ahead: int

    async def __aenter__(self) -> None:
        await self.slots.acquire(self.ahead)

    async def __aexit__(self, *_error: object) -> None:
        self.slots.release()
