"""Writing a file elsewhere, so that it is there whole or not at all."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

import anyio

from facewarp_async.errors import FaceWarpError, OutputError, RequestTimeoutError
from facewarp_async.remote import threads
from facewarp_async.remote.looking import identify
from facewarp_async.remote.store import Place, locate, writing
from facewarp_async.remote.threads import Line, answer
from facewarp_async.urls import RemoteFile

logger: logging.Logger = logging.getLogger(__name__)

PART_BYTES = 5 * 1024 * 1024
"""How much goes to the store at once: the least that S3 takes for a part; the 10,000 parts it takes are 48 GiB."""

GRACE_S = 0.5
"""How long an abandoned writing is waited for, in seconds, before it is left to its thread."""

_SHOWN_WHEN_CLOSED = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oss"}
"""Stores that show an object when its writing is closed and not before. Elsewhere a file is written under another name
and renamed."""


class RemoteWriting:
    """One file that is being written, in a thread of its own, piece after piece.

    Nothing of it is seen under its name before `commit`.

    Args:
        file: The file. One that exists is replaced.
        attempt: The how many-th writing of it this is, from 1: one before may still be ending in its thread.
    """

    def __init__(self, file: RemoteFile, *, attempt: int = 1) -> None:
        self._file = file
        self._attempt = attempt
        self._line = Line()
        self._pending: list[Future[None]] = []
        self._failure: FaceWarpError | None = None
        self._length = 0
        self._place: Place | None = None
        self._opened: Any = None
        self._part: RemoteFile | None = None
        """What it is written under and renamed from; ``None`` where the store shows it when it is closed."""
        self._has_remains = False

    def add(self, pieces: Sequence[bytes]) -> None:
        """Have the next bytes written, once those before are."""
        self._pending.append(self._line.start(partial(self._write, pieces)))

    async def settle(self) -> None:
        """Wait until what was added is written. Cancelling it leaves that to the thread.

        Raises:
            OutputError: It cannot be.
        """
        while self._pending:
            await self._answer(self._pending.pop(0))

    async def commit(self) -> None:
        """See that all is written and show the file under its name.

        Raises:
            OutputError: It cannot be written, or has not the length that was written.
        """
        await self.settle()
        await self._answer(self._line.start(self._commit))
        self._line.end()

    async def abort(self) -> None:
        """Have nothing left of it. The store is waited for a moment only; then the thread does it alone."""
        done = self._line.start(self._abort)
        self._line.end()
        with anyio.CancelScope(shield=True):
            await asyncio.wait([asyncio.wrap_future(done)], timeout=GRACE_S)

    async def _answer(self, future: Future[None]) -> None:
        try:
            await answer(self._file, future, threads.PIECE_S)
        except RequestTimeoutError as error:
            raise OutputError(f"{error.message}: the result was not written") from error

    def _write(self, pieces: Sequence[bytes]) -> None:
        if self._failure is not None:  # what follows a piece that is missing is not to be written
            raise self._failure
        try:
            with writing(self._file):
                if self._opened is None:
                    self._open()
                for piece in pieces:
                    self._opened.write(piece)
                    self._length += len(piece)
        except FaceWarpError as error:
            self._failure = error
            raise

    def _open(self) -> None:
        place = self._place = locate(self._file)
        if self._file.scheme not in _SHOWN_WHEN_CLOSED:
            ending = ".part" if self._attempt == 1 else f".{self._attempt}.part"
            self._part = RemoteFile(f"{self._file.url}{ending}")
            place.fs.makedirs(place.fs._parent(place.path), exist_ok=True)
        path = place.path if self._part is None else locate(self._part).path
        try:
            self._opened = place.fs.open(path, "wb", block_size=PART_BYTES)
        except NotImplementedError as error:
            raise OutputError(f"{self._file}: cannot be written: {self._file.scheme}:// is only read") from error
        self._has_remains = True

    def _commit(self) -> None:
        with writing(self._file):
            if self._opened is None:  # of an empty file nothing was written
                self._open()
            place = self._place
            assert place is not None
            self._opened.close()
            self._opened = None
            if self._part is not None:
                self._check_length(self._part)
                _rename(place, locate(self._part).path, place.path)
            self._has_remains = False
        self._check_length(self._file)

    def _check_length(self, file: RemoteFile) -> None:
        try:
            found = identify(file).size
        except FaceWarpError as error:
            raise OutputError(f"{error.message}; it was written, and cannot be looked at") from error
        if found != self._length:
            raise OutputError(f"{self._file}: has {found} bytes, of {self._length} that were written")

    def _abort(self) -> None:
        place, opened, self._opened = self._place, self._opened, None
        if place is None or not self._has_remains:
            return
        try:
            with writing(self._file):
                if self._part is None:
                    opened.discard()
                else:
                    if opened is not None:
                        opened.close()
                    place.fs.rm_file(locate(self._part).path)
        except FaceWarpError as error:  # what led here is the error to tell
            logger.warning("%s; what was written of it may be left behind, unseen", error)
        finally:
            if self._part is None:
                opened.closed = True  # or it would be closed when it is forgotten, and show what there is of it


async def try_out(folder: RemoteFile) -> None:
    """Write a small file into a folder and remove it again.

    Raises:
        OutputError: It cannot be written.
    """
    file = folder.joined(f".facewarp-{uuid.uuid4().hex[:12]}")
    trial = RemoteWriting(file)
    trial.add([b"may be removed\n"])
    try:
        await trial.commit()
    except BaseException:
        await trial.abort()
        raise
    try:
        await threads.run(file, partial(_remove, file))
    except FaceWarpError as error:  # some may write and not remove, which is enough for results
        logger.warning("%s", error)


def _remove(file: RemoteFile) -> None:
    with writing(file):
        place = locate(file)
        place.fs.rm_file(place.path)


def _rename(place: Place, old: str, new: str) -> None:
    """Rename a file; where the store cannot, copy and remove it: the general ``mv`` takes ``*`` for a pattern."""
    from fsspec.spec import AbstractFileSystem  # noqa: PLC0415 - an extra, and slow

    if type(place.fs).mv is not AbstractFileSystem.mv:
        place.fs.mv(old, new)
    else:
        place.fs.cp_file(old, new)
        place.fs.rm_file(old)


def copy(old: RemoteFile, new: RemoteFile) -> None:
    """Have the store copy a file, so that the new one is there whole or not at all. It may block.

    Raises:
        OutputError: It cannot.
    """
    with writing(new):
        place, path = locate(new), locate(old).path
        if new.scheme in _SHOWN_WHEN_CLOSED:
            place.fs.cp_file(path, place.path)
            return
        place.fs.makedirs(place.fs._parent(place.path), exist_ok=True)
        place.fs.cp_file(path, f"{place.path}.part")
        _rename(place, f"{place.path}.part", place.path)
