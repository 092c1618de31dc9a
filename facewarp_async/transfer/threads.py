"""The threads that wait for the disk in the loop's place."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import anyio

T = TypeVar("T")

MOST_THREADS = 16

FEW_THREADS = 2


class FileThreads:
    """Threads of a client's own: the loop's default ones are few, and names of hosts are looked up in them."""

    def __init__(self) -> None:
        self.executor: ThreadPoolExecutor | None = ThreadPoolExecutor(MOST_THREADS, "facewarp-files")
        """``None`` once closed: what is still to be cleaned up then goes to the loop's own threads."""
        self._few: ThreadPoolExecutor | None = ThreadPoolExecutor(FEW_THREADS, "facewarp-opens")

    def start(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Begin work in a thread. Whoever gave it buffers or files awaits it by `finish`."""
        return asyncio.get_running_loop().run_in_executor(self.executor, work)

    async def run(self, work: Callable[[], T]) -> T:
        """Do work in a thread; if cancelled, first wait until the thread is done with it."""
        return await finish(self.start(work))

    async def run_short(self, work: Callable[[], T]) -> T:
        """As `run`, for what is done in a moment: many threads that wake up for it are in the way of each other."""
        return await finish(asyncio.get_running_loop().run_in_executor(self._few, work))

    def close(self) -> None:
        """Let the threads end when they are done. May be called twice."""
        for executor in (self.executor, self._few):
            if executor is not None:
                executor.shutdown(wait=False)
        self.executor = self._few = None


async def finish(work: Awaitable[T]) -> T:
    """Await work that a thread does; if cancelled, first wait until the thread is done with its buffers and files."""
    future = asyncio.ensure_future(work)
    try:  # not by a shield: from Python 3.14 on it would report what fails after the cancellation
        await asyncio.wait([future])
    except asyncio.CancelledError:
        with anyio.CancelScope(shield=True):
            while not future.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait([future])
        if not future.cancelled():
            future.exception()  # nobody else will look at it
        raise
    return future.result()
