"""Files to and from presigned URLs: streamed, replayable, watched for stalls, never whole in memory.

The URL goes on the wire byte for byte, and nothing of the API's session goes with it (protocol, "Presigned URLs").
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import aiohttp
import anyio
from yarl import URL

from facewarp_async.config import Timeouts
from facewarp_async.errors import (
    ConfigurationError,
    ConnectError,
    ConnectionLostError,
    FaceWarpError,
    IncompleteTransferError,
    OutputError,
    RequestTimeoutError,
    StorageError,
    UrlExpiredError,
)
from facewarp_async.files import AnyMedia
from facewarp_async.policy.retry import Repetitions, RetryPolicy
from facewarp_async.redaction import clean_text
from facewarp_async.transfer.partial import LEAST_BYTES, Partial
from facewarp_async.transfer.payload import FilePayload
from facewarp_async.transfer.progress import CallbackError, ProgressCallback
from facewarp_async.transfer.publishing import Publisher
from facewarp_async.transfer.reading import Readers
from facewarp_async.transfer.targets import LocalTarget, RemoteTarget, Target, writing
from facewarp_async.transfer.threads import FileThreads
from facewarp_async.transfer.turns import Turns
from facewarp_async.urls import Location, RemoteFile
from facewarp_async.wire.presigned import check_storage_url, parse_storage_error

logger: logging.Logger = logging.getLogger(__name__)

READ_BUFFER_BYTES = 1024 * 1024
"""How much of an answer the session may hold: what arrives while the last bytes are handed to a thread."""

_ERROR_BYTES = 8 * 1024
_MOST_RENEWALS = 2


class Transfers:
    """Uploads and downloads over one bare session, which has no headers, cookies or redirects of its own.

    Args:
        http: The bare session; it stays the caller's to close.
        timeouts: How long to wait for connections and for the next byte.
        retry: How often and when to repeat.
        allow_plain: Whether URLs may be plain ``http``.
    """

    def __init__(
        self, http: aiohttp.ClientSession, *, timeouts: Timeouts, retry: RetryPolicy, allow_plain: bool
    ) -> None:
        self._http = http
        self._allow_plain = allow_plain
        self._timeouts = timeouts
        self._retry = retry
        # No limit to the whole, nor to waiting for a connection: a transfer may take as long as its bytes move.
        self._http_timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=timeouts.connect_s, sock_read=timeouts.stall_s
        )
        self._targets: set[Location] = set()
        self._threads = FileThreads()
        self._readers = Readers(self._threads)
        self._turns = Turns()
        self._publisher = Publisher(self._threads)

    def close(self) -> None:
        """Let the threads end when they are done."""
        self._threads.close()

    async def upload(
        self,
        file: AnyMedia,
        grant_url: Callable[[], Awaitable[str]],
        *,
        on_progress: ProgressCallback | None = None,
    ) -> None:
        """Send a file to a presigned URL.

        Args:
            file: What to send.
            grant_url: Asks for the URL; called again where the storage says that the last one lapsed.
            on_progress: Told of the bytes sent.

        Raises:
            FileChangedError: The file changed or shrank since it was looked at.
            StorageError: The storage refused.
            TransportError: The connection failed as often as it was tried.
        """
        await self._repeat(lambda url: self._put(url, file, on_progress), lambda _renew: grant_url())

    async def download(
        self,
        source_url: Callable[[bool], Awaitable[str]],
        target: Location,
        *,
        on_progress: ProgressCallback | None = None,
    ) -> int:
        """Fetch a presigned URL into a file and return its length in bytes.

        The bytes go to a ``.part`` file beside the target, which is checked for length, synced and renamed; to a target
        elsewhere they are streamed, and it is shown when it is whole. After a cut the rest is asked for. A failure or a
        cancellation leaves nothing to be seen.

        Args:
            source_url: Gives the URL; called with ``True`` where the storage says that the last one lapsed.
            target: Where the file goes. One that exists is replaced, its folder is made.
            on_progress: Told of the bytes received.

        Raises:
            OutputError: The file cannot be written, or another download writes it; `DiskFullError` for want of space.
            StorageError: The storage refused.
            TransportError: The connection failed as often as it was tried, and no further byte arrived in between.
        """
        if target in self._targets:
            raise OutputError(f"{target}: is being written by another download")
        goal = self._target(target)
        partial = Partial(goal, on_progress)
        self._targets.add(target)
        try:
            with writing(target):
                await goal.prepare()
            await self._repeat(lambda url: self._get(url, partial), source_url, lambda: partial.length)
            with writing(target):
                await goal.publish()
        except BaseException:
            await goal.discard()
            raise
        finally:
            self._targets.discard(target)
        return partial.length

    def _target(self, location: Location) -> Target:
        if isinstance(location, RemoteFile):
            return RemoteTarget(location)
        return LocalTarget(location, self._threads, self._publisher)

    async def _repeat(
        self,
        attempt: Callable[[str], Awaitable[None]],
        get_url: Callable[[bool], Awaitable[str]],
        get_length: Callable[[], int] = lambda: 0,
    ) -> None:
        """Make attempts until one succeeds or they are used up, anew for each that came further than all before it."""
        repetitions, waited_s, furthest = self._repetitions(), 0.0, 0
        url, renewals = await get_url(False), 0
        while True:
            try:
                return await attempt(url)
            except UrlExpiredError:
                renewals += 1
                if renewals > _MOST_RENEWALS:
                    raise
                url = await get_url(True)
            except FaceWarpError as error:
                if get_length() >= furthest + LEAST_BYTES:
                    repetitions, waited_s, furthest = self._repetitions(), 0.0, get_length()
                delay_s = repetitions.delay_s(error, now=waited_s, jitter=_jitter())
                if delay_s is None:
                    raise
                logger.debug("repeating in %.1f s after: %s", delay_s, error)
                await anyio.sleep(delay_s)
                waited_s += delay_s

    def _repetitions(self) -> Repetitions:
        # A transfer may take as long as it needs: only the waiting between attempts is counted.
        return Repetitions(self._retry, creates_task=False, give_up_at=self._timeouts.repeat_s)

    async def _put(self, url: str, file: AnyMedia, on_progress: ProgressCallback | None) -> None:
        stall_s, loop, begun = self._timeouts.stall_s, asyncio.get_running_loop(), time.monotonic()

        def expect_answer() -> None:
            head.reschedule(loop.time() + stall_s)

        payload = FilePayload(
            file, self._readers, self._turns, stall_s=stall_s, on_progress=on_progress, on_sent=expect_answer
        )
        try:
            async with asyncio.timeout(None) as head:  # the payload watches over its own sending
                async with self._request("PUT", url, data=payload, skip_auto_headers=("Content-Type",)) as response:
                    head.reschedule(None)
                    body = await self._read_start(response)  # of a success too, so that the connection is kept
                    _log("PUT", url, response.status, begun)
                    if not 200 <= response.status < 300:
                        raise parse_storage_error(response.status, body, url=url)
        except (aiohttp.ClientError, OSError) as error:
            if payload.failure is not None:
                raise payload.failure from None
            _raise_for_transport(error, f"upload of {file.path}", self._timeouts)

    async def _get(self, url: str, partial: Partial) -> None:
        begun = time.monotonic()
        try:
            async with asyncio.timeout(self._timeouts.connect_s + self._timeouts.stall_s) as head:
                async with self._request("GET", url, headers=partial.headers()) as response:
                    head.reschedule(None)  # from here on the body's own pace counts
                    _log("GET", url, response.status, begun)
                    if response.status == 416:
                        partial.restart()
                        raise IncompleteTransferError("the storage has no such range")
                    if response.status not in {200, 206}:
                        raise parse_storage_error(response.status, await self._read_start(response), url=url)
                    await partial.receive(response, stall_s=self._timeouts.stall_s)
        except CallbackError as stopped:
            raise stopped.error from None
        except (aiohttp.ClientError, TimeoutError) as error:
            if isinstance(error, FaceWarpError):
                raise
            _raise_for_transport(error, f"download of {partial.target}", self._timeouts)

    async def _read_start(self, response: aiohttp.ClientResponse) -> bytes:
        body = b""
        if response.content.at_eof():
            return body
        with anyio.move_on_after(self._timeouts.stall_s):
            while chunk := await response.content.read(_ERROR_BYTES - len(body)):
                body += chunk
        return body

    def _request(self, method: str, url: str, **options: Any) -> Any:
        check_storage_url(url, allow_plain=self._allow_plain)
        if self._http.closed:
            raise ConfigurationError("the client was closed while it was used")
        return self._http.request(
            method,
            URL(url, encoded=True),
            timeout=self._http_timeout,
            allow_redirects=False,
            raise_for_status=False,
            **options,
        )


_jitter = random.random


def _log(method: str, url: str, status: int, begun: float) -> None:
    """Log an answer of the storage's, without the query, which signs the URL."""
    if logger.isEnabledFor(logging.DEBUG):
        shown = clean_text(url.partition("?")[0])
        logger.debug("%s %s -> HTTP %d in %.3f s", method, shown, status, time.monotonic() - begun)


def _raise_for_transport(error: Exception, what: str, timeouts: Timeouts) -> NoReturn:
    # Without their causes: aiohttp's errors hold the URL, and that its signature.
    reason = clean_text(str(error)) or type(error).__name__
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
        raise ConnectError(f"{what}: no connection: {reason}") from None
    if isinstance(error, TimeoutError):
        raise RequestTimeoutError(f"{what}: no answer, or no further byte, for {timeouts.stall_s:g} s") from None
    if isinstance(error, aiohttp.InvalidURL):
        raise StorageError(f"{what}: the service gave a presigned URL that is none") from None
    raise ConnectionLostError(f"{what}: the connection was cut: {reason}") from None
