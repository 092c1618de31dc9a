"""Files to and from presigned URLs: streamed, replayable, watched for stalls, never whole in memory.

The URL goes on the wire byte for byte, and nothing of the API's session goes with it (protocol, "Presigned URLs").
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import math
import os
import random
import re
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, cast

import aiofiles.threadpool
import aiohttp
import anyio
import anyio.to_thread
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import StreamWriter
from yarl import URL

from facewarp_async.config import Timeouts
from facewarp_async.errors import (
    ConfigurationError,
    ConnectError,
    ConnectionLostError,
    DiskFullError,
    FaceWarpError,
    FileChangedError,
    IncompleteTransferError,
    OutputError,
    RequestTimeoutError,
    StorageError,
    UrlExpiredError,
)
from facewarp_async.files import FileIdentity, MediaFile
from facewarp_async.policy.retry import Repetitions, RetryPolicy
from facewarp_async.redaction import clean_text
from facewarp_async.wire.presigned import check_storage_url, parse_storage_error

logger = logging.getLogger(__name__)

CHUNK_BYTES = 1024 * 1024
"""How much is read or written at once. Smaller chunks cost more in hops to a thread than in reading."""

_ERROR_BYTES = 8 * 1024
_MOST_RENEWALS = 2
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18})")
_NOT_ENCODED = {"", "identity", "aws-chunked"}
"""Values of ``Content-Encoding`` that leave the bytes as they are; S3 repeats the last one from an upload."""

MAX_RESULT_BYTES = 16 * 1024**3
"""The longest result that is fetched: an endless one must not fill the disk."""

_LEAST_BYTES = 1024
"""A download that brings fewer bytes than this within the time for a stall, or by an attempt, does not move."""

ProgressCallback = Callable[[int, int], None]
"""Called with the bytes moved so far and the bytes in all; the latter is 0 where it is not known."""


class FilePayload(aiohttp.Payload):
    """A file as a request's body, of a length known beforehand and read anew for each sending.

    The last bytes are written when the file is closed already: an answer that arrives early then finds a body that is
    complete, and the connection stays usable.
    """

    _autoclose = True

    def __init__(
        self,
        file: MediaFile,
        *,
        stall_s: float,
        on_progress: ProgressCallback | None,
        on_sent: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(file.path, content_type="application/octet-stream")
        self._size = file.size
        self._file = file
        self._stall_s = stall_s
        self._on_progress = on_progress
        self._on_sent = on_sent
        self.failure: Exception | None = None
        """Why the body could not be sent, where that is not the connection's fault: aiohttp tells only in its words."""

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:  # noqa: ARG002 - aiohttp's signature
        """Refuse: a streamed body is never text."""
        raise TypeError("a streamed file cannot be decoded")

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send the file."""
        await self.write_with_length(writer, None)

    async def write_with_length(
        self,
        writer: AbstractStreamWriter,
        content_length: int | None,  # noqa: ARG002 - aiohttp's signature
    ) -> None:
        """Send the file; its own length is the content's length."""
        try:
            await self._send(cast(StreamWriter, writer))
            self._on_sent()
        except FaceWarpError as error:
            self.failure = error
            raise
        except _StoppedError as stopped:
            self.failure = stopped.error
            raise

    async def _send(self, writer: StreamWriter) -> None:
        left = self._file.size
        with self._reading():
            file = await _open(self._file.path, "rb")
        try:
            while left:
                chunk = await self._read(file, min(CHUNK_BYTES, left))
                left -= len(chunk)
                if not left:
                    await self._close_unchanged(file)
                await self._write(writer, chunk)
                _tell(self._on_progress, self._file.size - left, self._file.size)
        finally:
            if not file.closed:
                with anyio.CancelScope(shield=True):
                    await file.close()

    async def _read(self, file: Any, size: int) -> bytes:
        with self._reading(), anyio.CancelScope(shield=True):  # the thread has to be done before the file is closed
            chunk: bytes = await file.read(size)
        if not chunk:
            raise FileChangedError(f"{self._file.path}: shrank while it was being sent")
        return chunk

    async def _close_unchanged(self, file: Any) -> None:
        with self._reading(), anyio.CancelScope(shield=True):
            status = await anyio.to_thread.run_sync(os.fstat, file.fileno())
            await file.close()
        if FileIdentity.of(status) != self._file.identity:
            raise FileChangedError(f"{self._file.path}: changed while it was being sent")

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise FileChangedError(f"{self._file.path}: can no longer be read: {error.strerror}") from error

    async def _write(self, writer: StreamWriter, chunk: bytes) -> None:
        """Hand a chunk to the connection. However slowly the peer takes it, only standing still is a failure."""
        await writer.write(chunk, drain=False)
        loop = asyncio.get_running_loop()
        timer: asyncio.TimerHandle

        def look(before: int) -> None:  # beside the wait, because one that was cancelled cannot be taken up again
            nonlocal timer
            unsent = _unsent_bytes(writer)
            if unsent >= before:
                wait.cancel()
            timer = loop.call_later(self._stall_s, look, unsent)

        timer = loop.call_later(self._stall_s, look, _unsent_bytes(writer))
        try:
            with anyio.CancelScope() as wait:
                await writer.drain()
        finally:
            timer.cancel()
        if wait.cancelled_caught:
            raise IncompleteTransferError(f"{self._file.path}: no byte was taken for {self._stall_s:g} s")


