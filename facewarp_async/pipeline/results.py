"""Results in the output folder, here or elsewhere: where they lie, what they are known by, whether they are there."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import anyio.to_thread

from facewarp_async.errors import FaceWarpError, OutputError
from facewarp_async.files import digest_now
from facewarp_async.remote import reading, threads
from facewarp_async.remote.looking import identify
from facewarp_async.remote.writing import copy
from facewarp_async.urls import Location, RemoteFile


def path_in(folder: Location, below: str) -> Location:
    """Return the file of a folder that a path with ``/`` leads to."""
    return folder.joined(below) if isinstance(folder, RemoteFile) else folder / below


def path_below(folder: Location, path: Location) -> str:
    """Return the path that leads to a file from its folder."""
    if isinstance(folder, RemoteFile):
        below = path.below(folder) if isinstance(path, RemoteFile) else None
        assert below is not None
        return below
    assert isinstance(path, Path)
    return path.relative_to(folder).as_posix()


async def measure(path: Location) -> tuple[int, bytes]:
    """Return a result's length in bytes, and what it is known by: its SHA-256, or the mark that its store has for it.

    Raises:
        OutputError: It cannot be read.
    """
    if not isinstance(path, RemoteFile):
        return await anyio.to_thread.run_sync(_measure, path)
    try:
        return await _measure_remote(path)
    except FaceWarpError as error:
        raise OutputError(f"{error.message}; it was written, and cannot be looked at") from error


async def restore(kept: Location, target: Location, size: int | None, digest: bytes | None) -> bytes | None:
    """See that a result is whole and lies where it belongs now; it is copied where its name is another.

    Returns:
        What it is known by there; ``None`` where it has to be fetched again.
    """
    if isinstance(kept, RemoteFile):
        assert isinstance(target, RemoteFile)  # both lie in the output folder
        return await _restore_remote(kept, target, size, digest)
    assert isinstance(target, Path)
    return digest if await anyio.to_thread.run_sync(_restore, kept, target, size, digest) else None


def _measure(path: Path) -> tuple[int, bytes]:
    try:
        return path.stat().st_size, digest_now(path)
    except OSError as error:
        raise OutputError(f"{path}: was written and cannot be read: {error.strerror}") from error


def _restore(kept: Path, target: Path, size: int | None, digest: bytes | None) -> bool:
    try:
        if kept.stat().st_size != size:
            return False
        if kept == target:
            return digest_now(kept) == digest
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f"{target.name}.part")
        shutil.copyfile(kept, part)
        if digest_now(part) != digest:
            part.unlink()
            return False
        part.replace(target)
    except OSError:  # whatever is wrong with the kept file, the result can be fetched again
        return False
    return True


async def _measure_remote(file: RemoteFile) -> tuple[int, bytes]:
    identity = await threads.run(file, partial(identify, file))
    return identity.size, identity.content or await reading.digest(file, identity)


async def _restore_remote(kept: RemoteFile, target: RemoteFile, size: int | None, digest: bytes | None) -> bytes | None:
    try:
        if await _measure_remote(kept) != (size, digest):
            return None
        if kept == target:
            return digest
        await threads.run(target, partial(copy, kept, target))
        copied_size, copied_digest = await _measure_remote(target)
    except FaceWarpError:  # as with a file here
        return None
    return copied_digest if copied_size == size else None
