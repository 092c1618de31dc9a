"""The client: the calls of the protocol, and the swaps made of them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import aiohttp
import anyio
from attrs import frozen

from facewarp_async.calls import ServiceCalls
from facewarp_async.config import (
    ApiKey,
    ClientCredentials,
    Credentials,
    Provider,
    Timeouts,
    credentials_from_env,
    provider_from_env,
)
from facewarp_async.connection import Connection
from facewarp_async.errors import ConfigurationError
from facewarp_async.models import (
    DetectFaces,
    FaceDetection,
    ImageResult,
    ImageSwap,
    Job,
    MultiFaceSwap,
    Result,
    Source,
    SwapResult,
    VideoResult,
    VideoSwap,
)
from facewarp_async.policy.learning import LearntPolling
from facewarp_async.policy.polling import FixedPolling, PollPolicy
from facewarp_async.policy.retry import RetryPolicy
from facewarp_async.session import Pace
from facewarp_async.session.learnt import LearntFile, learnt_path
from facewarp_async.swaps import JobRun, Resources, run_job

PollChoice = Literal["learnt", "fixed"] | PollPolicy


def _polling(
    choice: PollChoice, provider: Provider, cache_dir: str | Path | bool
) -> tuple[PollPolicy, LearntFile | None]:
    if choice == "learnt":
        policy = LearntPolling.for_provider(provider)
        path = learnt_path(provider, cache_dir, os.environ)
        return policy, None if path is None else LearntFile(path, provider.base_url, policy)
    if choice == "fixed":
        return FixedPolling(image_s=provider.typical_image_s, video_s=provider.typical_video_s), None
    if isinstance(choice, str):
        raise ConfigurationError(f'poll_policy is {choice!r}: expected "learnt", "fixed" or a policy')
    return choice, None


@frozen(kw_only=True)
class ClientSettings:
    """What a client is made of. Its repr shows no secret."""

    provider: Provider
    credentials: Credentials
    timeouts: Timeouts
    retry: RetryPolicy
    polling: PollPolicy
    most_tasks: int | None = None


class FaceSwapClient(ServiceCalls):
    """Speaks to a service, from one event loop.

    All coroutines may run at the same time; their API calls share one limiter. Files of the same content are uploaded
    once in the client's life, unless the service forgets them.

    Args:
        provider: The service.
        credentials: Who asks.
        http: A session of the caller's for the API calls. It is not closed with the client. Its connector serves the
            storage too; none of its headers and cookies do.
        timeouts: How long to wait for what.
        retry: How often and when calls and transfers are repeated.
        poll_policy: When tasks are looked at: ``"learnt"`` from how long tasks take, ``"fixed"`` after delays that only
            grow, or a policy of your own.
        cache_dir: Where the learnt policy keeps how long this service's tasks take, for the next run: a folder, or
            ``False`` for nowhere. ``True``: in the folder that ``FACEWARP_CACHE_DIR`` names, nowhere if that is empty,
            and in the user's cache directory if it is not set. Nothing is kept of a service on this machine.
        pacer: What API calls wait at in a worker of `DistributedPipeline`, which gives it; one of the client's own if
            ``None``.

    Raises:
        ConfigurationError: The provider, the credentials or the policy are none.
    """

    def __init__(
        self,
        provider: Provider,
        credentials: Credentials,
        *,
        http: aiohttp.ClientSession | None = None,
        timeouts: Timeouts | None = None,
        retry: RetryPolicy | None = None,
        poll_policy: PollChoice = "learnt",
        cache_dir: str | Path | bool = True,
        pacer: Pace | None = None,
    ) -> None:
        if not isinstance(provider, Provider):
            raise ConfigurationError("the provider is a Provider, such as VIDNOZ")
        if not isinstance(credentials, ApiKey | ClientCredentials):
            raise ConfigurationError("the credentials are ApiKey(…) or ClientCredentials(…)")
        self.provider = provider
        timeouts, retry = timeouts or Timeouts(), retry or RetryPolicy()
        polling, learnt = _polling(poll_policy, provider, cache_dir)
        self.settings: ClientSettings = ClientSettings(
            provider=provider, credentials=credentials, timeouts=timeouts, retry=retry, polling=polling
        )
        """What it was made of, for one that speaks to the same service from another process."""
        super().__init__(
            Connection(
                provider,
                credentials,
                http=http,
                timeouts=timeouts,
                retry=retry,
                polling=polling,
                learnt=learnt,
                pacer=pacer,
            ),
            provider=provider,
            timeouts=timeouts,
        )

    @classmethod
    def from_env(
        cls,
        environ: Mapping[str, str] | None = None,
        *,
        http: aiohttp.ClientSession | None = None,
        timeouts: Timeouts | None = None,
        retry: RetryPolicy | None = None,
        poll_policy: PollChoice = "learnt",
        cache_dir: str | Path | bool = True,
    ) -> Self:
        """Make a client from environment variables; the other arguments are those of the class.

        They are ``FACEWARP_PROVIDER``, ``FACEWARP_BASE_URL``, and ``FACEWARP_API_KEY`` or ``FACEWARP_CLIENT_ID`` with
        ``FACEWARP_CLIENT_SECRET``.

        Raises:
            ConfigurationError: None of the credentials is set, or a value is wrong; it names the variables.
        """
        return cls(
            provider_from_env(environ),
            credentials_from_env(environ),
            http=http,
            timeouts=timeouts,
            retry=retry,
            poll_policy=poll_policy,
            cache_dir=cache_dir,
        )

    @property
    def calls_made(self) -> dict[str, int]:
        """How many API calls have left in the client's life, by their paths.

        Those that were refused, repeated or not answered count too; transfers to and from presigned URLs do not. It may
        be asked after the end too.
        """
        return self._connection.calls_made

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections. May be called twice."""
        await self._connection.close()

    async def swap_image(
        self, media: Source, face: Source, *, hd: bool = False, timeout_s: float | None = None
    ) -> ImageResult:
        """Put the face of one picture into another.

        Cancelling may leave a task at the service that was paid for.

        Args:
            media: The picture to be changed: a path or a URL, or an asset that is uploaded already.
            face: The picture of the face to put in; likewise.
            hd: Whether to ask for high quality.
            timeout_s: How long to wait for the task, in seconds; the client's `Timeouts` say if ``None``.

        Raises:
            InputError: A file cannot be used; nothing was sent.
            NoFaceError: No face was found; `MultipleFacesError` for several.
            TaskTimeoutError: The task did not end in time; its id is in the error.
            InDoubtError: The task may exist and be paid for.
            FaceWarpError: The root of these and all others.
        """
        result = await self._run(ImageSwap(media, face, hd), timeout_s)
        assert isinstance(result, ImageResult)
        return result

    async def swap_video(
        self, media: Source, face: Source, *, hd: bool = False, timeout_s: float | None = None
    ) -> VideoResult:
        """Put the face of a picture into a video. As `swap_image`."""
        result = await self._run(VideoSwap(media, face, hd), timeout_s)
        assert isinstance(result, VideoResult)
        return result

    async def detect_faces(self, media: Source, *, timeout_s: float | None = None) -> FaceDetection:
        """Find the faces in a picture or video, for `swap_faces` to name. Finding none is a result. As `swap_image`."""
        result = await self._run(DetectFaces(media), timeout_s)
        assert isinstance(result, FaceDetection)
        return result

    async def swap_faces(
        self, media: Source, faces: Mapping[int, Source], *, hd: bool = False, timeout_s: float | None = None
    ) -> SwapResult:
        """Replace several faces of a picture or video. Two tasks are created: a detection and a swap.

        Args:
            media: The picture or video to be changed.
            faces: The face to put in, for each face of the media by its index in `detect_faces`.
            hd: Whether to ask for high quality.
            timeout_s: How long to wait for each of the tasks, in seconds.

        Raises:
            NoFaceError: The media has no face of such an index.
            FaceWarpError: As `swap_image`.
        """
        result = await self._run(MultiFaceSwap(media, faces, hd), timeout_s)
        assert not isinstance(result, FaceDetection)
        return result

    async def _run(self, job: Job, timeout_s: float | None) -> Result:
        free = anyio.Semaphore(1)  # one job waits for nobody
        resources = Resources(self, self.shared_uploads, free, free, timeout_s)
        return await run_job(resources, JobRun(job))