class _StoppedError(Exception):
    """Carries an error of the caller's out, so that it is not taken for the connection's or the disk's."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


def _tell(on_progress: ProgressCallback | None, moved: int, total: int) -> None:
    if on_progress is None:
        return
    try:
        on_progress(moved, total)
    except Exception as error:
        raise _StoppedError(error) from error


def _unsent_bytes(writer: StreamWriter) -> int:
    transport = writer.transport
    return 0 if transport is None else transport.get_write_buffer_size()


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
        self._targets: set[Path] = set()

    async def upload(
        self,
        file: MediaFile,
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
        target: Path,
        *,
        on_progress: ProgressCallback | None = None,
    ) -> int:
        """Fetch a presigned URL into a file and return its length in bytes.

        The bytes go to a ``.part`` file beside the target, which is checked for length, synced and renamed. After a cut
        the rest is asked for. A failure or a cancellation leaves neither file.

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
        partial = _Partial(target, on_progress)
        self._targets.add(target)
        try:
            with _writing(target):
                await anyio.to_thread.run_sync(lambda: target.parent.mkdir(parents=True, exist_ok=True))
            await self._repeat(lambda url: self._get(url, partial), source_url, lambda: partial.length)
            with _writing(target):
                await anyio.to_thread.run_sync(_publish, partial.path, target)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(_discard, partial.path)
            raise
        finally:
            self._targets.discard(target)
        return partial.length

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
                if get_length() >= furthest + _LEAST_BYTES:
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

    async def _put(self, url: str, file: MediaFile, on_progress: ProgressCallback | None) -> None:
        stall_s = self._timeouts.stall_s

        def expect_answer() -> None:
            head.deadline = anyio.current_time() + stall_s

        payload = FilePayload(file, stall_s=stall_s, on_progress=on_progress, on_sent=expect_answer)
        try:
            with anyio.fail_after(None) as head:  # the payload watches over its own sending
                async with self._request("PUT", url, data=payload, skip_auto_headers=("Content-Type",)) as response:
                    head.deadline = math.inf
                    body = await self._read_start(response)  # of a success too, so that the connection is kept
                    if not 200 <= response.status < 300:
                        raise parse_storage_error(response.status, body, url=url)
        except (aiohttp.ClientError, OSError) as error:
            if payload.failure is not None:
                raise payload.failure from None
            _raise_for_transport(error, f"upload of {file.path}", self._timeouts)

    async def _get(self, url: str, partial: _Partial) -> None:
        try:
            with anyio.fail_after(self._timeouts.connect_s + self._timeouts.stall_s) as head:
                async with self._request("GET", url, headers=partial.headers()) as response:
                    head.deadline = math.inf  # from here on the body's own pace counts
                    if response.status == 416:
                        partial.restart()
                        raise IncompleteTransferError("the storage has no such range")
                    if response.status not in {200, 206}:
                        raise parse_storage_error(response.status, await self._read_start(response), url=url)
                    await partial.receive(response, stall_s=self._timeouts.stall_s)
        except _StoppedError as stopped:
            raise stopped.error from None
        except (aiohttp.ClientError, TimeoutError) as error:
            if isinstance(error, FaceWarpError):
                raise
            _raise_for_transport(error, f"download of {partial.target}", self._timeouts)

    async def _read_start(self, response: aiohttp.ClientResponse) -> bytes:
        body = b""
        with anyio.move_on_after(self._timeouts.stall_s):
            while chunk := await response.content.read(_ERROR_BYTES - len(body)):
                body += chunk
        return body

    def _request(self, method: str, url: str, **options: Any) -> Any:
        check_storage_url(url, allow_plain=self._allow_plain)
        if self._http.closed:
            raise ConfigurationError("the client was closed while it was used")
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=self._timeouts.connect_s, sock_read=self._timeouts.stall_s
        )
        return self._http.request(
            method,
            URL(url, encoded=True),
            timeout=timeout,
            allow_redirects=False,
            raise_for_status=False,
            **options,
        )


