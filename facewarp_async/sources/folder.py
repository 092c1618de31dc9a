"""Jobs from a folder of media."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from attrs import frozen

from facewarp_async.errors import InputError, MissingFileError
from facewarp_async.files import inspect_now
from facewarp_async.models import Asset, ImageSwap, MediaType, VideoSwap
from facewarp_async.sources.lazy import LazyJobs

_EXTENSIONS = {media_type.extension for media_type in MediaType} | {".jpeg"}

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
        folder: Path,
        face: Path | Asset,
        *,
        hd: bool,
        recursive: bool,
        include: tuple[str, ...],
        exclude: tuple[str, ...],
        output_dir: Path | None,
    ) -> None:
        self._folder = folder
        self._face = face
        self._hd = hd
        self._recursive = recursive
        self._include = include
        self._exclude = exclude
        self._output_dir = output_dir

    def __iter__(self) -> Iterator[FolderJob]:
        output_dir = None if self._output_dir is None else self._output_dir.resolve()
        face = None if isinstance(self._face, Asset) else _file_id(self._face)
        for entry in self._walk(self._folder, output_dir):
            if (job := self._job(entry, face)) is not None:
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
        return bool(patterns) and any(_matches(path.relative_to(self._folder), pattern) for pattern in patterns)

    def _job(self, entry: _Entry, face: _FileId | None) -> FolderJob | None:
        path, is_video = entry.path, False
        if not entry.is_folder:
            try:
                file = inspect_now(path)
                if (file.identity.device, file.identity.inode) == face:
                    return None
                is_video = file.media_type.is_video
            except InputError:
                # Called like media but none: a job that fails with the reason. Anything else is not meant.
                if path.suffix.lower() not in _EXTENSIONS:
                    return None
        name = path.relative_to(self._folder).with_suffix("").as_posix()
        swap = VideoSwap if is_video else ImageSwap
        return swap(path, self._face, self._hd, name=name)


def _matches(path: Path, pattern: str) -> bool:
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
    folder: str | Path,
    *,
    face: str | Path | Asset,
    hd: bool = False,
    recursive: bool = True,
    include: str | Iterable[str] = (),
    exclude: str | Iterable[str] = (),
    output_dir: str | Path | None = None,
) -> FolderJobs:
    """Return a job for each picture and video in a folder.

    What a file is, its first bytes tell. A file that has the extension of media and is none becomes a job that fails
    with the reason, and so does a folder below that cannot be listed. Other files, the face itself, and all whose names
    begin with a dot are passed over. Each job's name is its path below the folder, so that results lie as the media do.

    Patterns are those of a shell: ``*``, ``?`` and ``[…]``. One with a ``/`` is compared with the path below the
    folder, where ``*`` stands for folders too; one without, with the name alone.

    Args:
        folder: Where the media are.
        face: The picture of the face to put into all of them. It may lie among them.
        hd: Whether to ask for high quality.
        recursive: Whether to go into the folders below; links to folders are not followed.
        include: Patterns of the files to take; all if there are none.
        exclude: Patterns of the files and folders to leave out, also of those that are included.
        output_dir: A folder to leave out because the results go there.

    Raises:
        MissingFileError: While it is read: the folder cannot be listed.
    """
    return FolderJobs(
        Path(folder),
        face if isinstance(face, Asset) else Path(face),
        hd=hd,
        recursive=recursive,
        include=_as_patterns(include),
        exclude=_as_patterns(exclude),
        output_dir=None if output_dir is None else Path(output_dir),
    )
