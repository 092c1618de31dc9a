"""Jobs that are found while they are asked for."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import PurePosixPath
from typing import Generic, TypeVar

from facewarp_async.errors import FaceWarpError
from facewarp_async.files import inspect_now
from facewarp_async.models import Job, MediaType
from facewarp_async.remote.threads import Line
from facewarp_async.urls import Location, RemoteFile

J = TypeVar("J", bound=Job)

EXTENSIONS = {media_type.extension for media_type in MediaType} | {".jpeg"}
"""Of names that media have."""

_VIDEO_EXTENSIONS = {media_type.extension for media_type in MediaType if media_type.is_video}


class LazyJobs(ABC, Generic[J]):
    """With ``async for`` the disk is read in a thread, with ``for`` in place; each time from the beginning.

    A store that hangs is not waited for when ``async for`` is cancelled.
    """

    @abstractmethod
    def __iter__(self) -> Iterator[J]: ...

    async def __aiter__(self) -> AsyncIterator[J]:
        jobs, line = iter(self), Line()
        try:
            while (job := await asyncio.wrap_future(line.start(partial(next, jobs, None)))) is not None:
                yield job
        finally:
            line.end()


def is_video_name(name: str) -> bool:
    """Tell whether a file is called like a video."""
    return PurePosixPath(name).suffix.lower() in _VIDEO_EXTENSIONS


def is_video_file(path: Location) -> bool:
    """Tell whether a file is a video; one that cannot be used is none, and its job says why.

    One elsewhere is asked for only where its name does not tell.
    """
    if isinstance(path, RemoteFile) and path.suffix.lower() in EXTENSIONS:
        return is_video_name(path.name)
    try:
        return inspect_now(path).media_type.is_video
    except FaceWarpError:
        return False
