"""Calls and notes both ways over one Dask comm, many at a time; whatever is ready together travels together.

A comm of its own, because Dask's own calls take one connection for each that waits, log what they carry when they
debug, and tell nobody at once that the other side has died.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import pickle
from collections.abc import Callable
from typing import Any, Protocol

from distributed.comm.core import connect

from facewarp_async.distributed.packing import pack_error
from facewarp_async.errors import ClusterError, FaceWarpError

logger: logging.Logger = logging.getLogger(__name__)

_MOST_IN_A_MESSAGE = 1000

_CALL, _NOTE, _CANCEL, _ANSWER, _ERROR = range(5)

Value = Any
"""What msgpack knows: numbers, text, bytes, ``None``, and tuples of them."""


class Comm(Protocol):
    """What a link needs of a Dask comm. All of it raises `OSError` once the comm is closed."""

    async def read(self) -> Value:
        """Return the next message."""
        ...

    async def write(self, message: Value, /) -> object:
        """Send a message."""
        ...

    def abort(self) -> None:
        """Close at once. May be called twice."""
        ...


class Other(Protocol):
    """What a link passes on of what the other side says."""

    async def answer(self, op: str, arguments: tuple[Value, ...], /) -> Value:
        """Answer a call. What it raises is raised at the caller."""
        ...

    def note(self, op: str, arguments: tuple[Value, ...], /) -> None:
        """Take a note, in the order in which notes and calls were made."""
        ...


class Link:
    """One end of a connection between two processes.

    Args:
        comm: The connection.
        other: Takes what comes over it.
        name: What to call the other side in a message.
    """

    def __init__(self, comm: Comm, other: Other, *, name: str) -> None:
        self.is_lost: bool = False
        """Whether nothing can be said any more."""
        self._comm = comm
        self._other = other
        self._name = name
        self._numbers = itertools.count()
        self._calls: dict[int, asyncio.Future[Value]] = {}
        self._answering: dict[int, asyncio.Task[None]] = {}
        self._outbox: list[tuple[Value, ...]] = []
        self._is_due = asyncio.Event()

    async def run(self) -> None:
        """Carry on until either side closes, or the other one dies. Waiting calls are answered with an error then."""
        writing = asyncio.create_task(self._write())
        try:
            while True:
                for item in await self._comm.read():
                    self._take(*item)
        except OSError as error:  # how a comm says that it has ended
            logger.debug("the connection to %s has ended: %s", self._name, error)
        finally:
            writing.cancel()
            self._end()

    def _end(self) -> None:
        self.is_lost = True
        self._comm.abort()
        for task in self._answering.values():
            task.cancel()
        for future in self._calls.values():
            if not future.done():
                future.set_exception(self._loss())
        self._calls.clear()

    def _loss(self) -> ClusterError:
        return ClusterError(f"the connection to {self._name} was lost")

    def close(self) -> None:
        """End the link. What was said and has not left is not said."""
        self._comm.abort()

    def note(self, op: str, *arguments: Value) -> None:
        """Say something and expect no answer. It is lost where the link is."""
        self._send(_NOTE, 0, op, arguments)

    async def call(self, op: str, *arguments: Value, abandoned: Callable[[Value], None] | None = None) -> Value:
        """Ask for something.

        Args:
            op: What is asked for.
            arguments: With what.
            abandoned: Given the answer where the caller was cancelled before it came, and the other side had it.

        Raises:
            ClusterError: The link is lost; whether it was done is not known.
            FaceWarpError: What the other side raised.
        """
        if self.is_lost:
            raise self._loss()
        number = next(self._numbers)
        future = self._calls[number] = asyncio.get_running_loop().create_future()
        self._send(_CALL, number, op, arguments)
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError:
            self._send(_CANCEL, number)
            future.add_done_callback(lambda done: _pass_on(done, abandoned))
            raise
        return future.result()

    def _send(self, *item: Value) -> None:
        if not self.is_lost:
            self._outbox.append(item)
            self._is_due.set()

    async def _write(self) -> None:
        try:
            while await self._is_due.wait():
                self._is_due.clear()
                while items := self._outbox[:_MOST_IN_A_MESSAGE]:
                    del self._outbox[:_MOST_IN_A_MESSAGE]
                    await self._comm.write(items)
        except OSError:
            self._comm.abort()  # the reader notices

    def _take(self, kind: int, number: int, *rest: Value) -> None:
        if kind == _NOTE:
            self._other.note(*rest)
        elif kind == _CALL:
            self._answering[number] = asyncio.create_task(self._answer(number, *rest))
        elif kind == _CANCEL:
            if (answering := self._answering.get(number)) is not None:
                answering.cancel()
        elif (future := self._calls.pop(number, None)) is not None:
            if kind == _ANSWER:
                future.set_result(rest[0])
            else:
                future.set_exception(pickle.loads(rest[0]))  # noqa: S301 - Dask's peers trust each other

    async def _answer(self, number: int, op: str, arguments: tuple[Value, ...]) -> None:
        try:
            value = await self._other.answer(op, arguments)
        except asyncio.CancelledError:
            self._send(_ERROR, number, pack_error(ClusterError("it was cancelled")))
            raise
        except FaceWarpError as error:
            self._send(_ERROR, number, pack_error(error))
        except Exception as error:  # a fault of this package's: whatever it is, somebody waits for an answer
            logger.exception("%s failed", op)
            self._send(_ERROR, number, pack_error(ClusterError(f"{op} failed: {type(error).__name__}")))
        else:
            self._send(_ANSWER, number, value)
        finally:
            del self._answering[number]


def _pass_on(done: asyncio.Future[Value], abandoned: Callable[[Value], None] | None) -> None:
    if done.exception() is None and abandoned is not None:
        abandoned(done.result())


async def open_link(
    address: str,
    greeting: dict[str, Value],
    other: Other,
    *,
    name: str,
    options: dict[str, Any],
    timeout_s: float = 30.0,
) -> Link:
    """Connect to the coordinator.

    Args:
        address: The scheduler's.
        greeting: The message that Dask passes on to it; it is logged where Dask debugs, and holds no secret.
        other: Takes what comes over the link.
        name: What to call the other side.
        options: Dask's options for a connection, such as those for TLS.
        timeout_s: How long to try.

    Raises:
        ClusterError: There is no connection.
    """
    try:
        comm = await connect(address, timeout=timeout_s, **options)  # type: ignore[no-untyped-call]  # Dask's
        await comm.write({**greeting, "reply": False})
    except (OSError, TimeoutError) as error:
        raise ClusterError(f"{name} at {address} cannot be reached: {error}") from error
    return Link(comm, other, name=name)
