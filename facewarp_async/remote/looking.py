"""Looking at a file that lies elsewhere: what it is, and what tells one state of it from another. It may block."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Protocol

from aiohttp import ClientTimeout
from attrs import field, frozen

from facewarp_async.errors import MissingFileError
from facewarp_async.remote.store import Place, locate, reading
from facewarp_async.remote.threads import STALL_S
from facewarp_async.urls import RemoteFile

PIECE_BYTES = 2 * 1024 * 1024
"""How much is asked for at once: less costs more in asking than in getting."""

_MARKS = ("md5Hash", "crc32c", "ETag", "etag", "Content-MD5", "Digest", "checksum")
"""Where drivers tell of a content's mark, the best first: Google's etag changes with the object's metadata."""
_TIMES = ("LastModified", "Last-Modified", "last_modified", "updated", "modified", "mtime")


@frozen(kw_only=True)
class RemoteIdentity:
    """What tells one state of a file from another without reading it.

    Attributes:
        url: What it is called, without what signs it.
        size: Its length in bytes.
        mark: The store's mark of its content, such as an etag, or else the time of its last change; ``None`` where the
            store tells neither.
    """

    url: str = field(repr=False)
    size: int
    mark: str | None

    @property
    def content(self) -> bytes | None:
        """What its content is known by where it is not read for that; ``None``: it has to be.

        It is no digest of the content, and never equals one: it begins with ``url:``.
        """
        if self.mark is None:
            return None
        return b"url:" + hashlib.sha256(json.dumps([self.url, self.mark, self.size]).encode()).digest()


@frozen
class Looked:
    """A file as it was found: its state and its first bytes."""

    identity: RemoteIdentity
    head: bytes


def look(file: RemoteFile, head_bytes: int) -> Looked:
    """Look at a file, and at its first bytes.

    Raises:
        MissingFileError: It does not exist, is a folder, or may not be read.
        TransportError: The store cannot be reached.
    """
    with reading(file):
        place = locate(file)
        identity = _identify(file, place)
        with _opened(file, place) as source:
            return Looked(identity, source.read(0, min(head_bytes, identity.size)) if identity.size else b"")


def identify(file: RemoteFile) -> RemoteIdentity:
    """Return a file's state. As `look`, but nothing of it is read."""
    with reading(file):
        return _identify(file, locate(file))


def _identify(file: RemoteFile, place: Place) -> RemoteIdentity:
    place.fs.invalidate_cache(place.fs._parent(place.path))  # what a listing said may be long ago
    info: Mapping[str, Any] = place.fs.info(place.path)
    if info.get("type") == "directory":
        raise MissingFileError(f"{file}: is a folder, expected a file")
    if info.get("size") is None:
        raise MissingFileError(f"{file}: the store does not tell its length, without which it cannot be sent")
    return RemoteIdentity(url=file.lasting_url, size=int(info["size"]), mark=_mark(info))


def _mark(info: Mapping[str, Any]) -> str | None:
    for name in (*_MARKS, *_TIMES):
        if value := info.get(name):
            return f"{name}={_plain(value)}"
    return None


def _plain(value: object) -> str:
    """Write a mark or a time in one way: listings leave out quotes, and tell fractions and other zones' hours."""
    if not isinstance(value, datetime):
        return str(value).strip('"')
    return (value if value.tzinfo is None else value.astimezone(UTC)).replace(microsecond=0).isoformat()


def is_same(one: RemoteFile, other: RemoteFile) -> bool:
    """Tell whether two URLs name one file, whether it exists or not."""
    here, there = locate(one), locate(other)
    return bool(here.fs == there.fs) and here.path == there.path


class Source(Protocol):
    """What a file is read from."""

    def read(self, offset: int, length: int) -> bytes:
        """Return as many bytes as that, fewer only at the end. Each call begins where the one before has ended."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


def open_source(file: RemoteFile) -> Source:
    """Open a file to be read from its beginning to its end."""
    with reading(file):
        return _open(file, locate(file))


@contextmanager
def _opened(file: RemoteFile, place: Place) -> Iterator[Source]:
    source = _open(file, place)
    try:
        yield source
    finally:
        source.close()


def _open(file: RemoteFile, place: Place) -> Source:
    from fsspec.asyn import AsyncFileSystem  # noqa: PLC0415 - an extra, and slow
    from fsspec.spec import AbstractFileSystem  # noqa: PLC0415 - the same

    if file.is_encoded:
        return _Streamed(_open_stream(place))
    if isinstance(place.fs, AsyncFileSystem) or type(place.fs).cat_file is not AbstractFileSystem.cat_file:
        return _Ranges(place)
    return _Streamed(place.fs.open(place.path, "rb", block_size=PIECE_BYTES))


def _open_stream(place: Place) -> Any:
    """Open an http URL as one answer: not every server gives parts, and one that does not would send all for each."""
    headers = {**place.fs.kwargs.get("headers", {}), "Accept-Encoding": "identity"}
    timeout = ClientTimeout(total=None, sock_connect=STALL_S, sock_read=STALL_S)
    return place.fs.open(place.path, "rb", block_size=0, size=1, headers=headers, timeout=timeout)


class _Ranges:
    """Asks for each piece by itself: nothing is held open, and nothing is read that was not asked for."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def read(self, offset: int, length: int) -> bytes:
        return bytes(self._place.fs.cat_file(self._place.path, start=offset, end=offset + length))

    def close(self) -> None:
        pass


class _Streamed:
    """Reads what was opened."""

    def __init__(self, opened: Any) -> None:
        self._opened = opened

    def read(self, _offset: int, length: int) -> bytes:
        pieces, left = [], length
        while left and (piece := self._opened.read(left)):
            pieces.append(piece)
            left -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def close(self) -> None:
        self._opened.close()
