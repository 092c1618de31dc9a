"""Reading a file that is being sent, as cheaply as the platform allows."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from collections.abc import Iterator
from io import FileIO
from typing import Protocol

import aiofiles.threadpool

from facewarp_async.errors import FileChangedError
from facewarp_async.files import FileIdentity, MediaFile
from facewarp_async.transfer.buffers import Buffers, is_held
from facewarp_async.transfer.threads import FileThreads, finish

CACHED_BYTES = 256 * 1024
"""How much is read at once of what is in memory: more does not stay in the processor's cache until it is sent."""

CHUNK_BYTES = 1024 * 1024
"""How much is read at once in a thread: less costs more in going there and back than in reading."""

_NOWAIT: int | None = getattr(os, "RWF_NOWAIT", None)
_UNSUPPORTED = {errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS}


class Reader(Protocol):
    """Reads a file once, from its beginning to its end."""

    async def read(self) -> memoryview | bytes:
        """Return the next bytes, which hold until the next call.

        The last ones are returned with the file closed and found to be the one that was looked at.

        Raises:
            FileChangedError: It shrank, changed, or can no longer be read.
        """
        ...

    async def close(self) -> None:
        """Close the file wherever reading has ended, and let go of the bytes that were returned last."""
        ...


class Readers:
    """Makes readers that share threads and buffers."""

    def __init__(self, threads: FileThreads) -> None:
        self._threads = threads
        self._cached = Buffers(CACHED_BYTES)
        self._ahead = Buffers(CHUNK_BYTES)

    def open(self, file: MediaFile) -> Reader:
        """Make a reader for a file, which opens it when it first reads."""
        if _NOWAIT is None:
            return PlainReader(file, self._threads)
        return CacheReader(file, self._threads, cached=self._cached, ahead=self._ahead)


class CacheReader:
    """Reads what is in memory at once, and in a thread, ahead, what is not; for Linux.

    A visit to a thread costs twice what reading 200 KB costs, so that only the first bytes and what the disk has to be
    waited for are read there. A file that is found not to be in memory, or on a file system that cannot tell, is read
    in threads to its end.

    Args:
        file: The file, as it was looked at.
        threads: Where the disk is waited for.
        cached: Buffers for what is in memory.
        ahead: Buffers for what is not.
    """

    def __init__(self, file: MediaFile, threads: FileThreads, *, cached: Buffers, ahead: Buffers) -> None:
        self._file = file
        self._threads = threads
        self._buffers = cached
        self._buffers_ahead = ahead
        self._buffer = cached.take()
        self._descriptor = -1
        self._length = 0
        """How much was read and returned."""
        self._ahead: asyncio.Future[int] | None = None
        self._buffer_ahead: bytearray | None = None

    async def read(self) -> memoryview:
        """Return the next bytes."""
        with _reading(self._file):
            count = await self._next()
        if not count:
            raise _shrank(self._file)
        self._length += count
        if self._descriptor >= 0:
            if self._length >= self._file.size:
                await self._threads.run(self._finish)
            elif self._buffers is self._buffers_ahead:
                self._read_ahead()
        return memoryview(self._buffer)[: count - max(0, self._length - self._file.size)]

    async def _next(self) -> int:
        if not self._length:
            return await self._threads.run(self._begin)
        if self._ahead is not None:
            return await self._take_ahead()
        if is_held(self._buffer):
            self._buffer = self._buffers.take()
        count = self._read_cached()
        if count is None:
            self._buffers.give_back(self._buffer)
            self._buffers = self._buffers_ahead
            self._buffer = self._buffers.take()
            count = await self._threads.run(lambda: self._fill(self._buffer))
        return count

    def _begin(self) -> int:
        """Open and read; a small file is finished on the same visit to a thread."""
        self._descriptor = os.open(self._file.path, os.O_RDONLY | os.O_CLOEXEC)
        count = self._fill(self._buffer)
        if count >= self._file.size:
            self._finish()
        return count

    def _fill(self, buffer: bytearray) -> int:
        return os.preadv(self._descriptor, [buffer], self._length)

    def _read_cached(self) -> int | None:
        """Read what is in memory; ``None`` where nothing is, or where the file system cannot tell."""
        assert _NOWAIT is not None
        try:
            return os.preadv(self._descriptor, [self._buffer], self._length, _NOWAIT)
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno in _UNSUPPORTED:
                return None
            raise

    def _read_ahead(self) -> None:
        buffer = self._buffer_ahead = self._buffers.take()
        self._ahead = self._threads.start(lambda: self._fill(buffer))

    async def _take_ahead(self) -> int:
        assert self._ahead is not None
        assert self._buffer_ahead is not None
        count = await finish(self._ahead)
        self._buffers.give_back(self._buffer)
        self._buffer, self._ahead, self._buffer_ahead = self._buffer_ahead, None, None
        return count

    def _finish(self) -> None:
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
                with contextlib.suppress(OSError):  # nobody asks for these bytes any more
                    await finish(self._ahead)
        finally:
            if self._descriptor >= 0:
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

    async def read(self) -> bytes:
        """Return the next bytes."""
        with _reading(self._file):
            if self._opened is None:
                await self._threads.run(self._open)
            opened = aiofiles.threadpool.wrap(self._opened, executor=self._threads.executor)
            chunk: bytes = await finish(opened.read(min(CHUNK_BYTES, self._left)))
            if not chunk:
                raise _shrank(self._file)
            self._left -= len(chunk)
            if not self._left:
                await self._threads.run(self._finish)
        return chunk

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


def _check_unchanged(file: MediaFile, status: os.stat_result) -> None:
    if FileIdentity.of(status) != file.identity:
        raise FileChangedError(f"{file.path}: changed while it was being sent")


def _shrank(file: MediaFile) -> FileChangedError:
    return FileChangedError(f"{file.path}: shrank while it was being sent")


@contextlib.contextmanager
def _reading(file: MediaFile) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FileChangedError(f"{file.path}: can no longer be read: {error.strerror}") from error
