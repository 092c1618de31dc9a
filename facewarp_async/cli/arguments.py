"""Files and folders named on the command line, checked before anything begins."""

from __future__ import annotations

import tempfile
from pathlib import Path

import anyio.to_thread

from facewarp_async.cli.exits import UsageError
from facewarp_async.errors import InputError, MissingFileError, OutputError
from facewarp_async.files import AnyMedia, inspect, is_same_file
from facewarp_async.remote import threads
from facewarp_async.remote.looking import identify
from facewarp_async.remote.writing import try_out
from facewarp_async.urls import Location, RemoteFile


async def check_media(place: Location) -> AnyMedia:
    """Return what a file is.

    Raises:
        UsageError: It cannot be used.
    """
    try:
        return await inspect(place)
    except InputError as error:
        raise UsageError(error.message, code=error.code) from error


async def check_face(place: Location) -> None:
    """Check that a file is a picture.

    Raises:
        UsageError: It cannot be used, or is a video.
    """
    file = await check_media(place)
    if file.media_type.is_video:
        raise UsageError(f"{place}: is a video, expected a picture of the face to put in")


async def check_folders(folder: Location, out: Location, face: Location) -> None:
    """Check that results cannot get among the media, nor replace the face.

    Raises:
        UsageError: There is no such folder, or the results would lie over what they are made from.
    """
    await anyio.to_thread.run_sync(_check_folders, folder, out, face)


async def check_writable(folder: Location) -> None:
    """Make a folder for results and check that files can be written there, before anything is paid for.

    Raises:
        UsageError: They cannot.
    """
    if not isinstance(folder, RemoteFile):
        await anyio.to_thread.run_sync(_check_writable, folder)
        return
    try:
        await try_out(folder)
    except OutputError as error:
        raise UsageError(f"results cannot be written there: {error.message}") from error


async def exists(place: Location) -> bool:
    """Tell whether there is such a file or folder, elsewhere such a file."""
    if not isinstance(place, RemoteFile):
        return await anyio.to_thread.run_sync(place.exists)
    try:
        await threads.run(place, lambda: identify(place))
    except MissingFileError:
        return False
    return True


async def is_any_of(place: Location, others: list[Location]) -> bool:
    """Tell whether a file is one of several."""
    for other in others:
        if await is_same_file(place, other):
            return True
    return False


def is_below(place: Location, folder: Location) -> bool:
    """Tell whether a file or folder lies in a folder or is that; of paths it looks at the disk."""
    if isinstance(place, Path) and isinstance(folder, Path):
        return place.resolve().is_relative_to(folder.resolve())
    if isinstance(place, RemoteFile) and isinstance(folder, RemoteFile):
        return place.joined("x").below(folder) is not None
    return False


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UsageError(f"{folder}: results cannot be written there: {error.strerror}") from error


def _check_folders(folder: Location, out: Location, face: Location) -> None:
    if isinstance(folder, Path) and not folder.is_dir():
        raise UsageError(f"{folder}: is no folder{'; for one file there is facewarp swap' if folder.exists() else ''}")
    if is_below(folder, out):
        if is_below(out, folder):
            raise UsageError(f"--out is the folder of the media, {folder}: results go to a folder of their own")
        raise UsageError(f"--out {out} holds the folder of the media: results go to a folder of their own")
    if is_below(face, out):
        raise UsageError(f"--out {out} holds the face, {face}: results go to a folder of their own")
