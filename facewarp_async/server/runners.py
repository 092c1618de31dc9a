"""Who does the work of tasks: the engine in processes of its own, or nobody, at once."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import anyio
import anyio.to_thread

from facewarp_async.errors import MissingExtraError
from facewarp_async.models import TaskKind
from facewarp_async.server.pool import WorkerPool
from facewarp_async.server.work import Made, MadeFace, MadeFaces, MadeImage, MadePicture, MadeVideo, Work

ENGINE_TARGET = "facewarp_async.server.engine_work:run"
_ENGINE_MODULES = ("cv2", "numpy", "av")


class Runner(Protocol):
    """Does the work of tasks.

    Attributes:
        parallel: How many tasks it works on at once, unless the service is told otherwise.
    """

    parallel: int

    def open(self) -> AbstractAsyncContextManager[None]:
        """Get ready; at the end, stop at once whatever goes on.

        Raises:
            MissingExtraError: A package that it needs is not installed.
        """

    async def run(self, work: Work) -> Made:
        """Do one task's work. When this is cancelled, the work stops.

        Raises:
            WorkError: It cannot be done.
        """


class ProcessRunner:
    """Calls a function in worker processes, each started when it is first needed.

    Args:
        target: The function as ``module:name``. It takes a `Work` and returns what it made, or raises `WorkError`.
    """

    def __init__(self, target: str) -> None:
        self.parallel: int = os.cpu_count() or 1
        self._target = target
        self._pool: WorkerPool | None = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Allow workers to be started; at the end kill them."""
        self._pool = WorkerPool(self._target)
        try:
            yield
        finally:
            await self._pool.close()
            self._pool = None

    async def run(self, work: Work) -> Made:
        """Do one task's work in a process. When this is cancelled, the process is killed.

        Raises:
            WorkError: The function raised it, or its process died (code 601).
        """
        if self._pool is None:
            raise RuntimeError("the runner is not open")
        return await self._pool.run(work)


class EngineRunner(ProcessRunner):
    """Swaps faces with `facewarp_async.engine`."""

    def __init__(self) -> None:
        super().__init__(ENGINE_TARGET)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Look for what the engine needs, then as `ProcessRunner.open`.

        Raises:
            MissingExtraError: The extra ``local`` is not installed.
        """
        missing = await anyio.to_thread.run_sync(_missing_modules)
        if missing:
            raise MissingExtraError(
                f"the local service swaps faces with {', '.join(missing)}: pip install 'facewarp-async[local]'"
            )
        async with super().open():
            yield


def _missing_modules() -> list[str]:
    return [name for name in _ENGINE_MODULES if find_spec(name) is None]


class InstantRunner:
    """Swaps nothing: a result is the media itself. For tests and benchmarks, which need no engine for it.

    Args:
        duration_s: How long each task takes, or a function that says so for its kind.
        faces: How many faces a detection finds.
        width: What is told as every picture's width, in pixels.
        height: The same for the height.
        fail: Called with each work, in a thread; raises `WorkError` where a task is to fail.
    """

    def __init__(
        self,
        *,
        duration_s: float | Callable[[TaskKind], float] = 0.0,
        faces: int = 2,
        width: int = 640,
        height: int = 480,
        fail: Callable[[Work], None] | None = None,
    ) -> None:
        self.parallel = 1000
        self._duration_s = duration_s
        self._faces = faces
        self._size = (width, height)
        self._fail = fail

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Do nothing."""
        yield

    async def run(self, work: Work) -> Made:
        """Wait as long as the task is to take, then give the media back."""
        seconds = self._duration_s(work.kind) if callable(self._duration_s) else self._duration_s
        if seconds > 0:
            await anyio.sleep(seconds)
        return await anyio.to_thread.run_sync(self._make, work)

    def _make(self, work: Work) -> Made:
        if self._fail is not None:
            self._fail(work)
        if work.kind is TaskKind.FACE_DETECTION:
            return MadeFaces(tuple(self._face(work, index) for index in range(self._faces)))
        if work.kind.is_video:
            return MadeVideo(
                path=self._copy(work.media, work, "video").path,
                width=self._size[0],
                height=self._size[1],
                duration_s=1.0,
                cover=self._copy(work.face or work.pairs[0].face, work, "cover"),
                cover_thumbnail=self._copy(work.face or work.pairs[0].face, work, "cover_thumbnail"),
            )
        return MadeImage(
            image=self._copy(work.media, work, "image"),
            thumbnail=self._copy(work.media, work, "thumbnail"),
        )

    def _copy(self, source: Path, work: Work, name: str) -> MadePicture:
        target = work.folder / f"{name}{source.suffix}"
        try:
            target.hardlink_to(source)
        except OSError:  # a file system without links
            shutil.copyfile(source, target)
        return MadePicture(target, *self._size)

    def _face(self, work: Work, index: int) -> MadeFace:
        points = ((27, 45), (67, 45), (49, 75), (24, 84), (65, 85))
        return MadeFace(
            crop=self._copy(work.media, work, f"face{index}"),
            keypoints=points,
            landmarks=tuple((x + 100.0 * index, float(y)) for x, y in points),
        )
