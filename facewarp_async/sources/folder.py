"""Jobs from a folder of media."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path, PurePath

from attrs import frozen

from facewarp_async.errors import InputError, MissingFileError
from facewarp_async.files import inspect_now
from facewarp_async.models import Asset, ImageSwap, Source, VideoSwap
from facewarp_async.sources.elsewhere import RemoteWalk
from facewarp_async.sources.lazy import EXTENSIONS, LazyJobs, is_video_name
from facewarp_async.urls import Location, RemoteFile, as_location

FolderJob = ImageSwap | VideoSwap
_FileId = tuple[int, int]


@frozen
class _Entry:
    """Something in a folder: a file that may be media, or a folder that could not be listed."""

    path: Path
    is_folder: bool = False


class FolderJobs(LazyJobs[FolderJob]):
    """The jobs of a folder, in the order of their paths, found while they are asked for.

    With ``async for`` the folder is read in a thread; with ``for`` it is read in place.
    """

    def __init__(
        self,
        folder: Location,
        face: Location | Asset,
        *,
        hd: bool,
        recursive: bool,
        include: tuple[str, ...],
        exclude: tuple[str, ...],
        output_dir: Location | None,
    ) -> None:
        self._folder = folder
        self._face = face
        self._hd = hd
        self._recursive = recursive
        self._include = include
        self._exclude = exclude
        self._output_dir = output_dir

    def __iter__(self) -> Iterator[FolderJob]:
        return self._jobs_elsewhere(self._folder) if isinstance(self._folder, RemoteFile) else self._jobs(self._folder)

    def _jobs_elsewhere(self, folder: RemoteFile) -> Iterator[FolderJob]:
        walk = RemoteWalk(
            folder=folder,
            recursive=self._recursive,
            is_excluded=lambda path: _is_among(path, self._exclude),
            is_included=lambda path: not self._include or _is_among(path, self._include),
            left_out=[file for file in (self._face, self._output_dir) if isinstance(file, RemoteFile)],
        )
        for found in walk:
            if found.is_folder or found.below.suffix.lower() in EXTENSIONS:
                yield self._swap(found.file, found.below, is_video=is_video_name(found.below.name))

    def _jobs(self, folder: Path) -> Iterator[FolderJob]:
        output_dir = self._output_dir.resolve() if isinstance(self._output_dir, Path) else None
        face = _file_id(self._face) if isinstance(self._face, Path) else None
        for entry in self._walk(folder, output_dir):
            if (job := self._job(entry, entry.path.relative_to(folder), face)) is not None:
                yield job

    def _walk(self, folder: Path, output_dir: Path | None) -> Iterator[_Entry]:
        try:
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            if folder == self._folder:
                raise MissingFileError(f"{folder}: cannot be listed: {error.strerror}") from error
            yield _Entry(folder, is_folder=True)  # the others are not to suffer for it
            return
        for entry in entries:
            path = Path(entry.path)
            if entry.name.startswith(".") or self._is_among(path, self._exclude):
                continue
            if entry.is_dir(follow_symlinks=False):
                if self._recursive and path.resolve() != output_dir:
                    yield from self._walk(path, output_dir)
            elif not _leads_to_folder(entry) and (not self._include or self._is_among(path, self._include)):
                yield _Entry(path)  # a link that leads nowhere too: where it is called like media, its job says so

    def _is_among(self, path: Path, patterns: tuple[str, ...]) -> bool:
        assert isinstance(self._folder, Path)
        return bool(patterns) and _is_among(path.relative_to(self._folder), patterns)

    def _job(self, entry: _Entry, below: Path, face: _FileId | None) -> FolderJob | None:
        path, is_video = entry.path, False
        if not entry.is_folder:
            try:
                file = inspect_now(path)
                if (file.identity.device, file.identity.inode) == face:
                    return None
                is_video = file.media_type.is_video
            except InputError:
                # Called like media but none: a job that fails with the reason. Anything else is not meant.
                if path.suffix.lower() not in EXTENSIONS:
                    return None
        return self._swap(path, below, is_video=is_video)

    def _swap(self, media: Location, below: PurePath, *, is_video: bool) -> FolderJob:
        swap = VideoSwap if is_video else ImageSwap
        return swap(media, self._face, self._hd, name=below.with_suffix("").as_posix())


def _is_among(path: PurePath, patterns: tuple[str, ...]) -> bool:
    return any(_matches(path, pattern) for pattern in patterns)


def _matches(path: PurePath, pattern: str) -> bool:
    text = path.as_posix() if "/" in pattern else path.name
    return fnmatchcase(text, pattern) or (pattern.startswith("**/") and fnmatchcase(text, pattern[3:]))


def _as_patterns(value: str | Iterable[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _file_id(path: Path) -> _FileId | None:
    try:
        status = path.stat()
    except (OSError, ValueError):  # the jobs say what is wrong with it
        return None
    return status.st_dev, status.st_ino


def _leads_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def jobs_from_folder(
    folder: str | Location,
    *,
    face: Source,
    hd: bool = False,
    recursive: bool = True,
    include: str | Iterable[str] = (),
    exclude: str | Iterable[str] = (),
    output_dir: str | Location | None = None,
) -> FolderJobs:
    """Return a job for each picture and video in a folder.

    What a file is, its first bytes tell. A file that has the extension of media and is none becomes a job that fails
    with the reason, and so does a folder below that cannot be listed. Other files, the face itself, and all whose names
    begin with a dot are passed over. Each job's name is its path below the folder, so that results lie as the media do.

    Patterns are those of a shell: ``*``, ``?`` and ``[…]``. One with a ``/`` is compared with the path below the
    folder, where ``*`` stands for folders too; one without, with the name alone.

    In a folder elsewhere, such as ``s3://bucket/folder``, nothing is asked of each file but its name: files are taken
    for pictures or videos by their extensions, and for the rest, their jobs say what is wrong with them.

    Args:
        folder: Where the media are: a path, or a URL.
        face: The picture of the face to put into all of them. It may lie among them.
        hd: Whether to ask for high quality.
        recursive: Whether to go into the folders below; links to folders are not followed.
        include: Patterns of the files to take; all if there are none.
        exclude: Patterns of the files and folders to leave out, also of those that are included.
        output_dir: A folder to leave out because the results go there.

    Raises:
        MissingFileError: While it is read: the folder cannot be listed.
        TransportError: While it is read: its store cannot be reached.
    """
    return FolderJobs(
        as_location(folder),
        face if isinstance(face, Asset) else as_location(face),
        hd=hd,
        recursive=recursive,
        include=_as_patterns(include),
        exclude=_as_patterns(exclude),
        output_dir=None if output_dir is None else as_location(output_dir),
    )
