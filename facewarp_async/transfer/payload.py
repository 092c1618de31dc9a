"""A file as the body of a request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self, cast

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import StreamWriter

from facewarp_async.errors import FaceWarpError, IncompleteTransferError
from facewarp_async.files import AnyMedia
from facewarp_async.transfer.progress import CallbackError, ProgressCallback, tell
from facewarp_async.transfer.reading import CACHED_BYTES, Readers
from facewarp_async.transfer.turns import FAIR_BYTES, Turns

_JOINED_BYTES = CACHED_BYTES
"""Up to this length the body goes out in one piece with the headers: copying it takes less than writing twice."""


class FilePayload(aiohttp.Payload):
    """A file as a request's body, of a length known beforehand and read anew for each sending.

    The last bytes are written when the file is closed already, and nothing is waited for after they have left: an
    answer that arrives early then finds a body that is complete, and the connection stays usable.

    Args:
        file: The file, as it was looked at.
        readers: Make what reads it.
        turns: Taken with all else that is sent.
        stall_s: For how long the peer may take no byte.
        on_progress: Told of the bytes sent.
        on_sent: Called when all were.
    """

    _autoclose = True

    def __init__(
        self,
        file: AnyMedia,
        readers: Readers,
        turns: Turns,
        *,
        stall_s: float,
        on_progress: ProgressCallback | None,
        on_sent: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(file.path, content_type="application/octet-stream")
        self._size = file.size
        self._file = file
        self._readers = readers
        self._turns = turns
        self._stall_s = stall_s
        self._on_progress = on_progress
        self._on_sent = on_sent
        self.failure: Exception | None = None
        """Why the body could not be sent, where that is not the connection's fault: aiohttp tells only in its words."""

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:  # noqa: ARG002 - aiohttp's signature
        """Refuse: a streamed body is never text."""
        raise TypeError("a streamed file cannot be decoded")

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send the file."""
        await self.write_with_length(writer, None)

    async def write_with_length(
        self,
        writer: AbstractStreamWriter,
        content_length: int | None,  # noqa: ARG002 - aiohttp's signature
    ) -> None:
        """Send the file; its own length is the content's length."""
        try:
            with self._turns.sending():
                await self._send(cast(StreamWriter, writer))
            self._on_sent()
        except FaceWarpError as error:
            self.failure = error
            raise
        except CallbackError as stopped:
            self.failure = stopped.error
            raise

    async def _send(self, writer: StreamWriter) -> None:
        size, sent, turn_ends = self._file.size, 0, 0
        reader = self._readers.open(self._file)
        try:
            async with _StallWatch(writer, self._stall_s) as watch:
                while sent < size:
                    chunk = reader.read_now() or await reader.read()
                    if turn_ends <= sent:  # before the first bytes too: many may begin at once
                        if size > _JOINED_BYTES or not self._turns.has_room(size):
                            await self._turns.next()
                        turn_ends = sent + FAIR_BYTES
                    if not sent and size > _JOINED_BYTES:
                        writer.send_headers()
                    sent += len(chunk)
                    await writer.write(chunk, drain=False)
                    del chunk  # or its buffer could not be used again
                    if writer.protocol.writing_paused:
                        await watch.drain()
                    tell(self._on_progress, sent, size)
        except TimeoutError:
            raise IncompleteTransferError(f"{self._file.path}: no byte was taken for {self._stall_s:g} s") from None
        finally:
            await reader.close()


class _StallWatch:
    """Ends a sending whose peer takes no byte, by a TimeoutError.

    However slowly the peer takes them, only standing still is a failure. There is one timer for all waits, which
    compares what is unsent with what was unsent the last time. It is not set before the first wait, and does
    not run out while something else is waited for, such as the disk.
    """

    def __init__(self, writer: StreamWriter, stall_s: float) -> None:
        self._writer = writer
        self._stall_s = stall_s
        self._timeout: asyncio.Timeout | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_waiting = False
        self._unsent: int | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._timeout is not None:
            await self._timeout.__aexit__(kind, error, traceback)

    async def drain(self) -> None:
        """Wait until the connection takes more."""
        self._is_waiting, self._unsent = True, None
        if self._timeout is None:
            self._timeout = asyncio.timeout(None)
            await self._timeout.__aenter__()
            self._arm()
        await self._writer.drain()
        self._is_waiting = False

    def _arm(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._stall_s, self._look)

    def _look(self) -> None:
        if self._is_waiting:
            transport = self._writer.transport
            unsent = 0 if transport is None else transport.get_write_buffer_size()
            if self._timeout is not None and self._unsent is not None and unsent >= self._unsent:
                self._timeout.reschedule(asyncio.get_running_loop().time())
            self._unsent = unsent
        self._arm()
