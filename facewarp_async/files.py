"""Looking at a file before anything is sent: it exists, has bytes, is not too large, and is what it is said to be.

A file is here, named by a path, or lies elsewhere, named by a URL.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from functools import partial
from pathlib import Path
from typing import overload

import anyio.to_thread
from attrs import frozen

from facewarp_async.errors import (
    EmptyFileError,
    FileTooLargeError,
    MissingFileError,
    UnsupportedFormatError,
)
from facewarp_async.models import MediaType
from facewarp_async.remote import looking, reading, threads
from facewarp_async.remote.looking import RemoteIdentity
from facewarp_async.urls import Location, RemoteFile
from facewarp_async.wire.media_types import MAX_FILE_BYTES, SNIFF_BYTES, sniff

_FORMATS = "JPG, PNG, WEBP, GIF, M4V, MP4, MOV or WEBM"
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_LONGEST_SENT_STEM = 60


@frozen
class FileIdentity:
    """What tells one state of a file from another without reading it."""

    device: int
    inode: int
    size: int
    modified_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> FileIdentity:
        """Take it from a file's status."""
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


@frozen(kw_only=True)
class _Media:
    path: Location
    media_type: MediaType
    identity: FileIdentity | RemoteIdentity

    @property
    def size(self) -> int:
        """Its length in bytes."""
        return self.identity.size

    @property
    def sent_name(self) -> str:
        """The name told to the service: plain ASCII, with the extension of what the file is."""
        stem = _UNSAFE.sub("_", self.path.stem).strip("._")[:_LONGEST_SENT_STEM]
        return (stem or "media") + self.media_type.extension


@frozen(kw_only=True)
class MediaFile(_Media):
    """A file that the service would take.

    Attributes:
        path: Where it is.
        media_type: Its format, told by its first bytes.
        identity: Its state when it was looked at.
    """

    path: Path
    identity: FileIdentity


@frozen(kw_only=True)
class RemoteMedia(_Media):
    """A file elsewhere that the service would take. The attributes are those of `MediaFile`."""

    path: RemoteFile
    identity: RemoteIdentity


AnyMedia = MediaFile | RemoteMedia


async def inspect(path: Location) -> AnyMedia:
    """Look at a file.

    Cancelling it does not wait for a store that hangs.

    Raises:
        MissingFileError: It does not exist, is no regular file, or may not be read.
        EmptyFileError: It has no bytes.
        FileTooLargeError: It has more than 500 MB.
        UnsupportedFormatError: Its first bytes show none of the service's formats.
        MissingExtraError: It has a URL, and what reads such is not installed.
        TransportError: It has a URL, and its store cannot be reached.
    """
    if isinstance(path, RemoteFile):
        return await threads.run(path, partial(inspect_now, path))
    return await anyio.to_thread.run_sync(inspect_now, path)


@overload
def inspect_now(path: Path) -> MediaFile: ...
@overload
def inspect_now(path: RemoteFile) -> RemoteMedia: ...
@overload
def inspect_now(path: Location) -> AnyMedia: ...
def inspect_now(path: Location) -> AnyMedia:
    """As `inspect`, at once: it reads the disk, or asks the store."""
    if isinstance(path, RemoteFile):
        looked = looking.look(path, SNIFF_BYTES)
        media_type = _media_type(path, looked.identity.size, looked.head)
        return RemoteMedia(path=path, media_type=media_type, identity=looked.identity)
    try:
        # Not blocking: opening a named pipe would wait for its writer.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = error.strerror if isinstance(error, OSError) else error
        raise MissingFileError(f"{path}: cannot be read: {reason}") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise MissingFileError(f"{path}: is no regular file")
        head = os.read(descriptor, SNIFF_BYTES)
    except OSError as error:
        raise MissingFileError(f"{path}: cannot be read: {error.strerror}") from error
    finally:
        os.close(descriptor)
    return MediaFile(path=path, media_type=_media_type(path, status.st_size, head), identity=FileIdentity.of(status))


def _media_type(path: Location, size: int, head: bytes) -> MediaType:
    if not size:
        raise EmptyFileError(f"{path}: is empty, expected {_FORMATS}")
    if size > MAX_FILE_BYTES:
        raise FileTooLargeError(f"{path}: has {size / 2**20:.0f} MB, the service takes {MAX_FILE_BYTES // 2**20} MB")
    media_type = sniff(head)
    if media_type is None:
        raise UnsupportedFormatError(f"{path}: its first bytes show no {_FORMATS}")
    return media_type


async def is_same_file(one: Location, other: Location) -> bool:
    """Tell whether two names lead to one file, whatever links and spellings are between.

    No if one is missing; two URLs of one object are the same whether it is there or not.
    """
    if isinstance(one, RemoteFile) and isinstance(other, RemoteFile):
        return await threads.run(one, partial(looking.is_same, one, other))
    if isinstance(one, RemoteFile) or isinstance(other, RemoteFile):
        return False
    return await anyio.to_thread.run_sync(_is_same_file, one, other)


def _is_same_file(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


async def digest(path: Path) -> bytes:
    """Return the SHA-256 of a file's bytes, read in a thread.

    Raises:
        MissingFileError: It cannot be read.
    """
    try:
        return await anyio.to_thread.run_sync(digest_now, path, abandon_on_cancel=True)  # it only reads
    except OSError as error:
        raise MissingFileError(f"{path}: cannot be read: {error.strerror}") from error


async def content_of(file: AnyMedia) -> bytes:
    """Return what tells a file's content from others: its SHA-256, or what the store elsewhere has for a mark of it.

    Raises:
        MissingFileError: It cannot be read.
    """
    if isinstance(file, MediaFile):
        return await digest(file.path)
    return file.identity.content or await reading.digest(file.path, file.identity)


def digest_now(path: Path) -> bytes:
    """As `digest`, at once, and with the system's own errors."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
