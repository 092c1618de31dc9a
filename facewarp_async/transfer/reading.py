"""Reading a file that is being sent, as cheaply as the platform allows."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from io import FileIO
from typing import Protocol

import aiofiles.threadpool

from facewarp_async.errors import FileChangedError
from facewarp_async.files import AnyMedia, FileIdentity, MediaFile, RemoteMedia
from facewarp_async.remote.reading import Pieces
from facewarp_async.transfer.buffers import Buffers, is_held
from facewarp_async.transfer.opening import open_now
from facewarp_async.transfer.threads import FileThreads, finish

CACHED_BYTES = 256 * 1024
"""How much is read at once of what is in memory: more does not stay in the processor's cache until it is sent."""

CHUNK_BYTES = 1024 * 1024
"""How much is read at once in a thread: less costs more in going there and back than in reading."""

_NOWAIT: int | None = getattr(os, "RWF_NOWAIT", None)
_NOT_NOW = {errno.EAGAIN, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS}
"""What the system says where the bytes are not in memory, or where it cannot tell."""


class Reader(Protocol):
    """Reads a file once, from its beginning to its end.

    Bytes that were returned hold until the next are asked for, or the reader is closed. The last ones are returned with
    the file closed and found to be the one that was looked at.
    """

    def read_now(self) -> memoryview | None:
        """Return the next bytes where that needs no waiting; ``None``: ask `read`.

        Raises:
            FileChangedError: As `read`.
        """
        ...

    async def read(self) -> memoryview:
        """Return the next bytes.

        Raises:
            FileChangedError: The file shrank, changed, or can no longer be read.
        """
        ...

    async def close(self) -> None:
        """Close the file wherever reading has ended."""
        ...


class Readers:
    """Makes readers that share threads and buffers."""

    def __init__(self, threads: FileThreads) -> None:
        self._threads = threads
        self._cached = Buffers(CACHED_BYTES)
        self._ahead = Buffers(CHUNK_BYTES)
        self._quick = set[int]()

    def open(self, file: AnyMedia) -> Reader:
        """Make a reader for a file, which opens it when it first reads."""
        if isinstance(file, RemoteMedia):
            return RemoteReader(file)
        if _NOWAIT is None:
            return PlainReader(file, self._threads)
        return CacheReader(file, self._threads, cached=self._cached, ahead=self._ahead, quick=self._quick)


class CacheReader:
    """Reads what is in memory at once, and in a thread, ahead, what is not; for Linux.

    A visit to a thread costs twice what reading 200 KB costs, and what was read there is in another processor's cache:
    so only what the disk has to be waited for is read there: a file that is found not to be in memory, until it is
    found there again, and one on a file system that cannot tell, to its end. Files are opened there too, unless the way
    to them is in memory and another on the same device could be read at once: a device elsewhere would be waited for.

    Args:
        file: The file, as it was looked at.
        threads: Where the disk is waited for.
        cached: Buffers for what is in memory.
        ahead: Buffers for what is not.
        quick: Devices whose files could be read at once.
    """

    def __init__(
        self, file: MediaFile, threads: FileThreads, *, cached: Buffers, ahead: Buffers, quick: set[int]
    ) -> None:
        self._file = file
        self._threads = threads
        self._buffers = cached
        self._buffers_ahead = ahead
        self._quick = quick
        self._buffer = cached.take()
        self._descriptor = -1
        self._length = 0
        """How much was read and returned."""
        self._may_be_cached = self._can_tell = True
        self._ahead: asyncio.Future[int] | None = None
        self._buffer_ahead: bytearray | None = None

    def read_now(self) -> memoryview | None:
        """Return the next bytes where they are in memory, and the file is open or can be opened at once."""
        if not self._may_be_cached:
            return None
        if self._descriptor < 0 and not self._length and self._file.identity.device in self._quick:
            self._descriptor = open_now(self._file.path)
        if self._descriptor < 0:
            return None
        self._renew_buffer()
        assert _NOWAIT is not None
        try:
            count = os.preadv(self._descriptor, [self._buffer], self._length, _NOWAIT)
        except OSError as error:
            if error.errno not in _NOT_NOW:
                raise _unreadable(self._file, error) from error
            self._may_be_cached, self._can_tell = False, error.errno == errno.EAGAIN
            return None
        if self._length + count >= self._file.size:
            self._end()  # here too: a file system that knows what is in memory has the file's state there
        return self._take(count)

    async def read(self) -> memoryview:
        """Return the next bytes."""
        try:
            if self._ahead is not None:  # first: at the file's end it was closed with what was read ahead
                count = await finish(self._ahead)
                self._swap_buffers()
            else:
                if self._descriptor < 0:
                    await self._threads.run_short(self._open)
                    if (chunk := self.read_now()) is not None:
                        self._quick.add(self._file.identity.device)
                        return chunk
                self._renew_buffer()
                buffer, offset = self._buffer, self._length
                count = await self._threads.run(lambda: self._fill(buffer, offset))
        except OSError as error:
            raise _unreadable(self._file, error) from error
        chunk = self._take(count)
        if not self._may_be_cached and self._length < self._file.size:
            self._may_be_cached = self._is_cached_again()
            if not self._may_be_cached:
                self._read_ahead()
        return chunk

    def _is_cached_again(self) -> bool:
        """Tell whether what a thread would read next is in memory to its end, further than the system reads ahead.

        The system says "not now" for other reasons too, such as somebody else's hand on the page.
        """
        if not self._can_tell:
            return False
        assert _NOWAIT is not None
        last = min(self._length + CHUNK_BYTES, self._file.size) - 1
        try:
            return os.preadv(self._descriptor, [bytearray(1)], last, _NOWAIT) == 1
        except OSError:
            return False

    def _renew_buffer(self) -> None:
        """Have a buffer that nothing is sent from, of the size for the way of reading."""
        buffers = self._buffers if self._may_be_cached else self._buffers_ahead
        if buffers is not self._buffers:
            self._buffers.give_back(self._buffer)
            self._buffers, self._buffer = buffers, buffers.take()
        elif is_held(self._buffer):
            self._buffer = buffers.take()

    def _swap_buffers(self) -> None:
        assert self._buffer_ahead is not None
        self._buffers.give_back(self._buffer)
        self._buffer, self._ahead, self._buffer_ahead = self._buffer_ahead, None, None

    def _read_ahead(self) -> None:
        buffer, offset = self._buffers.take(), self._length
        self._buffer_ahead = buffer
        self._ahead = self._threads.start(lambda: self._fill(buffer, offset))

    def _take(self, count: int) -> memoryview:
        if not count:
            raise _shrank(self._file)
        begin, self._length = self._length, min(self._length + count, self._file.size)
        return memoryview(self._buffer)[: self._length - begin]

    def _fill(self, buffer: bytearray, offset: int) -> int:
        """Read, in a thread."""
        count = os.preadv(self._descriptor, [buffer], offset)
        if offset + count >= self._file.size:
            self._end()
        return count

    def _open(self) -> None:
        self._descriptor = os.open(self._file.path, os.O_RDONLY | os.O_CLOEXEC)

    def _end(self) -> None:
        status = os.fstat(self._descriptor)
        self._close()
        _check_unchanged(self._file, status)

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    async def close(self) -> None:
        """Close the file and give the buffers back."""
        try:
            if self._ahead is not None:
                with contextlib.suppress(OSError, FileChangedError):  # nobody asks for these bytes any more
                    await finish(self._ahead)
        finally:
            if self._descriptor >= 0 and self._may_be_cached and self._length:
                self._close()  # as at the end of what is in memory
            elif self._descriptor >= 0:
                await self._threads.run(self._close)
            self._buffers.give_back(self._buffer)
            if self._buffer_ahead is not None:
                self._buffers.give_back(self._buffer_ahead)


