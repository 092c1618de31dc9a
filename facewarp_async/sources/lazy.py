"""Jobs that are found while they are asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Generic, TypeVar

import anyio.to_thread

from facewarp_async.errors import InputError
from facewarp_async.files import inspect_now
from facewarp_async.models import Job

J = TypeVar("J", bound=Job)


class LazyJobs(ABC, Generic[J]):
    """With ``async for`` the disk is read in a thread, with ``for`` in place; each time from the beginning."""

    @abstractmethod
    def __iter__(self) -> Iterator[J]: ...

    async def __aiter__(self) -> AsyncIterator[J]:
        jobs = iter(self)
        while (job := await anyio.to_thread.run_sync(next, jobs, None)) is not None:
            yield job


def is_video_file(path: Path) -> bool:
    """Tell whether a file is a video; one that cannot be used is none, and its job says why."""
    try:
        return inspect_now(path).media_type.is_video
    except InputError:
        return False
