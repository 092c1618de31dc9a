"""One checked job to its result: upload, create, wait. The client runs one, the pipeline many."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Protocol

import anyio
from attrs import Factory, define, frozen

from facewarp_async.calls import ServiceCalls
from facewarp_async.checking import CheckedJob, File, check_job, name_of
from facewarp_async.errors import (
    BatchStoppedError,
    CreditsExhaustedError,
    FaceWarpError,
    NoFaceError,
    Stage,
    UploadRejectedError,
)
from facewarp_async.models import Asset, DetectFaces, FaceDetection, Job, MultiFaceSwap, Result, TaskKind
from facewarp_async.uploads import SharedUploads
from facewarp_async.urls import Location
from facewarp_async.wire.requests import ApiRequest, build_detection_request, build_swap_request

GRACE_S = 0.5
"""How long a cancelled job waits for the answer to a create that is on its way, in seconds."""


@define
class JobRun:
    """How far one job is, which its outcome tells.

    Attributes:
        job: The job.
        on_stage: Called when a stage begins.
        on_sent: Called with a file, how many of its bytes have left, and how many it has.
        stage: Where it is.
        task_id: The last task that was created for it.
        sending: Whether a create may be on its way, which must not be cancelled: its answer is worth money.
        grace_s: How long it waits for that answer once it is cancelled.
        stopped: Why no further task may be created, once that is so.
        durations_s: Seconds spent in each stage so far, waiting for its turn included.
        begun: The stages that have begun, and when, in seconds since 1970; whoever writes them down takes them out.
    """

    job: Job
    on_stage: Callable[[Stage], None] = lambda _stage: None
    on_sent: Callable[[Location, int, int], None] | None = None
    stage: Stage = Stage.CHECK
    task_id: int | None = None
    sending: bool = False
    grace_s: float = GRACE_S
    stopped: FaceWarpError | None = None
    durations_s: dict[Stage, float] = Factory(dict)
    begun: list[tuple[Stage, float]] = Factory(list)
    _since: float = Factory(time.monotonic)

    def enter(self, stage: Stage) -> None:
        """Begin a stage."""
        self.end()
        self.stage = stage
        self.begun.append((stage, time.time()))
        self.on_stage(stage)

    def end(self) -> None:
        """Count the time spent in the stage so far."""
        now = time.monotonic()
        self.durations_s[self.stage] = self.durations_s.get(self.stage, 0.0) + now - self._since
        self._since = now

    def explain(self, error: FaceWarpError) -> None:
        """Tell an error which job it ended, where, and after which task."""
        error.job = self.job
        error.stage = error.stage or self.stage
        if error.task_id is None:
            error.task_id = self.task_id


class TaskLog(Protocol):
    """Remembers a job's tasks beyond the life of the process, so that none is paid for twice."""

    def task_of(self, kind: TaskKind, /) -> int | None:
        """Return the task of this kind that was created for the job, if one was.

        Raises:
            InDoubtError: One may have been created, and the user has not said to risk another.
        """
        ...

    async def uploaded(self) -> None:
        """The files are with the service."""
        ...

    async def intent(self, kind: TaskKind, /) -> None:
        """A create is about to leave. Durable when this returns."""
        ...

    async def refused(self) -> None:
        """The create surely had no effect."""
        ...

    async def created(self, kind: TaskKind, task_id: int, /) -> None:
        """The task was created. Durable when this returns."""
        ...


class NoLog:
    """A `TaskLog` that remembers nothing."""

    def task_of(self, _kind: TaskKind, /) -> int | None:
        """Know of no task."""

    async def uploaded(self) -> None:
        """Do nothing."""

    async def intent(self, _kind: TaskKind, /) -> None:
        """Do nothing."""

    async def refused(self) -> None:
        """Do nothing."""

    async def created(self, _kind: TaskKind, _task_id: int, /) -> None:
        """Do nothing."""


