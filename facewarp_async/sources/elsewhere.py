"""The media of a folder that lies elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import PurePosixPath

from attrs import frozen

from facewarp_async.errors import FaceWarpError
from facewarp_async.remote.listing import list_folder, paths_in_store
from facewarp_async.urls import RemoteFile

Choice = Callable[[PurePosixPath], bool]

_DEEPEST = 100
"""How many folders deep it is gone: links may lead round in a circle, and pages may say what they like."""


@frozen(kw_only=True)
class Found:
    """Something that was found: a file, or a folder that could not be listed, or lies too deep.

    Attributes:
        file: Its URL.
        below: The path that leads there from where the walk began.
        is_folder: Whether it is a folder.
    """

    file: RemoteFile
    below: PurePosixPath
    is_folder: bool = False


@frozen(kw_only=True)
class RemoteWalk:
    """Finds files, folder by folder, in the order of their paths.

    Attributes:
        folder: Where to begin.
        recursive: Whether to go into the folders below.
        is_excluded: Tells of a path below the folder, of a file or a folder, that it is left out.
        is_included: Tells of a file's path that it is taken.
        left_out: What else is left out: files and folders.
    """

    folder: RemoteFile
    recursive: bool
    is_excluded: Choice
    is_included: Choice
    left_out: Iterable[RemoteFile]

    def __iter__(self) -> Iterator[Found]:
        left_out = paths_in_store(self.folder, self.left_out)
        return self._walk(self.folder, PurePosixPath(), left_out)

    def _walk(self, folder: RemoteFile, below: PurePosixPath, left_out: frozenset[str]) -> Iterator[Found]:
        if len(below.parts) > _DEEPEST:
            yield Found(file=folder, below=below, is_folder=True)
            return
        try:
            entries = list_folder(folder)
        except FaceWarpError:
            if folder == self.folder:
                raise
            yield Found(file=folder, below=below, is_folder=True)  # the others are not to suffer for it
            return
        for entry in entries:
            path = below / entry.name
            if entry.name.startswith(".") or entry.path in left_out or self.is_excluded(path):
                continue
            if not entry.is_folder:
                if self.is_included(path):
                    yield Found(file=entry.file, below=path)
            elif self.recursive:
                yield from self._walk(entry.file, path, left_out)
