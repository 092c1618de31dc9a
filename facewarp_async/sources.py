"""Jobs from a folder of media."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anyio.to_thread

from facewarp_async.errors import InputError, MissingFileError
from facewarp_async.files import inspect_now
from facewarp_async.models import Asset, ImageSwap, MediaType, VideoSwap

_EXTENSIONS = {media_type.extension for media_type in MediaType} | {".jpeg"}

FolderJob = ImageSwap | VideoSwap


class FolderJobs:
    """The jobs of a folder, in the order of their paths, found while they are asked for.

    With ``async for`` the folder is read in a thread; with ``for`` it is read in place.
    """

    def __init__(self, folder: Path, face: Path | Asset, *, hd: bool, recursive: bool, exclude: Path | None) -> None:
        self._folder = folder
        self._face = face
        self._hd = hd
        self._recursive = recursive
        self._exclude = exclude

    def __iter__(self) -> Iterator[FolderJob]:
        exclude = None if self._exclude is None else self._exclude.resolve()
        for path in self._walk(self._folder, exclude):
            if (job := self._job(path)) is not None:
                yield job

    async def __aiter__(self) -> AsyncIterator[FolderJob]:
        jobs = iter(self)
        while (job := await anyio.to_thread.run_sync(next, jobs, None)) is not None:
            yield job

    def _walk(self, folder: Path, exclude: Path | None) -> Iterator[Path]:
        try:
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            raise MissingFileError(f"{folder}: cannot be listed: {error.strerror}") from error
        for entry in entries:
            path = Path(entry.path)
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                if self._recursive and path.resolve() != exclude:
                    yield from self._walk(path, exclude)
            elif not _leads_to_folder(entry):
                yield path  # a link that leads nowhere too: where it is called like media, its job says so

    def _job(self, path: Path) -> FolderJob | None:
        name = path.relative_to(self._folder).with_suffix("").as_posix()
        try:
            is_video = inspect_now(path).media_type.is_video
        except InputError:
            # Called like media but none: a job that fails with the reason. Anything else is not meant.
            if path.suffix.lower() not in _EXTENSIONS:
                return None
            is_video = False
        swap = VideoSwap if is_video else ImageSwap
        return swap(path, self._face, self._hd, name=name)


def _leads_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def jobs_from_folder(
    folder: str | Path,
    *,
    face: str | Path | Asset,
    hd: bool = False,
    recursive: bool = True,
    exclude: str | Path | None = None,
) -> FolderJobs:
    """Return a job for each picture and video in a folder.

    What a file is, its first bytes tell. A file that has the extension of media and is none becomes a job that fails
    with the reason; other files, and all whose names begin with a dot, are passed over. Each job's name is its path
    below the folder, so that results lie as the media do.

    Args:
        folder: Where the media are.
        face: The picture of the face to put into all of them.
        hd: Whether to ask for high quality.
        recursive: Whether to go into the folders below; links to folders are not followed.
        exclude: A folder below to leave out, such as the one for the results.

    Raises:
        MissingFileError: While it is read: a folder cannot be listed.
    """
    return FolderJobs(
        Path(folder),
        face if isinstance(face, Asset) else Path(face),
        hd=hd,
        recursive=recursive,
        exclude=None if exclude is None else Path(exclude),
    )
