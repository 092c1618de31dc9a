"""The bytes behind the keys: files that are whole or not there at all.

A key never becomes a path. Each body lives in a file of its own, with a random name that the state knows.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from pathlib import Path
from typing import BinaryIO, TypeVar
from uuid import uuid4

import anyio
import anyio.to_thread
from attrs import frozen

from facewarp_async.models import MediaType
from facewarp_async.wire.media_types import SNIFF_BYTES, sniff

CHUNK_BYTES = 256 * 1024
"""How much of a body is in memory at once."""

_FILE_THREADS = 8

T = TypeVar("T")


@frozen(kw_only=True)
class Blob:
    """A stored body.

    Attributes:
        name: Its file's name below the store.
        size: Bytes.
        md5: The MD5 of the body in hexadecimal digits, S3's ETag.
        media_type: Told by its first bytes, ``None`` for none that the service takes.
    """

    name: str
    size: int
    md5: str
    media_type: MediaType | None


class _Sink:
    """A body on its way into the store. Its methods block: they run in threads, one after the other."""

    def __init__(self, part: Path) -> None:
        self._part = part
        self._file: BinaryIO | None = None
        self._digest = hashlib.md5(usedforsecurity=False)
        self._head = b""
        self._size = 0

    def write(self, chunk: bytes) -> None:
        if self._file is None:
            self._file = self._part.open("xb")
        if len(self._head) < SNIFF_BYTES:
            self._head += chunk[: SNIFF_BYTES - len(self._head)]
        self._size += len(chunk)
        self._digest.update(chunk)
        self._file.write(chunk)

    def finish(self, last: bytes, target: Path) -> Blob:
        self.write(last)
        assert self._file is not None
        self._file.close()
        target.parent.mkdir(exist_ok=True)
        self._part.replace(target)
        return Blob(name=target.name, size=self._size, md5=self._digest.hexdigest(), media_type=sniff(self._head))

    def discard(self) -> None:
        if self._file is not None:
            self._file.close()
            self._part.unlink(missing_ok=True)


class ObjectStore:
    """Bodies as files below a folder. Made inside a running loop, by `open`."""

    def __init__(self, folder: Path, keep_free_bytes: int) -> None:
        self._keep_free_bytes = keep_free_bytes
        self._blobs = folder / "blobs"
        self._parts = folder / "parts"
        # Its own threads, so that slow disks never use up those of the caller's program.
        self._threads = anyio.CapacityLimiter(_FILE_THREADS)

    @classmethod
    async def open(cls, folder: Path, *, known: set[str], keep_free_bytes: int) -> ObjectStore:
        """Open the store, and remove what a crash left behind: half bodies, and bodies that no key refers to.

        Args:
            folder: Where it is.
            known: The bodies' names that keys refer to.
            keep_free_bytes: How much of the disk is left to others.
        """
        store = cls(folder, keep_free_bytes)
        await store._run(lambda: store._clean(known))
        return store

    def _clean(self, known: set[str]) -> None:
        shutil.rmtree(self._parts, ignore_errors=True)
        # People's faces: nobody else's to look at, also where the folder was there before and is open to all.
        self._parts.mkdir(mode=0o700, parents=True)
        self._blobs.mkdir(mode=0o700, exist_ok=True)
        for path in self._blobs.glob("*/*"):
            if path.name not in known:
                path.unlink()

    async def _run(self, function: Callable[[], T]) -> T:
        return await anyio.to_thread.run_sync(function, limiter=self._threads)

    def path(self, name: str) -> Path:
        """Return where a body's file is."""
        return self._blobs / name[:2] / name

    async def present(self, names: list[str]) -> set[str]:
        """Return which of the bodies exist."""
        return await self._run(lambda: {name for name in names if self.path(name).exists()})

    async def has_room(self, length: int) -> bool:
        """Tell whether a body of so many bytes leaves enough of the disk free."""
        return await self._run(lambda: shutil.disk_usage(self._parts).free - length >= self._keep_free_bytes)

    async def receive(self, read: Callable[[], Awaitable[bytes]], *, length: int) -> Blob | None:
        """Store a body that arrives in pieces.

        Args:
            read: Gives the next piece, and an empty one at the end.
            length: How long the body was announced to be, in bytes.

        Returns:
            The stored body, ``None`` where it ended early or was longer; then, and when this is cancelled or `read`
            raises, nothing of it stays.
        """
        name = uuid4().hex
        sink = _Sink(self._parts / name)
        blob: Blob | None = None
        try:
            last = await self._fill(sink, read, length)
            if last is not None:
                blob = await self._run(lambda: sink.finish(last, self.path(name)))
        finally:
            if blob is None:
                with anyio.CancelScope(shield=True):
                    await self._run(sink.discard)
        return blob

    async def _fill(self, sink: _Sink, read: Callable[[], Awaitable[bytes]], length: int) -> bytes | None:
        """Write all but the last chunk, which is returned; ``None`` if the length is not what was announced."""
        buffer, size = bytearray(), 0
        while piece := await read():
            size += len(piece)
            if size > length:
                return None
            buffer += piece
            if len(buffer) >= CHUNK_BYTES:
                chunk = bytes(buffer)
                buffer.clear()
                await self._run(lambda chunk=chunk: sink.write(chunk))  # type: ignore[misc]  # mypy: lambda default
        return bytes(buffer) if size == length else None

    async def adopt(self, paths: list[Path]) -> list[Blob]:
        """Move files into the store, in the order given."""
        return await self._run(lambda: [self._adopt(path) for path in paths])

    def _adopt(self, path: Path) -> Blob:
        with path.open("rb") as file:
            head = file.read(SNIFF_BYTES)
            file.seek(0)
            digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
            size = file.tell()
        target = self.path(uuid4().hex)
        target.parent.mkdir(exist_ok=True)
        path.replace(target)
        return Blob(name=target.name, size=size, md5=digest.hexdigest(), media_type=sniff(head))

    async def lay_out(self, names: Iterable[str], files: Iterable[str]) -> Path:
        """Make bodies appear as files of a new folder on the same disk, without copying where it can link.

        Args:
            names: The bodies.
            files: What each is called in the folder.

        Raises:
            FileNotFoundError: A body is gone. The folder does not stay then.
        """
        folder = self._parts / uuid4().hex
        await self._run(lambda: self._lay_out(folder, list(zip(names, files, strict=True))))
        return folder

    def _lay_out(self, folder: Path, bodies: list[tuple[str, str]]) -> None:
        folder.mkdir()
        try:
            for name, file in bodies:
                _link(self.path(name), folder / file)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    async def read(self, name: str, *, start: int, length: int) -> AsyncGenerator[bytes, None]:
        """Give a part of a body in chunks.

        Raises:
            FileNotFoundError: It is gone.
        """
        file = await self._run(lambda: self.path(name).open("rb"))
        try:
            await self._run(lambda: file.seek(start))
            while length > 0:
                chunk = await self._run(lambda: file.read(min(CHUNK_BYTES, length)))  # noqa: B023 - awaited at once
                if not chunk:
                    return
                length -= len(chunk)
                yield chunk
        finally:
            with anyio.CancelScope(shield=True):
                await self._run(file.close)

    async def read_small(self, name: str, *, start: int, length: int) -> bytes:
        """Return a part of a body that fits into one chunk.

        Raises:
            FileNotFoundError: It is gone.
        """
        return await self._run(lambda: _read_part(self.path(name), start, length))

    async def remove(self, names: list[str]) -> None:
        """Delete bodies; those that are gone already are passed over."""
        await self._run(lambda: self._remove(names))

    def _remove(self, names: list[str]) -> None:
        for name in names:
            self.path(name).unlink(missing_ok=True)

    async def remove_folder(self, folder: Path) -> None:
        """Delete a folder that was laid out, and what is in it by now."""
        await self._run(lambda: shutil.rmtree(folder, ignore_errors=True))


def _read_part(path: Path, start: int, length: int) -> bytes:
    file: BinaryIO
    with path.open("rb") as file:
        file.seek(start)
        return file.read(length)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:  # another disk, or a file system without links
        shutil.copyfile(source, target)
