"""Threads that may be left behind.

A thread that waits for a store cannot be interrupted, and a store may hang for minutes. The threads of executors are
waited for when the process ends; these are not.
"""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from threading import Thread
from typing import TypeVar

import anyio
from anyio.lowlevel import RunVar

from facewarp_async.errors import RequestTimeoutError
from facewarp_async.urls import RemoteFile

T = TypeVar("T")

STALL_S = 60.0
"""How long a store may take to tell of a file, in seconds."""

PIECE_S = 300.0
"""How long it may take to give or take one piece of a file, in seconds: the way there may be slow, and shared."""

MOST_AT_ONCE = 32
"""How many files are looked at at once, on one event loop."""

_places: RunVar[anyio.Semaphore] = RunVar("facewarp_async.remote.places")


def start(work: Callable[[], T]) -> Future[T]:
    """Do work in a thread of its own: starting one is nothing beside asking a store."""
    future: Future[T] = Future()
    Thread(target=partial(_do, future, work), name="facewarp-remote", daemon=True).start()
    return future


def _do(future: Future[T], work: Callable[[], T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = work()
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)


async def run(file: RemoteFile, work: Callable[[], T]) -> T:
    """Do work that looks at a file, in a thread; if cancelled, leave it to itself.

    Raises:
        RequestTimeoutError: The store did not answer within `STALL_S`.
    """
    try:
        places = _places.get()
    except LookupError:
        _places.set(places := anyio.Semaphore(MOST_AT_ONCE))
    async with places:
        return await answer(file, start(work), STALL_S)


async def answer(file: RemoteFile, future: Future[T], timeout_s: float) -> T:
    """Wait for a thread; if cancelled or out of time, leave it to itself.

    Raises:
        RequestTimeoutError: The store did not answer in time.
    """
    with anyio.move_on_after(timeout_s):
        return await asyncio.wrap_future(future)
    raise RequestTimeoutError(f"{file}: the store did not answer within {timeout_s:g} s")


class Line:
    """Work that one thread does, in the order in which it was given."""

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._has_thread = False

    def start(self, work: Callable[[], T]) -> Future[T]:
        """Have work done when all before it is."""
        future: Future[T] = Future()
        self._work.put(partial(_do, future, work))
        if not self._has_thread:
            self._has_thread = True
            Thread(target=self._serve, name="facewarp-remote", daemon=True).start()
        return future

    def end(self) -> None:
        """Let the thread end when all is done."""
        self._work.put(None)

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            work()
