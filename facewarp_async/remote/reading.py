"""Reading a file that lies elsewhere, from its beginning to its end."""

from __future__ import annotations

import hashlib
from concurrent.futures import Future
from functools import partial
from typing import BinaryIO

from facewarp_async.errors import FileChangedError
from facewarp_async.remote import threads
from facewarp_async.remote.looking import PIECE_BYTES, RemoteIdentity, Source, identify, open_source
from facewarp_async.remote.store import reading
from facewarp_async.remote.threads import Line, answer
from facewarp_async.urls import RemoteFile


class Pieces:
    """A file's bytes, piece by piece; the next is asked for while the one before is used.

    The last piece is given out when the file was found to be still what it was.

    Args:
        file: The file.
        identity: Its state when it was looked at.
    """

    def __init__(self, file: RemoteFile, identity: RemoteIdentity) -> None:
        self._file = file
        self._identity = identity
        self._line = Line()
        self._source: Source | None = None
        self._length = 0
        """How much was given out."""
        self._ahead: Future[bytes] | None = None

    async def next(self) -> bytes:
        """Return the next piece. If cancelled, a store that hangs is not waited for.

        Raises:
            FileChangedError: The file changed or shrank.
            MissingFileError: It is gone, or may no longer be read.
            TransportError: The store cannot be reached.
        """
        ahead, self._ahead = self._ahead or self._start(), None
        piece = await answer(self._file, ahead, threads.PIECE_S)
        self._length += len(piece)
        if self._length < self._identity.size:
            self._ahead = self._start()
        return piece

    def close(self) -> None:
        """Let go of the file, once the piece that is being read has come."""
        self._line.start(self._close)
        self._line.end()

    def _start(self) -> Future[bytes]:
        return self._line.start(partial(self._read, self._length))

    def _read(self, offset: int) -> bytes:
        size = self._identity.size
        if self._source is None:
            self._source = open_source(self._file)
        with reading(self._file):
            piece = self._source.read(offset, min(PIECE_BYTES, size - offset))
        if not piece:
            raise FileChangedError(f"{self._file}: shrank while it was being read")
        if offset + len(piece) >= size:
            self._close()
            if identify(self._file) != self._identity:
                raise FileChangedError(f"{self._file}: changed while it was being read")
        return piece

    def _close(self) -> None:
        source, self._source = self._source, None
        if source is not None:
            source.close()


def copy_to(file: RemoteFile, target: BinaryIO) -> None:
    """Write all of a file to another. It blocks.

    Raises:
        FileChangedError, MissingFileError, TransportError: As `Pieces.next`.
    """
    size, source, done = identify(file).size, open_source(file), 0
    try:
        while done < size:
            with reading(file):
                piece = source.read(done, min(PIECE_BYTES, size - done))
            if not piece:
                raise FileChangedError(f"{file}: shrank while it was being read")
            target.write(piece)
            done += len(piece)
    finally:
        source.close()


async def digest(file: RemoteFile, identity: RemoteIdentity) -> bytes:
    """Return the SHA-256 of a file's bytes.

    Raises:
        FileChangedError, MissingFileError, TransportError: As `Pieces.next`.
    """
    pieces, hashed, left = Pieces(file, identity), hashlib.sha256(), identity.size
    try:
        while left:
            piece = await pieces.next()
            await threads.run(file, partial(hashed.update, piece))
            left -= len(piece)
    finally:
        pieces.close()
    return hashed.digest()
