"""The storage behind presigned URLs, which refuses what S3 refuses."""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from datetime import UTC, datetime
from email.utils import format_datetime
from types import MappingProxyType
from urllib.parse import unquote

import anyio
from aiohttp import web
from attrs import evolve, frozen

from facewarp_async.server.connections import cut
from facewarp_async.server.faults import GET, HEAD, PUT, Fault
from facewarp_async.server.ledger import Ledger
from facewarp_async.server.objects import CHUNK_BYTES, Blob, ObjectStore
from facewarp_async.server.ranges import Span, UnsatisfiableRangeError, parse_range
from facewarp_async.server.records import StoredObject
from facewarp_async.server.sigv4 import SignatureError, SigningKey, presign, verify
from facewarp_async.server.state import State

BUCKET = "facewarp"
STORAGE_PATH = f"/storage/{BUCKET}/"
MAX_BODY_BYTES = 5 * 1024**3
"""S3's limit for one PUT. The service's own, 500 MB, is told when a task is created (code 704)."""


class CutError(Exception):
    """The connection is to be cut here, because a fault says so."""


@frozen(kw_only=True)
class Storage:
    """Stores and gives objects.

    Attributes:
        state: Which keys exist.
        store: The bodies.
        key: What URLs are signed with.
        clock: The time, with its zone.
        ledger: Where uploads are counted.
        stall_s: For how many seconds a body may stand still.
    """

    state: State
    store: ObjectStore
    key: SigningKey
    clock: Callable[[], datetime]
    ledger: Ledger
    stall_s: float

    def presign(self, method: str, key: str, *, origin: str, expires_s: int) -> str:
        """Return a URL for one method on one key, on the host that the caller came to."""
        now = self.clock()
        return presign(method, STORAGE_PATH + key, origin=origin, key=self.key, now=now, expires_s=expires_s)

    async def handle(self, request: web.BaseRequest, *, fault: Fault | None) -> web.StreamResponse:
        """Answer a request below the storage's path.

        Raises:
            SignatureError: The request is refused.
            CutError: A fault cuts the connection.
        """
        key = self._authorise(request)
        if fault is Fault.EXPIRED_URL:
            raise SignatureError(403, "AccessDenied", "Request has expired")
        if request.method == "PUT":
            return await self._put(request, key, fault)
        if request.method in {"GET", "HEAD"}:
            return await self._get(request, key, fault)
        raise SignatureError(405, "MethodNotAllowed", "The specified method is not allowed against this resource")

    def name_of(self, raw_path: str) -> str:
        """Return what the caller called the file that is behind a path, empty where nothing is known of it."""
        stored = self.state.objects.get(unquote(raw_path.removeprefix(STORAGE_PATH)))
        return "" if stored is None else stored.name

    async def give(self, request: web.BaseRequest, key: str, *, headers: Mapping[str, str]) -> web.StreamResponse:
        """Answer with an object to somebody who was let in by other means than a signature.

        Args:
            request: A GET or HEAD, perhaps for a part of it.
            key: The object.
            headers: Are added to the answer's, or replace them.

        Raises:
            SignatureError: There is no such object, or no such part of it.
        """
        return await self._get(request, key, None, headers)

    def _authorise(self, request: web.BaseRequest) -> str:
        """Check the signature and return the key."""
        raw_path, _, raw_query = request.raw_path.partition("?")
        if "Authorization" in request.headers:
            if "X-Amz-Signature=" in raw_query:
                raise SignatureError(400, "InvalidArgument", "Only one auth mechanism allowed")
            raise SignatureError(400, "InvalidArgument", "Unsupported Authorization Type")
        now = self.clock()
        verify(request.method, raw_path, raw_query=raw_query, headers=request.headers, key=self.key, now=now)
        if not raw_path.startswith(STORAGE_PATH):
            raise SignatureError(404, "NoSuchBucket", "The specified bucket does not exist")
        key = unquote(raw_path[len(STORAGE_PATH) :])
        if not key:
            raise SignatureError(400, "InvalidRequest", "The key is missing")
        return key

    async def _put(self, request: web.BaseRequest, key: str, fault: Fault | None) -> web.Response:
        length = _check_put(request, self.state.objects.get(key))
        if not await self.store.has_room(length):
            raise _full()
        try:
            blob = await self.store.receive(self._body(request, length, fault), length=length)
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise _full() from error
            raise
        if blob is None:
            raise SignatureError(400, "IncompleteBody", "The body does not have the number of bytes announced")
        self.ledger.record_upload(key, blob.md5)
        if fault is Fault.FORGET_UPLOAD:
            await self.forget(key)
            await self.store.remove([blob.name])
        else:
            await self._keep(key, blob, request.headers.get("Content-Type"))
        return web.Response(headers={"ETag": f'"{blob.md5}"'})

    async def _keep(self, key: str, blob: Blob, content_type: str | None) -> None:
        granted = self.state.objects.get(key)
        stored = StoredObject(
            key=key, created=self.clock().timestamp(), blob=blob, name="" if granted is None else granted.name
        )
        try:
            before = await self.state.put_object(evolve(stored, content_type=content_type) if content_type else stored)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self.store.remove([blob.name])
            raise
        if before is not None and before.blob is not None:
            await self.store.remove([before.blob.name])

    async def forget(self, key: str) -> None:
        """Drop an object, as after its time is over."""
        stored = self.state.objects.get(key)
        await self.state.forget(keys=[key])
        if stored is not None and stored.blob is not None:
            await self.store.remove([stored.blob.name])

    def _body(self, request: web.BaseRequest, length: int, fault: Fault | None) -> Callable[[], Awaitable[bytes]]:
        arrived = 0

        async def read() -> bytes:
            nonlocal arrived
            try:
                with anyio.fail_after(self.stall_s):
                    piece = await request.content.readany()
            except TimeoutError:
                raise SignatureError(
                    400, "RequestTimeout", "The socket connection to the server was idle for too long"
                ) from None
            arrived += len(piece)
            if fault is Fault.CUT_PUT and arrived * 2 >= length:
                raise CutError
            return piece

        return read

    async def _get(
        self, request: web.BaseRequest, key: str, fault: Fault | None, more: Mapping[str, str] = MappingProxyType({})
    ) -> web.StreamResponse:
        stored = self.state.objects.get(key)
        if stored is None or stored.blob is None:
            raise SignatureError(404, "NoSuchKey", "The specified key does not exist.")
        headers = _headers(stored, stored.blob) | dict(more)
        if (status := _precondition(request, headers["ETag"])) is not None:
            return web.Response(status=status, headers={"ETag": headers["ETag"]})
        span, status = _span(request, stored.blob, headers), 200
        if span is not None:
            headers["Content-Range"] = f"bytes {span.start}-{span.start + span.length - 1}/{stored.blob.size}"
            status = 206
        span = span or Span(0, stored.blob.size)
        headers["Content-Length"] = str(span.length)
        response = web.StreamResponse(status=status, headers=headers)
        if request.method == "HEAD":
            await response.prepare(request)
            return response
        try:
            return await self._send(request, response, stored.blob, span, fault)
        except FileNotFoundError:  # forgotten since we looked
            raise SignatureError(404, "NoSuchKey", "The specified key does not exist.") from None

    async def _send(
        self, request: web.BaseRequest, response: web.StreamResponse, blob: Blob, span: Span, fault: Fault | None
    ) -> web.StreamResponse:
        if span.length <= CHUNK_BYTES and fault is not Fault.CUT_GET:
            body = await self.store.read_small(blob.name, start=span.start, length=span.length)
            return web.Response(status=response.status, headers=response.headers, body=body)
        length = span.length // 2 if fault is Fault.CUT_GET else span.length
        async with aclosing(self.store.read(blob.name, start=span.start, length=length)) as chunks:
            async for chunk in chunks:
                if not response.prepared:
                    await response.prepare(request)
                await response.write(chunk)
        if fault is Fault.CUT_GET:
            await response.prepare(request)
            cut(request)
        return response


