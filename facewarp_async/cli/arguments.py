"""Files and folders named on the command line, checked before anything begins."""

from __future__ import annotations

import tempfile
from pathlib import Path

import anyio.to_thread

from facewarp_async.cli.exits import UsageError
from facewarp_async.errors import InputError
from facewarp_async.files import MediaFile, inspect_now


async def check_media(path: Path) -> MediaFile:
    """Return what a file is.

    Raises:
        UsageError: It cannot be used.
    """
    return await anyio.to_thread.run_sync(_inspect, path)


async def check_face(path: Path) -> None:
    """Check that a file is a picture.

    Raises:
        UsageError: It cannot be used, or is a video.
    """
    file = await check_media(path)
    if file.media_type.is_video:
        raise UsageError(f"{path}: is a video, expected a picture of the face to put in")


async def check_folders(folder: Path, out: Path, face: Path) -> None:
    """Check that results cannot get among the media, nor replace the face.

    Raises:
        UsageError: There is no such folder, or the results would lie over what they are made from.
    """
    await anyio.to_thread.run_sync(_check_folders, folder, out, face)


async def check_writable(folder: Path) -> None:
    """Make a folder for results and check that files can be written there, before anything is paid for.

    Raises:
        UsageError: They cannot.
    """
    await anyio.to_thread.run_sync(_check_writable, folder)


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UsageError(f"{folder}: results cannot be written there: {error.strerror}") from error


def _inspect(path: Path) -> MediaFile:
    try:
        return inspect_now(path)
    except InputError as error:
        raise UsageError(error.message, code=error.code) from error


def _check_folders(folder: Path, out: Path, face: Path) -> None:
    if not folder.is_dir():
        raise UsageError(f"{folder}: is no folder")
    media, results = folder.resolve(), out.resolve()
    if media == results:
        raise UsageError(f"--out is the folder of the media, {folder}: results go to a folder of their own")
    if media.is_relative_to(results):
        raise UsageError(f"--out {out} holds the folder of the media: results go to a folder of their own")
    if face.resolve().is_relative_to(results):
        raise UsageError(f"--out {out} holds the face, {face}: results go to a folder of their own")