@frozen
class Resources:
    """What jobs share.

    Attributes:
        calls: The service.
        uploads: What was uploaded.
        upload_slots: The limit of uploads. An upload holds no task slot.
        task_slots: The limit of tasks in flight. A waiting task holds no upload slot.
        timeout_s: How long to wait for each task; as `ServiceCalls.wait_for_task` says if ``None``.
    """

    calls: ServiceCalls
    uploads: SharedUploads
    upload_slots: AbstractAsyncContextManager[object]
    task_slots: AbstractAsyncContextManager[object]
    timeout_s: float | None = None


async def run_job(resources: Resources, run: JobRun) -> Result:
    """Check a job and take it to its result, with nothing remembered.

    Cancelling leaves a task that was created with the service, its id in ``run.task_id``.

    Raises:
        FaceWarpError: The job failed; the error knows the job, the stage and the task.
    """
    try:
        run.enter(Stage.CHECK)
        return await run_tasks(resources, run, await check_job(run.job), NoLog())
    except FaceWarpError as error:
        run.explain(error)
        raise


async def run_tasks(resources: Resources, run: JobRun, checked: CheckedJob, log: TaskLog) -> Result:
    """Take a checked job to its result. As `run_job`, but errors are left to the caller to explain."""
    return await _JobTasks(resources, run, log).run(checked)


class _JobTasks:
    def __init__(self, resources: Resources, run: JobRun, log: TaskLog) -> None:
        self._resources = resources
        self._run = run
        self._log = log

    async def run(self, checked: CheckedJob) -> Result:
        job = self._run.job
        if isinstance(job, MultiFaceSwap):
            return await self._swap_faces(checked, job)
        if isinstance(job, DetectFaces):
            return await self._detect(checked.media)

        def build(media: Asset, face: Asset) -> ApiRequest:
            return build_swap_request(checked.kind, media_key=media.key, face_key=face.key, hd=job.hd)

        return await self._task(checked.kind, [checked.media, *checked.faces], build)

    async def _detect(self, media: File) -> FaceDetection:
        def build(asset: Asset) -> ApiRequest:
            return build_detection_request(asset.key)

        detection = await self._task(TaskKind.FACE_DETECTION, [media], build)
        assert isinstance(detection, FaceDetection)
        return detection

    async def _swap_faces(self, checked: CheckedJob, job: MultiFaceSwap) -> Result:
        detection = await self._detect(checked.media)
        count = len(detection.faces)
        missing = [index for index in job.faces if not 0 <= index < count]
        if missing:
            raise NoFaceError(f"{name_of(checked.media)}: has no face {missing[0]}; it has {count}, counted from 0")
        old_faces = [detection.faces[index] for index in job.faces]

        def build(*assets: Asset) -> ApiRequest:
            pairs = zip(old_faces, assets, strict=True)
            return self._resources.calls._build_multi_swap(checked.kind, detection.task_id, pairs, hd=job.hd)

        return await self._task(checked.kind, checked.faces, build)

    async def _task(self, kind: TaskKind, files: Sequence[File], build: Callable[..., ApiRequest]) -> Result:
        """Wait for a task, created now or in an earlier run."""
        task_id = self._log.task_of(kind)
        is_new = task_id is None
        if task_id is not None:
            self._run.task_id = task_id
        uploaded_again: set[int] = set()
        while True:
            assets = [] if task_id is not None else await self._upload(files)
            self._run.enter(Stage.CREATE if task_id is None else Stage.WAIT)
            async with self._resources.task_slots:
                if task_id is None:
                    try:
                        task_id = await self._create(kind, build(*assets))
                    except UploadRejectedError as error:
                        lost = _lost(error, files, assets) - uploaded_again
                        if not lost:
                            raise
                        uploaded_again |= lost
                        for index in lost:
                            file = files[index]
                            assert not isinstance(file, Asset)  # what was given is not among the lost
                            await self._resources.uploads.forget(file, assets[index])
                        continue
                return await self._wait(task_id, kind, is_new=is_new)

    async def _upload(self, files: Sequence[File]) -> list[Asset]:
        self._run.enter(Stage.UPLOAD)
        # The faces first: one that many jobs share would else wait behind the media of all, and so would every create.
        assets = [await self._asset(file) for file in reversed(files)]
        await self._log.uploaded()
        return assets[::-1]

    async def _asset(self, file: File) -> Asset:
        if isinstance(file, Asset):
            return file
        on_sent = self._run.on_sent
        return await self._resources.uploads.asset(
            file,
            slot=self._resources.upload_slots,
            on_progress=None if on_sent is None else partial(on_sent, file.path),
        )

    async def _create(self, kind: TaskKind, request: ApiRequest) -> int:
        sending = _Sending(self._run, self._log, kind)
        create = asyncio.ensure_future(self._resources.calls._create_task(request, sending=sending))
        try:
            await asyncio.wait({create})
            task_id = create.result()
        except asyncio.CancelledError:
            is_stop = self._run.stopped is not None
            late_id = await self._let_arrive(create)
            if late_id is not None:
                await self._created(kind, late_id)
            if is_stop and not create.cancelled() and (error := create.exception()) is not None:
                raise error from None  # the answer was there already when the batch was stopped: it is what counts
            raise
        finally:
            self._run.sending = False
        await self._created(kind, task_id)
        if self._run.stopped is not None and not isinstance(self._run.stopped, CreditsExhaustedError):
            raise BatchStoppedError(f"the batch was stopped: {self._run.stopped.message}")  # waiting would be in vain
        return task_id

    async def _let_arrive(self, create: asyncio.Future[int]) -> int | None:
        """Give a create that is on its way a moment to be answered: its answer is worth money. Then cancel it."""
        with anyio.CancelScope(shield=True):
            try:
                if self._run.sending:
                    self._run.stopped = self._run.stopped or BatchStoppedError("it was cancelled")
                    await asyncio.wait({create}, timeout=self._run.grace_s)
            finally:  # also where the task is cancelled once more
                create.cancel()
            await asyncio.wait({create})
        return None if create.cancelled() or create.exception() is not None else create.result()

    async def _created(self, kind: TaskKind, task_id: int) -> None:
        self._run.task_id = task_id
        with anyio.CancelScope(shield=True):  # what was paid for is never forgotten
            await self._log.created(kind, task_id)

    async def _wait(self, task_id: int, kind: TaskKind, *, is_new: bool) -> Result:
        self._run.task_id = task_id
        self._run.enter(Stage.WAIT)
        return await self._resources.calls.wait_for_task(
            task_id, kind, timeout_s=self._resources.timeout_s, created_now=is_new
        )