class PlainReader:
    """Reads in a thread, chunk by chunk; for every platform.

    Args:
        file: The file, as it was looked at.
        threads: Where the disk is waited for.
    """

    def __init__(self, file: MediaFile, threads: FileThreads) -> None:
        self._file = file
        self._threads = threads
        self._opened: FileIO | None = None
        self._left = file.size

    def read_now(self) -> None:
        """Return nothing: the disk may have to be waited for."""

    async def read(self) -> memoryview:
        """Return the next bytes."""
        try:
            if self._opened is None:
                await self._threads.run(self._open)
            opened = aiofiles.threadpool.wrap(self._opened, executor=self._threads.executor)
            chunk: bytes = await finish(opened.read(min(CHUNK_BYTES, self._left)))
            if not chunk:
                raise _shrank(self._file)
            self._left -= len(chunk)
            if not self._left:
                await self._threads.run(self._finish)
        except OSError as error:
            raise _unreadable(self._file, error) from error
        return memoryview(chunk)

    def _open(self) -> None:
        self._opened = open(self._file.path, "rb", buffering=0)  # noqa: SIM115, PTH123 - closed by `close`

    def _finish(self) -> None:
        assert self._opened is not None
        status = os.fstat(self._opened.fileno())
        self._opened.close()
        _check_unchanged(self._file, status)

    async def close(self) -> None:
        """Close the file."""
        if self._opened is not None and not self._opened.closed:
            await self._threads.run(self._opened.close)


class RemoteReader:
    """Reads a file that lies elsewhere, piece by piece, ahead.

    Args:
        file: The file, as it was looked at.
    """

    def __init__(self, file: RemoteMedia) -> None:
        self._pieces = Pieces(file.path, file.identity)

    def read_now(self) -> None:
        """Return nothing: the store has to be waited for."""

    async def read(self) -> memoryview:
        """Return the next bytes. Where the store cannot be reached, that may be repeated (`TransportError`)."""
        return memoryview(await self._pieces.next())

    async def close(self) -> None:
        """Let go of the file, without waiting for the store."""
        self._pieces.close()


def _check_unchanged(file: MediaFile, status: os.stat_result) -> None:
    if FileIdentity.of(status) != file.identity:
        raise FileChangedError(f"{file.path}: changed while it was being sent")


def _shrank(file: MediaFile) -> FileChangedError:
    return FileChangedError(f"{file.path}: shrank while it was being sent")


def _unreadable(file: MediaFile, error: OSError) -> FileChangedError:
    return FileChangedError(f"{file.path}: can no longer be read: {error.strerror}")
