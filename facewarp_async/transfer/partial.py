"""How far a download is."""

from __future__ import annotations

import re
import time

import aiohttp

from facewarp_async.errors import IncompleteTransferError, StorageError
from facewarp_async.transfer.progress import ProgressCallback, tell
from facewarp_async.transfer.targets import Target, writing
from facewarp_async.urls import Location

MAX_RESULT_BYTES = 16 * 1024**3
"""The longest result that is fetched: an endless one must not fill the disk."""

LEAST_BYTES = 1024
"""A download that brings fewer bytes than this within the time for a stall, or by an attempt, does not move."""

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18})")
_NOT_ENCODED = {"", "identity", "aws-chunked"}
"""Values of ``Content-Encoding`` that leave the bytes as they are; S3 repeats the last one from an upload."""


class Partial:
    """A target and how far it is.

    Args:
        target: Where the bytes go.
        on_progress: Told of the bytes received.
    """

    def __init__(self, target: Target, on_progress: ProgressCallback | None) -> None:
        self.target: Location = target.location
        self.length: int = 0
        self._etag: str | None = None
        self._target = target
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
        """Append an answer's body, and check that it is whole. Then it is on the disk too."""
        total = self._begin(response)
        pace = _Pace(stall_s)
        writer = self._target.writer(self.length)
        is_whole = False
        with writing(self.target, total):
            await writer.open(total)
        try:
            async for chunk, _ in response.content.iter_chunks():  # as they came: joining them is a copy of the whole
                self._check_bound(writer.received + len(chunk))
                with writing(self.target, total):
                    has_written = await writer.put(chunk)
                if has_written:
                    tell(self._on_progress, writer.received, total or 0)
                if not pace.holds(len(chunk)):
                    raise IncompleteTransferError(f"{self.target}: hardly a byte arrived for {stall_s:g} s")
            is_whole = writer.received > 0 and total in {None, writer.received}
        finally:
            with writing(self.target, total):
                try:
                    await writer.close(sync=is_whole)
                finally:
                    self.length = writer.written
        tell(self._on_progress, self.length, total or 0)
        if not is_whole:
            raise IncompleteTransferError(
                f"{self.target}: {self.length} of {total} bytes arrived"
                if total or self.length
                else f"{self.target}: the storage sent an empty file"
            )

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
        if self._count >= LEAST_BYTES:
            self._since, self._count = now, 0
        return now - self._since <= self._stall_s