class _Partial:
    """A download's ``.part`` file and how far it is."""

    def __init__(self, target: Path, on_progress: ProgressCallback | None) -> None:
        self.target = target
        self.path = target.with_name(target.name + ".part")
        self.length = 0
        self._etag: str | None = None
        self._on_progress = on_progress

    def headers(self) -> dict[str, str]:
        """Ask for the rest, where there is a beginning that can be told to belong to it."""
        headers = {"Accept-Encoding": "identity"}
        if self.length and self._etag:
            headers |= {"Range": f"bytes={self.length}-", "If-Range": self._etag}
        return headers

    def restart(self) -> None:
        """Forget the beginning."""
        self.length, self._etag = 0, None

    async def receive(self, response: aiohttp.ClientResponse, *, stall_s: float) -> None:
        """Append an answer's body, and check that it is whole."""
        total = self._begin(response)
        pace = _Pace(stall_s)
        buffer = bytearray()
        with _writing(self.target):
            file = await _open(self.path, "r+b" if self.length else "wb")
        try:
            await file.seek(self.length)
            async for chunk in response.content.iter_any():
                buffer += chunk
                self._check_bound(self.length + len(buffer))
                if len(buffer) >= CHUNK_BYTES:
                    await self._append(file, buffer, total)
                if not pace.holds(len(chunk)):
                    raise IncompleteTransferError(f"{self.target}: hardly a byte arrived for {stall_s:g} s")
        finally:
            with anyio.CancelScope(shield=True):
                try:
                    await self._append(file, buffer, total)
                finally:
                    await file.close()
        if total is not None and self.length != total:
            raise IncompleteTransferError(f"{self.target}: {self.length} of {total} bytes arrived")

    def _begin(self, response: aiohttp.ClientResponse) -> int | None:
        """Return the length that the whole will have, ``None`` where the end is marked instead."""
        encoding = response.headers.get("Content-Encoding", "").strip().lower()
        if encoding not in _NOT_ENCODED:
            raise StorageError(f"{self.target}: the storage sent it encoded, which it was asked not to do")
        etag = response.headers.get("ETag", "")
        if response.status == 206 or "Content-Range" in response.headers:  # not every storage says 206 to a part
            span = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
            # Not every storage heeds If-Range: the rest has to be of the same file as the beginning.
            if span and int(span[1]) == self.length and etag in {"", self._etag}:
                return self._check_bound(int(span[2]))
            self.restart()
            raise IncompleteTransferError("the storage sent another part than was asked for")
        self.restart()
        self._etag = etag if etag and not etag.startswith("W/") else None
        total = response.content_length
        if total is None and "chunked" not in response.headers.get("Transfer-Encoding", "").lower():
            raise IncompleteTransferError(f"{self.target}: the storage does not say how long it is")
        return None if total is None else self._check_bound(total)

    def _check_bound(self, length: int) -> int:
        if length > MAX_RESULT_BYTES:
            raise StorageError(f"{self.target}: is longer than {MAX_RESULT_BYTES} bytes")
        return length

    async def _append(self, file: Any, buffer: bytearray, total: int | None) -> None:
        if not buffer:
            return
        view = memoryview(bytes(buffer))
        buffer.clear()
        with _writing(self.target), anyio.CancelScope(shield=True):  # the thread has to be done before the file closes
            while view:
                written = await file.write(view)
                view = view[written:]
                self.length += written
        _tell(self._on_progress, self.length, total or 0)


class _Pace:
    """Tells a body that moves from one that trickles, so that no time-out between two bytes ever ends it."""

    def __init__(self, stall_s: float) -> None:
        self._stall_s = stall_s
        self._since = time.monotonic()
        self._count = 0

    def holds(self, count: int) -> bool:
        """Count bytes that arrived, and tell whether they are enough for the time."""
        now = time.monotonic()
        self._count += count
        if self._count >= _LEAST_BYTES:
            self._since, self._count = now, 0
        return now - self._since <= self._stall_s


_jitter = random.random


async def _open(path: Path, mode: str) -> Any:
    """Open a file without a buffer of its own; one that a cancelled caller no longer wants is closed."""
    opening = asyncio.get_running_loop().run_in_executor(None, partial(open, path, mode, buffering=0))
    try:
        return aiofiles.threadpool.wrap(await asyncio.shield(opening))
    except asyncio.CancelledError:
        opening.add_done_callback(_close_unwanted)
        raise


def _close_unwanted(opening: asyncio.Future[Any]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()


def _publish(part: Path, target: Path) -> None:
    """Make a finished download durable under its name."""
    descriptor = os.open(part, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    part.replace(target)
    if os.name == "posix":  # elsewhere a folder cannot be opened
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _discard(part: Path) -> None:
    with contextlib.suppress(OSError):  # the failure that led here is the one to tell
        part.unlink()


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


@contextlib.contextmanager
def _writing(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        cls = DiskFullError if full else OutputError
        raise cls(f"{target}: cannot be written: {error.strerror or error}") from error
