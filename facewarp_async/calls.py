"""One coroutine for each call of the protocol, and those made of several: upload, wait, download."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import overload

import anyio

from facewarp_async.config import Provider, Timeouts
from facewarp_async.connection import Connection
from facewarp_async.errors import (
    FaceWarpError,
    Recovery,
    ResultGoneError,
    SourceNotFoundError,
    TaskFailedError,
    TaskTimeoutError,
)
from facewarp_async.files import AnyMedia, MediaFile, RemoteMedia, inspect
from facewarp_async.models import (
    Asset,
    Face,
    ImageResult,
    Picture,
    Result,
    Task,
    TaskKind,
    TaskStatus,
    UploadGrant,
    VideoResult,
)
from facewarp_async.policy.polling import EMPTY_POLLS, TimeLeft
from facewarp_async.policy.rate import Priority
from facewarp_async.policy.watching import Watched
from facewarp_async.session import Sending, Turn
from facewarp_async.text import visible
from facewarp_async.transfer import ProgressCallback
from facewarp_async.uploads import SharedUploads
from facewarp_async.urls import Location, RemoteFile, as_location
from facewarp_async.wire import answers, requests
from facewarp_async.wire.requests import FacePair

logger: logging.Logger = logging.getLogger(__name__)

Downloadable = ImageResult | VideoResult | Picture | Face


class ServiceCalls:
    """The calls of the protocol, each authorised, paced, and repeated where that is safe.

    Every coroutine here may raise any `FaceWarpError` that the service's answer or the connection means. Cancelling a
    create may leave a task at the service that nobody knows of; cancelling anything else leaves nothing. What begins
    with an underscore is for `swaps`, the pipeline and the command, and nothing for users.
    """

    def __init__(self, connection: Connection, *, provider: Provider, timeouts: Timeouts) -> None:
        self._connection = connection
        self._pair_order = provider.pair_order
        self._timeouts = timeouts
        self.shared_uploads: SharedUploads = SharedUploads(self.upload)
        """What was uploaded so far, by content."""

    def _counting(self, left: Callable[[], float]) -> AbstractContextManager[None]:
        """Have the pacer know how many jobs of a batch have not ended; infinity where there may be any number."""
        return self._connection.api.pacer.counting(left)

    def work_left(self, upcoming: Mapping[TaskKind, int], over_s: float) -> TimeLeft | None:
        """Return in how many seconds the last task will probably be done.

        Args:
            upcoming: How many tasks of each kind are still to be created, besides those that are waited for.
            over_s: In how many seconds the last of them will be created.

        Returns:
            The least and the most, or ``None`` where that is not known: with fixed polling, or where another process
            waits for tasks.
        """
        return self._connection.work_left(upcoming, over_s)

    async def request_upload(self, file_name: str) -> UploadGrant:
        """Ask for leave to upload one file: a presigned URL that lives for 30 minutes, and the file's key."""
        request = requests.build_upload_request(file_name)
        return await self._connection.api.call(request, answers.parse_upload_grant, priority=Priority.UPLOAD)

    async def access_url(self, key: str) -> str:
        """Ask for a presigned URL, valid for 3 days, of an uploaded file or a result.

        Raises:
            ResultGoneError: The service does not have it any more.
        """
        request = requests.build_access_request(key)
        try:
            return await self._connection.api.call(request, answers.parse_access_url, priority=Priority.UPLOAD)
        except SourceNotFoundError as error:
            raise ResultGoneError(error.message, code=error.code, http_status=error.http_status) from error

    async def create_image_swap(self, media: Asset, face: Asset, *, hd: bool = False) -> int:
        """Create the task that puts a face into a picture, and return its id. Paid for.

        Raises:
            InDoubtError: The answer was lost: the task may exist. It was not asked for again.
        """
        return await self._create_task(
            requests.build_swap_request(TaskKind.IMAGE_SWAP, media_key=media.key, face_key=face.key, hd=hd)
        )

    async def create_video_swap(self, media: Asset, face: Asset, *, hd: bool = False) -> int:
        """Create the task that puts a face into a video, and return its id. Paid for.

        Raises:
            InDoubtError: As `create_image_swap`.
        """
        return await self._create_task(
            requests.build_swap_request(TaskKind.VIDEO_SWAP, media_key=media.key, face_key=face.key, hd=hd)
        )

    async def create_face_detection(self, media: Asset) -> int:
        """Create the task that finds the faces in a picture or video, and return its id. Paid for.

        Raises:
            InDoubtError: As `create_image_swap`.
        """
        return await self._create_task(requests.build_detection_request(media.key))

    async def create_multi_image_swap(
        self, detection_id: int, pairs: Iterable[tuple[Face, Asset]], *, hd: bool = False
    ) -> int:
        """Create the task that replaces several faces of a picture, and return its id. Paid for.

        Args:
            detection_id: The id of the detection that found the faces.
            pairs: Faces of that detection, each with the picture of the face to put in its place.
            hd: Whether to ask for high quality.

        Raises:
            InDoubtError: As `create_image_swap`.
        """
        return await self._create_multi(TaskKind.MULTI_IMAGE_SWAP, detection_id, pairs, hd)

    async def create_multi_video_swap(
        self, detection_id: int, pairs: Iterable[tuple[Face, Asset]], *, hd: bool = False
    ) -> int:
        """Create the task that replaces several faces of a video. As `create_multi_image_swap`."""
        return await self._create_multi(TaskKind.MULTI_VIDEO_SWAP, detection_id, pairs, hd)

    async def _create_multi(
        self, kind: TaskKind, detection_id: int, pairs: Iterable[tuple[Face, Asset]], hd: bool
    ) -> int:
        return await self._create_task(self._build_multi_swap(kind, detection_id, pairs, hd=hd))

    def _build_multi_swap(
        self, kind: TaskKind, detection_id: int, pairs: Iterable[tuple[Face, Asset]], *, hd: bool
    ) -> requests.ApiRequest:
        """Build the request for a multiple swap, with the pairs in the provider's order."""
        keys = [FacePair(face.key, asset.key) for face, asset in pairs]
        return requests.build_multi_swap_request(
            kind, pairs=keys, detection_id=detection_id, hd=hd, order=self._pair_order
        )

    async def _create_task(self, request: requests.ApiRequest, *, sending: Sending | None = None) -> int:
        """Create a task from a request that was built for it, and return its id. Paid for.

        Args:
            request: From `facewarp_async.wire.requests`.
            sending: Told when it leaves and when it is sure to have had no effect.

        Raises:
            InDoubtError: As `create_image_swap`.
        """
        task_id = await self._connection.api.call(
            request, answers.parse_created, priority=Priority.CREATE, sending=sending
        )
        logger.info("created task %d", task_id)
        return task_id

    async def get_task(self, task_id: int, kind: TaskKind | None = None) -> Task:
        """Look at a task once.

        Args:
            task_id: The task.
            kind: What it makes, where that is known: an empty list is a result of a detection only.

        Raises:
            TaskFailedError: The task failed.
        """
        return await self._get_task(task_id, kind, priority=Priority.POLL)

    async def _get_task(
        self, task_id: int, kind: TaskKind | None, *, priority: Priority | Turn, sending: Sending | None = None
    ) -> Task:
        return await self._connection.api.call(
            requests.build_task_request(task_id),
            lambda answer: answers.parse_task(answer, task_id=task_id, kind=kind),
            priority=priority,
            sending=sending,
        )

    async def upload(
        self, file: str | Path | RemoteFile | AnyMedia, *, on_progress: ProgressCallback | None = None
    ) -> Asset:
        """Upload a file, asking for the URL just before it is used, and for another if it lapsed.

        Args:
            file: What to send; a path or a URL is looked at first.
            on_progress: Called with the bytes sent and the bytes in all.

        Raises:
            InputError: The file cannot be used, or changed while it was sent.
            StorageError: The storage refused it.
        """
        media_file = file if isinstance(file, MediaFile | RemoteMedia) else await inspect(as_location(file))
        key = ""

        async def grant_url() -> str:
            nonlocal key
            grant = await self.request_upload(media_file.sent_name)
            key = grant.key
            return grant.url

        await self._connection.transfers.upload(media_file, grant_url, on_progress=on_progress)
        logger.info("uploaded %s, %d bytes", visible(media_file.path), media_file.size)
        return Asset(key, media_type=media_file.media_type)

    @overload
    async def download(
        self, result: Downloadable, path: Path, *, on_progress: ProgressCallback | None = None
    ) -> Path: ...
    @overload
    async def download(
        self, result: Downloadable, path: str | Location, *, on_progress: ProgressCallback | None = None
    ) -> Location: ...
    async def download(
        self, result: Downloadable, path: str | Location, *, on_progress: ProgressCallback | None = None
    ) -> Location:
        """Fetch a result into a file and return its path, or a `RemoteFile` for a URL.

        The file appears under its name only when it is whole and durable; one that exists is replaced. A URL that
        lapsed is asked for anew. Cancelling leaves nothing behind, and it may be called again.

        Args:
            result: A result, a picture of it, or the crop of a face.
            path: The file to write, or a URL such as ``s3://bucket/key``. Its name is not changed to suit the result's
                format.
            on_progress: Called with the bytes received and the bytes in all, 0 where the storage does not say.

        Raises:
            OutputError: The file cannot be written.
            ResultGoneError: The service does not have it any more.
            StorageError: The storage refused it.
        """

        async def source_url(renew: bool) -> str:
            return await self.access_url(result.key) if renew or not result.url else result.url

        target = as_location(path)
        try:
            await self._connection.transfers.download(source_url, target, on_progress=on_progress)
        except FaceWarpError as error:
            if isinstance(result, ImageResult | VideoResult):
                error.task_id = result.task_id
            raise
        logger.info("downloaded %s", visible(target))
        return target

    async def wait_for_task(
        self,
        task_id: int,
        kind: TaskKind | None = None,
        *,
        timeout_s: float | None = None,
        created_now: bool = False,
    ) -> Result:
        """Wait until a task has ended, and return what it made.

        Cancelling stops the waiting, not the task. Trouble on the way to the service is waited out.

        Args:
            task_id: The task.
            kind: What it makes, where that is known.
            timeout_s: How long to wait, in seconds; the client's `Timeouts` say if ``None``.
            created_now: Whether it was created a moment ago. It is then looked at when it is likely to be done, else at
                once.

        Raises:
            TaskFailedError: The task failed.
            TaskTimeoutError: It did not end in time. It goes on, and may be waited for again.
        """
        if timeout_s is None:
            is_video = kind is not None and kind.is_video
            timeout_s = self._timeouts.video_task_s if is_video else self._timeouts.image_task_s
        pacer = self._connection.api.pacer
        await self._connection.recall()
        deadline = anyio.current_time() + timeout_s
        empty = 0
        with pacer.watching(kind, is_fresh=created_now, deadline=deadline) as watched:
            while (turn := await pacer.look_turn(watched)) is not None:
                with anyio.CancelScope(deadline=deadline):
                    task = await self._look(watched, turn, task_id, kind)
                    if task is not None and task.result is not None:
                        logger.info("task %d is done", task_id)
                        return task.result
                    if task is not None and task.status is TaskStatus.FINISHED:
                        empty += 1
                        if empty > EMPTY_POLLS:
                            raise TaskFailedError("the task finished without a result", task_id=task_id)
        raise TaskTimeoutError(f"the task did not end within {timeout_s:g} s", task_id=task_id)

    async def _look(self, watched: Watched, turn: Turn, task_id: int, kind: TaskKind | None) -> Task | None:
        """Look at a task whose turn it is; ``None`` where that did not succeed and may later."""
        pacer, look = self._connection.api.pacer, _Look()
        try:
            task = await self._get_task(task_id, kind, priority=turn, sending=look)
        except FaceWarpError as error:
            error.task_id = task_id
            if error.recovery is not Recovery.REPEAT:
                pacer.looked(watched, look.asked_at, done=True)  # it has ended, though not well
                raise
            logger.warning("task %d: %s; waiting on", task_id, error)
            pacer.missed(watched)
            return None
        pacer.looked(watched, look.asked_at, done=task.result is not None)
        return task


class _Look:
    """Notes when the look at a task left that was answered: a refused one is repeated, perhaps much later."""

    def __init__(self) -> None:
        self.asked_at = anyio.current_time()

    async def leaves(self) -> None:
        self.asked_at = anyio.current_time()

    async def refused(self) -> None:
        pass
