"""One job from its files to its result: check, upload, create, wait. The client runs one, the pipeline many."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

import anyio
from attrs import Factory, define, frozen

from facewarp_async.calls import ServiceCalls
from facewarp_async.errors import (
    BatchStoppedError,
    FaceWarpError,
    NoFaceError,
    Stage,
    UnsupportedFormatError,
    UploadRejectedError,
)
from facewarp_async.files import MediaFile, inspect
from facewarp_async.models import (
    Asset,
    DetectFaces,
    FaceDetection,
    ImageSwap,
    Job,
    MediaType,
    MultiFaceSwap,
    Result,
    TaskKind,
    VideoSwap,
)
from facewarp_async.wire.requests import ApiRequest, build_detection_request, build_swap_request

File = MediaFile | Asset


@define
class JobRun:
    """How far one job is, which its outcome tells.

    Attributes:
        job: The job.
        on_stage: Called when a stage begins.
        stage: Where it is.
        task_id: The last task that was created for it.
        sending: Whether a create may be on its way, which must not be cancelled: its answer is worth money.
        stopped: Why no further task may be created, once that is so.
        durations_s: Seconds spent in each stage so far, waiting for its turn included.
    """

    job: Job
    on_stage: Callable[[Stage], None] = lambda _stage: None
    stage: Stage = Stage.CHECK
    task_id: int | None = None
    sending: bool = False
    stopped: FaceWarpError | None = None
    durations_s: dict[Stage, float] = Factory(dict)
    _since: float = Factory(time.monotonic)

    def enter(self, stage: Stage) -> None:
        """Begin a stage."""
        self.end()
        self.stage = stage
        self.on_stage(stage)

    def end(self) -> None:
        """Count the time spent in the stage so far."""
        now = time.monotonic()
        self.durations_s[self.stage] = self.durations_s.get(self.stage, 0.0) + now - self._since
        self._since = now


@frozen
class Slots:
    """The limits that a job waits at: an upload holds no task slot, a waiting task no upload slot."""

    uploads: anyio.Semaphore
    tasks: anyio.Semaphore


async def run_job(calls: ServiceCalls, run: JobRun, slots: Slots, *, timeout_s: float | None = None) -> Result:
    """Take a job to its result.

    Args:
        calls: The service.
        run: The job, and where its progress is noted.
        slots: Where it waits for its turn.
        timeout_s: How long to wait for each of its tasks; as `ServiceCalls.wait_for_task` says if ``None``.

    Cancelling leaves a task that was created with the service, its id in ``run.task_id``.

    Raises:
        FaceWarpError: The job failed; the error knows the job, the stage and the task.
    """
    try:
        return await _JobRunner(calls, run, slots, timeout_s).run(run.job)
    except FaceWarpError as error:
        error.job, error.stage = run.job, run.stage
        if error.task_id is None:
            error.task_id = run.task_id
        raise


class _JobRunner:
    def __init__(self, calls: ServiceCalls, run: JobRun, slots: Slots, timeout_s: float | None) -> None:
        self._calls = calls
        self._uploads = calls.shared_uploads
        self._run = run
        self._slots = slots
        self._timeout_s = timeout_s

    async def run(self, job: Job) -> Result:
        self._run.enter(Stage.CHECK)
        match job:
            case ImageSwap():
                files = [await _image(job.media), await _face(job.face)]
                return await self._swap(TaskKind.IMAGE_SWAP, files, hd=job.hd)
            case VideoSwap():
                files = [await _video(job.media), await _face(job.face)]
                return await self._swap(TaskKind.VIDEO_SWAP, files, hd=job.hd)
            case DetectFaces():
                return await self._detect(await _any(job.media))
            case MultiFaceSwap():
                return await self._swap_faces(job)

    async def _swap(self, kind: TaskKind, files: Sequence[File], *, hd: bool) -> Result:
        def build(media: Asset, face: Asset) -> ApiRequest:
            return build_swap_request(kind, media_key=media.key, face_key=face.key, hd=hd)

        return await self._task(kind, files, build)

    async def _detect(self, media: File) -> FaceDetection:
        def build(asset: Asset) -> ApiRequest:
            return build_detection_request(asset.key)

        detection = await self._task(TaskKind.FACE_DETECTION, [media], build)
        assert isinstance(detection, FaceDetection)
        return detection

    async def _swap_faces(self, job: MultiFaceSwap) -> Result:
        media = await _any(job.media)
        new_faces = [await _face(face) for face in job.faces.values()]
        detection = await self._detect(media)
        missing = [index for index in job.faces if not 0 <= index < len(detection.faces)]
        if missing:
            raise NoFaceError(f"{_name(media)}: has {len(detection.faces)} faces, counted from 0, but no {missing[0]}")
        old_faces = [detection.faces[index] for index in job.faces]
        kind = TaskKind.MULTI_VIDEO_SWAP if _is_video(media) else TaskKind.MULTI_IMAGE_SWAP

        def build(*assets: Asset) -> ApiRequest:
            pairs = zip(old_faces, assets, strict=True)
            return self._calls.build_multi_swap(kind, detection.task_id, pairs, hd=job.hd)

        return await self._task(kind, new_faces, build)

    async def _task(self, kind: TaskKind, files: Sequence[File], build: Callable[..., ApiRequest]) -> Result:
        """Upload what a task needs, create it and wait for it; upload once more where the service has lost a file."""
        uploaded_again = False
        while True:
            self._run.enter(Stage.UPLOAD)
            assets = [await self._asset(file) for file in files]
            async with self._slots.tasks:
                self._run.enter(Stage.CREATE)
                try:
                    await self._create(build(*assets))
                except UploadRejectedError as error:
                    if uploaded_again:
                        raise
                    uploaded_again = True
                    self._forget(error, assets)
                    continue
                self._run.enter(Stage.WAIT)
                assert self._run.task_id is not None
                return await self._calls.wait_for_task(self._run.task_id, kind, timeout_s=self._timeout_s)

    async def _create(self, request: ApiRequest) -> None:
        try:
            self._run.task_id = await self._calls.create_task(request, before_send=self._before_send)
        finally:
            self._run.sending = False

    async def _before_send(self) -> None:
        if self._run.stopped is not None:
            raise BatchStoppedError(f"the batch was stopped: {self._run.stopped.message}")
        self._run.sending = True

    async def _asset(self, file: File) -> Asset:
        return file if isinstance(file, Asset) else await self._uploads.asset(file, slot=self._slots.uploads)

    def _forget(self, error: UploadRejectedError, assets: Sequence[Asset]) -> None:
        """Forget the asset that the service names, or all of them where it names none."""
        named = [asset for asset in assets if asset.key in error.message]
        for asset in named or assets:
            self._uploads.forget(asset)


def _name(file: File) -> str:
    return file.key if isinstance(file, Asset) else str(file.path)


def _is_video(file: File) -> bool:
    if file.media_type is not None:
        return file.media_type.is_video
    assert isinstance(file, Asset)  # a key from elsewhere: its extension is all there is
    extension = PurePosixPath(file.key).suffix.lower()
    return any(media_type.is_video and media_type.extension == extension for media_type in MediaType)


async def _any(source: Path | Asset) -> File:
    return source if isinstance(source, Asset) else await inspect(source)


async def _image(source: Path | Asset) -> File:
    file = await _any(source)
    if _is_video(file):
        raise UnsupportedFormatError(f"{_name(file)}: is a video; VideoSwap (swap_video) changes those")
    return file


async def _face(source: Path | Asset) -> File:
    file = await _any(source)
    if _is_video(file):
        raise UnsupportedFormatError(f"{_name(file)}: is a video, expected a picture of the face to put in")
    return file


async def _video(source: Path | Asset) -> File:
    file = await _any(source)
    if isinstance(file, MediaFile) and not file.media_type.is_video and file.media_type is not MediaType.GIF:
        raise UnsupportedFormatError(f"{_name(file)}: is a picture; ImageSwap (swap_image) changes those")
    return file
