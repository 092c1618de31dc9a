"""Where a download goes: a file here, or one elsewhere."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import anyio

from facewarp_async.errors import DiskFullError, OutputError
from facewarp_async.remote.writing import RemoteWriting
from facewarp_async.transfer.publishing import Publisher
from facewarp_async.transfer.threads import FileThreads
from facewarp_async.transfer.writing import WRITE_BYTES, PartWriter
from facewarp_async.urls import Location, RemoteFile


class Writer(Protocol):
    """Takes the bytes of one answer.

    Attributes:
        received: How long the file will be when all is written.
        written: How much of it the next answer need not bring again.
    """

    received: int
    written: int

    async def open(self, total: int | None) -> None:
        """Begin; `total` is the length that the whole will have, where it is known."""
        ...

    async def put(self, piece: bytes) -> bool:
        """Take the next bytes, and tell whether they, and those before them, are being written now."""
        ...

    async def close(self, *, sync: bool) -> None:
        """Write what is left; with `sync`, it is the end of the file."""
        ...


class Target(Protocol):
    """Where the bytes of a download go, over as many answers as it takes."""

    location: Location

    async def prepare(self) -> None:
        """Make its folder, where there are such."""
        ...

    def writer(self, offset: int) -> Writer:
        """Return what writes on from there; from 0, anew."""
        ...

    async def publish(self) -> None:
        """Show the whole file under its name."""
        ...

    async def discard(self) -> None:
        """Leave nothing of it. It is done however the caller is cancelled."""
        ...


class LocalTarget:
    """A file, written beside its place and renamed.

    Args:
        path: Its place.
        threads: Write.
        publisher: Renames.
    """

    def __init__(self, path: Path, threads: FileThreads, publisher: Publisher) -> None:
        self.location: Location = path
        self._path = path
        self._part = path.with_name(path.name + ".part")
        self._threads = threads
        self._publisher = publisher

    async def prepare(self) -> None:
        """Make the folder."""
        await self._threads.run(lambda: self._path.parent.mkdir(parents=True, exist_ok=True))

    def writer(self, offset: int) -> PartWriter:
        """Return what writes to the part."""
        return PartWriter(self._part, offset, self._threads)

    async def publish(self) -> None:
        """Rename the part, durably."""
        await self._publisher.publish(self._part, self._path)

    async def discard(self) -> None:
        """Remove the part."""
        with anyio.CancelScope(shield=True):
            await self._threads.run(lambda: _discard(self._part))


class RemoteTarget:
    """A file elsewhere. It stays open from one answer to the next, and is never read back.

    Args:
        file: Its place.
    """

    def __init__(self, file: RemoteFile) -> None:
        self.location: Location = file
        self._file = file
        self._writing: RemoteWriting | None = None
        self._attempts = 0

    async def prepare(self) -> None:
        """Do nothing: folders are made with what lies in them."""

    def writer(self, offset: int) -> RemoteWriter:
        """Return what writes on."""
        abandoned = None
        if not offset or self._writing is None:
            self._attempts += 1
            abandoned, self._writing = self._writing, RemoteWriting(self._file, attempt=self._attempts)
        return RemoteWriter(self._writing, offset, abandoned)

    async def publish(self) -> None:
        """Have the store show it."""
        assert self._writing is not None
        await self._writing.commit()

    async def discard(self) -> None:
        """Have the store forget it."""
        if self._writing is not None:
            await self._writing.abort()


class RemoteWriter:
    """Hands the bytes of one answer on, a large piece at a time.

    Args:
        writing: Takes them.
        offset: How many it has.
        abandoned: A writing that it takes the place of.
    """

    def __init__(self, writing: RemoteWriting, offset: int, abandoned: RemoteWriting | None) -> None:
        self.received: int = offset
        self.written: int = offset
        self._writing = writing
        self._abandoned = abandoned
        self._pieces: list[bytes] = []
        self._size = 0

    async def open(self, _total: int | None) -> None:
        """Have nothing left of the writing before."""
        if self._abandoned is not None:
            await self._abandoned.abort()

    async def put(self, piece: bytes) -> bool:
        """Take the next bytes."""
        self._pieces.append(piece)
        self._size += len(piece)
        self.received += len(piece)
        if self._size < WRITE_BYTES:
            return False
        await self._writing.settle()
        self._hand_on()
        return True

    async def close(self, *, sync: bool) -> None:  # noqa: ARG002 - the store has it all when it is published
        """Hand on what is left, without waiting: it will be written, or publishing fails."""
        if self._pieces:
            self._hand_on()

    def _hand_on(self) -> None:
        pieces, self._pieces, self._size = self._pieces, [], 0
        self._writing.add(pieces)
        self.written = self.received


@contextlib.contextmanager
def writing(target: Location, length: int | None = None) -> Iterator[None]:
    """Turn the system's errors into those of a target that cannot be written; `length` is what it needs, if known."""
    try:
        yield
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise OutputError(f"{target}: cannot be written: {error.strerror or error}") from error
        needed = "" if length is None else f"; it needs {length} bytes"
        raise DiskFullError(f"{target}: cannot be written: {error.strerror}{needed}") from error


def _discard(part: Path) -> None:
    """Remove a file that may not be there; it looks at the disk."""
    with contextlib.suppress(OSError):  # the failure that led here is the one to tell
        os.unlink(part)  # noqa: PTH108 - as it is
