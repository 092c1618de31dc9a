"""The door to fsspec: which file system a URL means, and what its errors mean. All of it may block."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from attrs import frozen

from facewarp_async.errors import (
    ConfigurationError,
    ConnectionLostError,
    FaceWarpError,
    MissingExtraError,
    MissingFileError,
    OutputError,
    RequestTimeoutError,
)
from facewarp_async.redaction import clean_text
from facewarp_async.urls import RemoteFile

_DRIVERS = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
    "abfss": "adlfs",
    "sftp": "paramiko",
    "ssh": "paramiko",
    "smb": "smbprotocol",
}
_QUERY = re.compile(r"(\w+://[^\s'\"?]*\?)[^\s'\"]+")
_NETWORK = ("timeout", "connection", "connector", "endpoint", "payload")
"""Parts of the names of drivers' error classes, which have no root in common, that tell of the way to the store."""

_http_log = logging.getLogger("fsspec.http")
if _http_log.level == logging.NOTSET:  # below it writes down whole URLs, with what signs them
    _http_log.setLevel(logging.INFO)


@frozen
class Place:
    """A file system, and a file's name in it."""

    fs: Any
    path: str


def locate(file: RemoteFile) -> Place:
    """Return where fsspec finds a file; the first time it is imported, with the driver.

    Not by ``fsspec.url_to_fs``, which takes a ``::`` in a key for two file systems, one in the other.

    Raises:
        MissingExtraError: fsspec or the driver for the URL's scheme is not installed.
        ConfigurationError: There is no file system for it, or it cannot be used with the user's settings.
    """
    try:
        from fsspec.registry import get_filesystem_class  # noqa: PLC0415 - an extra, and slow
    except ImportError as error:
        raise MissingExtraError(f"{file}: URLs need an extra: pip install 'facewarp-async[remote]'") from error
    scheme = file.scheme
    try:
        driver = get_filesystem_class(scheme)
    except ImportError as error:
        wanted = _DRIVERS.get(scheme)
        how = f"pip install {wanted}" if wanted else clean_text(str(error))
        raise MissingExtraError(f"{file}: {scheme}:// needs a driver that is not installed: {how}") from error
    except ValueError as error:
        raise ConfigurationError(f"{file}: no file system is known for {scheme}://") from error
    try:
        if file.is_encoded:
            return Place(driver(encoded=True), file.encoded_url)
        url = f"{scheme}://{file.url.partition('://')[2]}"  # drivers know their schemes in small letters
        return Place(driver(**driver._get_kwargs_from_urls(url)), driver._strip_protocol(url))
    except Exception as error:
        raise ConfigurationError(f"{file}: cannot be used: {_reason(file, error)}") from None


@contextmanager
def reading(file: RemoteFile) -> Iterator[None]:
    """Turn a driver's errors into those of a file that cannot be read."""
    with _explaining(lambda error: _read_error(file, error)):
        yield


@contextmanager
def writing(file: RemoteFile) -> Iterator[None]:
    """Turn a driver's errors into those of a target that cannot be written."""
    with _explaining(lambda error: OutputError(f"{file}: cannot be written: {_reason(file, error)}")):
        yield


@contextmanager
def _explaining(explain: Callable[[Exception], FaceWarpError]) -> Iterator[None]:
    # All errors, because drivers raise what they like; without their causes, which hold URLs with their signatures.
    try:
        yield
    except FaceWarpError:
        raise
    except Exception as error:
        raise explain(error) from None


def _read_error(file: RemoteFile, error: Exception) -> FaceWarpError:
    # The driver for http calls every failure a missing file, and has the real one as its cause.
    cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
    status = getattr(cause, "status", None)
    reason = _reason(file, cause)
    if isinstance(status, int):
        if status >= 500 or status in {408, 429}:
            return ConnectionLostError(f"{file}: cannot be read: {reason}")
        return MissingFileError(f"{file}: cannot be read: {reason}")
    if isinstance(cause, TimeoutError):
        return RequestTimeoutError(f"{file}: the store does not answer")
    if isinstance(cause, FileNotFoundError):
        return MissingFileError(f"{file}: does not exist")
    if isinstance(cause, PermissionError):
        return MissingFileError(f"{file}: may not be read: {reason}")
    names = [cls.__name__.lower() for cls in type(cause).__mro__]
    if any(part in name for name in names for part in _NETWORK):
        return ConnectionLostError(f"{file}: the store cannot be reached: {reason}")
    return MissingFileError(f"{file}: cannot be read: {reason}")


def _reason(file: RemoteFile, error: Exception) -> str:
    """Return what an error says, without what signs a URL in it."""
    status, message = getattr(error, "status", None), getattr(error, "message", None)
    if isinstance(status, int) and isinstance(message, str):
        text = f"HTTP {status} {message}".rstrip()
    else:
        text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return clean_text(_QUERY.sub(r"\1***", text.replace(file.url, str(file))))
