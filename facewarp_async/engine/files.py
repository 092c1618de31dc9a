"""Reading within the size limit, and writing files that are whole or not there at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from facewarp_async.engine.errors import TOO_LARGE, UNREADABLE_FILE, EngineError

MAX_FILE_BYTES = 500 * 1024 * 1024


def check_file(path: Path) -> None:
    """Refuse a file that is missing, empty or over the limit, before anything of it is read.

    Raises:
        EngineError: 701 missing, not a regular file or empty; 704 over 500 MB.
    """
    try:
        size = path.stat().st_size if path.is_file() else -1
    except OSError as error:
        raise EngineError(UNREADABLE_FILE, "the file cannot be read") from error
    if size < 0:
        raise EngineError(UNREADABLE_FILE, "the file cannot be read")
    if size == 0:
        raise EngineError(UNREADABLE_FILE, "the file is empty")
    if size > MAX_FILE_BYTES:
        raise EngineError(TOO_LARGE, f"the file has {size} bytes, more than 500 MB")


def read_file(path: Path) -> bytes:
    """Read a whole file.

    Raises:
        EngineError: 701 missing, unreadable or empty; 704 over 500 MB.
    """
    check_file(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise EngineError(UNREADABLE_FILE, "the file cannot be read") from error


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary name in the same folder; what was written there becomes `path` when the block ends well.

    Nothing stays on disk when the block fails. The name keeps the suffix, which muxers look at.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_file(path: Path, data: bytes) -> None:
    """Write a file in one step: readers see the old one, then the whole new one."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)
