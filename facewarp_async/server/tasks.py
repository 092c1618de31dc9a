"""The queue of tasks: waiting, processing, finished or failed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import anyio
from attrs import evolve, field, frozen

from facewarp_async.models import TaskKind
from facewarp_async.server.answers import MESSAGES
from facewarp_async.server.objects import ObjectStore
from facewarp_async.server.records import Progress, StoredTask
from facewarp_async.server.results import keep_result
from facewarp_async.server.runners import Runner
from facewarp_async.server.state import State
from facewarp_async.server.work import FacePlan, Landmarks, Work, WorkError

_log = logging.getLogger("facewarp_async.server")


@frozen(kw_only=True)
class TaskLimits:
    """Bounds for the work on tasks.

    Attributes:
        parallel: How many tasks are worked on at once.
        image_s: After how many seconds the work on an image is given up.
        video_s: The same for a video, and for a detection, which may be in one.
    """

    parallel: int
    image_s: float
    video_s: float

    def seconds(self, kind: TaskKind) -> float:
        """Return how long a task of a kind may take."""
        return self.video_s if kind.is_video or kind is TaskKind.FACE_DETECTION else self.image_s


class _Backlog:
    """The numbers of the tasks that nobody works on yet, and whether any task is open."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[int] = asyncio.Queue()
        self._open = 0
        self._settled = anyio.Event()
        self._settled.set()

    def add(self, task_id: int) -> None:
        if not self._open:
            self._settled = anyio.Event()
        self._open += 1
        self._waiting.put_nowait(task_id)

    async def next(self) -> int:
        return await self._waiting.get()

    def end(self) -> None:
        self._open -= 1
        if not self._open:
            self._settled.set()

    async def settled(self) -> None:
        await self._settled.wait()


@frozen
class _Input:
    """A body that a task works on, and what its file is called."""

    blob: str
    file: str


@frozen(kw_only=True)
class TaskQueue:
    """Works on tasks in the order of their creation, so many at once.

    Attributes:
        state: Where tasks are kept.
        store: Where their files are.
        runner: Who does the work.
        limits: How much and for how long.
        clock: The time, with its zone.
        account: The number that goes into the results' keys.
    """

    state: State
    store: ObjectStore
    runner: Runner
    limits: TaskLimits
    clock: Callable[[], datetime]
    account: str
    _backlog: _Backlog = field(factory=_Backlog, init=False)

    def add(self, task_id: int) -> None:
        """Work on a task when its turn has come."""
        self._backlog.add(task_id)

    async def settled(self) -> None:
        """Wait until no task waits or is worked on."""
        await self._backlog.settled()

    async def run(self) -> None:
        """Work until cancelled. Tasks that were open before a restart come first."""
        for task in list(self.state.tasks.values()):
            if task.is_open:
                self.add(task.id)
        free = anyio.Semaphore(self.limits.parallel)
        async with anyio.create_task_group() as group:
            while True:
                await free.acquire()
                group.start_soon(self._work_on, await self._backlog.next(), free)

    async def _work_on(self, task_id: int, free: anyio.Semaphore) -> None:
        try:
            await self._end(self.state.tasks[task_id])
        except Exception:
            # One task's trouble must never end the others'. It stays open and waits for a restart.
            _log.exception("task %d could not be ended", task_id)
        finally:
            free.release()
            self._backlog.end()

    async def _end(self, task: StoredTask) -> None:
        self.state.show_processing(task.id)
        try:
            inputs = self._inputs(task)
            folder = await self._lay_out(inputs)
            try:
                await self._make(task, self._work(task, folder, inputs))
            finally:
                with anyio.CancelScope(shield=True):
                    await self.store.remove_folder(folder)
        except WorkError as error:
            await self._fail(task, error.code, error.message)
        except TimeoutError:
            await self._fail(task, 601, f"{MESSAGES[601]}: the work took too long")
        except Exception:
            _log.exception("task %d failed", task.id)
            await self._fail(task, 601, MESSAGES[601])

    async def _fail(self, task: StoredTask, code: int, message: str) -> None:
        failed = evolve(task, progress=Progress.FAILED, code=code, message=message, ended=self.clock().timestamp())
        await self.state.end_task(failed)

    async def _make(self, task: StoredTask, work: Work) -> None:
        with anyio.fail_after(self.limits.seconds(task.kind)):
            made = await self.runner.run(work)
        kept = await keep_result(made, store=self.store, account=self.account, now=self.clock())
        finished = evolve(
            task,
            progress=Progress.FINISHED,
            ended=self.clock().timestamp(),
            fields=kept.fields,
            landmarks=kept.landmarks,
        )
        await self.state.end_task(finished, objects=kept.objects)

    def _inputs(self, task: StoredTask) -> list[_Input]:
        """Say which bodies the task works on, the media first."""
        inputs = []
        for number, key in enumerate([*task.keys, *(face for _, face in task.pairs)]):
            stored = self.state.objects.get(key)
            if stored is None or stored.blob is None or stored.blob.media_type is None:
                raise WorkError(702, f"{MESSAGES[702]}: {key}")
            inputs.append(_Input(stored.blob.name, f"input{number}{stored.blob.media_type.extension}"))
        return inputs

    async def _lay_out(self, inputs: list[_Input]) -> Path:
        try:
            return await self.store.lay_out([each.blob for each in inputs], [each.file for each in inputs])
        except FileNotFoundError:
            raise WorkError(702, MESSAGES[702]) from None

    def _work(self, task: StoredTask, folder: Path, inputs: list[_Input]) -> Work:
        paths = [folder / each.file for each in inputs]
        faces = paths[len(task.keys) :]
        return Work(
            kind=task.kind,
            media=paths[0],
            folder=folder,
            face=paths[1] if len(task.keys) > 1 else None,
            pairs=tuple(FacePlan(*plan) for plan in zip(self._landmarks(task), faces, strict=True)),
            hd=task.hd,
        )

    def _landmarks(self, task: StoredTask) -> list[Landmarks]:
        if task.detection_id is None:
            return []
        detection = self.state.tasks.get(task.detection_id)
        if detection is None:
            raise WorkError(601, f"{MESSAGES[601]}: the face detection {task.detection_id} is gone")
        return [tuple((x, y) for x, y in detection.landmarks[crop]) for crop, _ in task.pairs]
