"""Writing what arrives, behind its arrival."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import anyio

from facewarp_async.transfer.threads import FileThreads, finish

WRITE_BYTES = 1024 * 1024
"""How much is written at once: less costs more in going to a thread than in writing."""

_MOST_PIECES = 512
"""How many pieces are written at once, however small: systems take no more than 1,024, and each needs memory."""


class PartWriter:
    """Writes to a file in a thread while the next bytes arrive. What fits in one visit to the thread takes one.

    Args:
        path: The file.
        offset: How much of it is there already; of 0 the file is made anew.
        threads: Write.
    """

    def __init__(self, path: Path, offset: int, threads: FileThreads) -> None:
        self.received: int = offset
        """How long the file will be when all is written."""
        self.written: int = offset
        """How long it is."""
        self._path = path
        self._threads = threads
        self._descriptor = -1
        self._pieces: list[bytes] = []
        self._size = 0
        self._writing: asyncio.Future[None] | None = None

    async def open(self, total: int | None) -> None:
        """Open the file at once, unless it is so short that this can be done when it is written."""
        if total is None or total - self.written > WRITE_BYTES:
            await self._threads.run(self._open)

    async def put(self, piece: bytes) -> bool:
        """Take the next bytes, and tell whether they, and those before them, are being written now."""
        self._pieces.append(piece)
        self._size += len(piece)
        self.received += len(piece)
        if self._size < WRITE_BYTES and len(self._pieces) < _MOST_PIECES:
            return False
        await self._settle()
        pieces, self._pieces, self._size = self._pieces, [], 0
        self._writing = self._threads.start(lambda: self._write(pieces))
        return True

    async def close(self, *, sync: bool) -> None:
        """Write what is left and close. It is not cancelled half-way.

        Args:
            sync: Whether to see that all is on the disk.
        """
        with anyio.CancelScope(shield=True):
            try:
                await self._settle()
                await self._threads.run(lambda: self._finish(sync=sync))
            finally:
                if self._descriptor >= 0:
                    await self._threads.run(self._close)

    async def _settle(self) -> None:
        writing, self._writing = self._writing, None
        if writing is not None:
            await finish(writing)

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | (0 if self.written else os.O_TRUNC)
        self._descriptor = os.open(self._path, flags | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0), 0o666)
        os.lseek(self._descriptor, self.written, os.SEEK_SET)

    def _write(self, pieces: list[bytes]) -> None:
        if self._descriptor < 0:
            self._open()
        if hasattr(os, "writev"):
            count = os.writev(self._descriptor, pieces)
            self.written += count
            if count == sum(map(len, pieces)):
                return
        else:
            count = 0
        rest = memoryview(b"".join(pieces))[count:]
        while rest:  # where the disk is full, this is told why
            count = os.write(self._descriptor, rest)
            self.written += count
            rest = rest[count:]

    def _finish(self, *, sync: bool) -> None:
        self._write(self._pieces)
        if sync:
            os.fsync(self._descriptor)
        self._close()

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        os.close(descriptor)
