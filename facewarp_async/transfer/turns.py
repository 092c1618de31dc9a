"""Turns of sendings that go on at the same time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

FAIR_BYTES = 1024 * 1024
"""How much is sent in one turn: less than takes a millisecond."""


class Turns:
    """Lets one sending go on in each turn of the event loop, the one that has waited longest.

    A connection that takes all at once never makes its sender wait. Many such senders, each of which wrote in each turn
    of the loop, would together hold it up for as long as there are senders. Short sendings need no turn of their own
    until too many come in one.
    """

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._senders = 0
        self._is_serving = False
        self._short_bytes = 0

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Be one of those that send."""
        self._senders += 1
        try:
            yield
        finally:
            self._senders -= 1

    def has_room(self, count: int) -> bool:
        """Count the bytes of a short sending, and tell whether it may go into this turn, besides others."""
        if not self._short_bytes:
            asyncio.get_running_loop().call_soon(self._begin)
        self._short_bytes += count
        return self._short_bytes <= FAIR_BYTES

    def _begin(self) -> None:
        self._short_bytes = 0

    async def next(self) -> None:
        """Give the loop a turn, and wait until it is this sender's."""
        if self._senders == 1:
            await asyncio.sleep(0)
            return
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.append(turn)
        if not self._is_serving:
            self._is_serving = True
            loop.call_soon(self._serve, loop)
        await turn

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():  # else its sender was cancelled
                turn.set_result(None)
                loop.call_soon(self._serve, loop)
                return
        self._is_serving = False