def _lost(error: UploadRejectedError, files: Sequence[File], assets: Sequence[Asset]) -> set[int]:
    """Return the places of the uploads that the service names, or of all where it names none, but of no given asset."""
    named = [index for index, asset in enumerate(assets) if asset.key in error.message]
    return {index for index in named or range(len(files)) if not isinstance(files[index], Asset)}


class _Sending:
    """Follows one create on its way to the service."""

    def __init__(self, run: JobRun, log: TaskLog, kind: TaskKind) -> None:
        self._run = run
        self._log = log
        self._kind = kind

    async def leaves(self) -> None:
        """Keep the request back where the batch was stopped; else write it down before it leaves."""
        self._check()
        try:
            await self._log.intent(self._kind)
            self._check()
        except (asyncio.CancelledError, BatchStoppedError):  # written down, but it never left
            with anyio.CancelScope(shield=True):
                await self._log.refused()
            raise
        self._run.sending = True

    def _check(self) -> None:
        if self._run.stopped is not None:
            raise BatchStoppedError(f"the batch was stopped: {self._run.stopped.message}")

    async def refused(self) -> None:
        """Take the intent back, if it was this sending's."""
        if self._run.sending:
            with anyio.CancelScope(shield=True):
                await self._log.refused()
            self._run.sending = False