def _full() -> SignatureError:
    return SignatureError(507, "InsufficientStorage", "The disk of the local service has no room for this body")


def _check_put(request: web.BaseRequest, stored: StoredObject | None) -> int:
    length = request.content_length
    if length is None:
        raise SignatureError(411, "MissingContentLength", "You must provide the Content-Length HTTP header.")
    if length > MAX_BODY_BYTES:
        raise SignatureError(400, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size")
    if "aws-chunked" in request.headers.get("Content-Encoding", ""):
        raise SignatureError(501, "NotImplemented", "A body in signed chunks is not supported")
    if not request.headers.get("Content-Type", "").isascii():
        raise SignatureError(400, "InvalidArgument", "The Content-Type must be ASCII")
    if request.headers.get("If-None-Match") == "*" and stored is not None and stored.blob is not None:
        raise SignatureError(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
    return length


def _headers(stored: StoredObject, blob: Blob) -> dict[str, str]:
    return {
        "ETag": f'"{blob.md5}"',
        "Last-Modified": format_datetime(datetime.fromtimestamp(int(stored.created), UTC), usegmt=True),
        "Accept-Ranges": "bytes",
        "Content-Type": stored.content_type,
    }


def _precondition(request: web.BaseRequest, etag: str) -> int | None:
    wanted, known = request.headers.get("If-Match"), request.headers.get("If-None-Match")
    if wanted is not None and wanted != "*" and etag not in [tag.strip() for tag in wanted.split(",")]:
        return 412
    if known is not None and (known == "*" or etag in [tag.strip() for tag in known.split(",")]):
        return 304
    return None


def _span(request: web.BaseRequest, blob: Blob, headers: dict[str, str]) -> Span | None:
    condition = request.headers.get("If-Range")
    if condition is not None and condition not in {headers["ETag"], headers["Last-Modified"]}:
        return None
    try:
        return parse_range(request.headers.get("Range"), size=blob.size)
    except UnsatisfiableRangeError:
        raise SignatureError(416, "InvalidRange", "The requested range is not satisfiable") from None


def call_name(method: str) -> str:
    """Name a storage call, as fault rules and the ledger do."""
    return {"PUT": PUT, "HEAD": HEAD}.get(method, GET)
