"""A service that speaks the protocol over bare sockets and plays one fault, and the ways to use it."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import ssl
import struct
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import aiohttp
import pytest
import trustme
from attrs import Factory, define

from facewarp_async.client import FaceSwapClient
from facewarp_async.config import ClientCredentials, Provider

TOKEN = "tok-0123456789abcdef"
CLIENT_SECRET = "client-secret-0123456789"
SIGNATURE = "5ig0123456789abcdef"
SECRETS = (TOKEN, CLIENT_SECRET, SIGNATURE)
RESULT = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 3  # too little for a part of it to count as progress
ETAG = '"one"'

_PATHS = {
    "/v1/oauth/token": "token",
    "/v1/source/upload-url": "upload-url",
    "/v1/source/access-url": "access-url",
    "/v1/task/face-swap": "create",
    "/v1/task/detail": "detail",
}
_STORAGE = {"PUT": "put", "GET": "get"}
_PREVIOUS = {
    "upload-url": "token",
    "put": "upload-url",
    "create": "put",
    "detail": "create",
    "get": "detail",
    "access-url": "get",
}


@define
class Asked:
    """A request as it came."""

    call: str
    target: str
    head: str
    body: bytes = b""

    def header(self, name: str) -> str | None:
        """Return a header's value."""
        match = re.search(rf"^{name}:\s*(.*?)\r$", self.head, re.IGNORECASE | re.MULTILINE)
        return match[1] if match else None


@define(eq=False)
class Crooked:
    """A service that answers properly except where a fault is played.

    Attributes:
        url: Its base URL.
        plain_url: The same over plain http, where it has both.
        fault: What is done to the call `at`, in place of the proper answer; ``None`` from it: the proper answer.
        unread: Whether the fault comes before the request's body is read.
        times: How often the fault is played.
        refuses: The call that finds no listener.
        lapsed: Whether the result's first URL has lapsed.
        data: Changes the data of the call `at`.
        calls: How often each call came in.
        created: The tasks that were created.
        asked: All requests.
    """

    url: str = ""
    plain_url: str = ""
    at: str = ""
    fault: Callable[[Crooked, Asked, asyncio.StreamWriter], Awaitable[bytes | None]] | None = None
    unread: bool = False
    times: float = float("inf")
    refuses: str = ""
    lapsed: bool = False
    data: Callable[[Crooked, dict[str, Any]], Any] | None = None
    calls: Counter[str] = Factory(Counter)
    created: list[int] = Factory(list)
    asked: list[Asked] = Factory(list)
    secrets: tuple[str, ...] = SECRETS
    result_bytes: bytes = RESULT
    _stop_listening: Callable[[], None] = lambda: None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the one request of a connection."""
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.LimitOverrunError):
                await self._serve(reader, writer)
                writer.close()
                await writer.wait_closed()
        finally:
            writer.transport.abort()  # what the client does not read is not waited for

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        method, target, _ = head.split(" ", 2)
        asked = Asked(_PATHS.get(target.partition("?")[0]) or _STORAGE[method], target, head)
        self.calls[asked.call] += 1
        self.asked.append(asked)
        played = self.fault is not None and asked.call == self.at and self.calls[asked.call] <= self.times
        if not (played and self.unread):
            asked.body = await reader.readexactly(int(asked.header("Content-Length") or 0))
        answer: bytes | None = None
        if played:
            assert self.fault is not None
            answer = await self.fault(self, asked, writer)
            if writer.transport.is_closing():
                return
        if answer is None:
            answer = self.answer(asked)
        if _PREVIOUS.get(self.refuses) == asked.call:
            self._stop_listening()
        writer.write(answer)
        await writer.drain()

    def answer(self, asked: Asked) -> bytes:
        """Do what was asked, and answer properly."""
        if asked.call == "put":
            return self.reply(headers=f"ETag: {ETAG}\r\n")
        if asked.call == "get":
            return self.expired() if self.lapsed and "fresh" not in asked.target else self.result(asked)
        data = self.proper_data(asked.call)
        if self.data is not None and asked.call == self.at:
            data = self.data(self, data)
        return self.envelope(data)

    def result(self, asked: Asked) -> bytes:
        """Answer with the result, or the rest of it."""
        span = re.fullmatch(r"bytes=(\d+)-", asked.header("Range") or "")
        if span is None:
            return self.reply(RESULT, headers=f"ETag: {ETAG}\r\n")
        begin = int(span[1])
        extent = f"Content-Range: bytes {begin}-{len(RESULT) - 1}/{len(RESULT)}\r\n"
        return self.reply(RESULT[begin:], status="206 Partial Content", headers=f"ETag: {ETAG}\r\n{extent}")

    def proper_data(self, call: str) -> dict[str, Any]:
        """Do what was asked, and return the data of the answer."""
        if call == "token":
            return {"access_token": TOKEN, "expires_in": 3600}
        if call == "upload-url":
            return {"upload_url": self.signed("put/media.png"), "key": "temporary/media.png"}
        if call == "access-url":
            return {"url": self.signed("get/fresh.png")}
        if call == "create":
            self.created.append(len(self.created) + 41)
            return {"task_id": self.created[-1]}
        result = {"merge_key": "out/result.png", "merge_url": self.signed("get/result.png"), "size": len(RESULT)}
        return {"id": 41, "status": 0, "message": "", "additional_data": result}

    def signed(self, path: str, base: str | None = None) -> str:
        """Return a presigned URL."""
        return f"{base or self.url}/storage/{path}?X-Amz-Expires=1800&X-Amz-Signature={SIGNATURE}"

    @staticmethod
    def expired() -> bytes:
        """Answer that the URL has lapsed."""
        body = b"<Error><Code>AccessDenied</Code><Message>expired</Message></Error>"
        return Crooked.reply(body, status="403 Forbidden")

    @staticmethod
    def reply(body: bytes = b"", *, status: str = "200 OK", headers: str = "", length: int | None = None) -> bytes:
        """Write an HTTP answer, the last of its connection."""
        size = len(body) if length is None else length
        return f"HTTP/1.1 {status}\r\nContent-Length: {size}\r\nConnection: close\r\n{headers}\r\n".encode() + body

    @classmethod
    def envelope(cls, data: Any = None, *, code: Any = 200, message: str = "", **options: Any) -> bytes:
        """Write an answer of the service's."""
        return cls.reply(json.dumps({"code": code, "message": message, "data": data}).encode(), **options)

    @staticmethod
    def reset(writer: asyncio.StreamWriter) -> None:
        """Reset a connection."""
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async def hold(self) -> None:
        """Leave a connection open and silent, until the service ends."""
        await asyncio.Event().wait()

    async def drip(
        self, writer: asyncio.StreamWriter, piece: bytes, *, every_s: float = 0.01, times: int = 2000
    ) -> None:
        """Send a little now and then, for as long as anybody listens."""
        for _ in range(times):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(every_s)


@asynccontextmanager
async def _run(service: Crooked, context: ssl.SSLContext | None) -> AsyncIterator[Crooked]:
    tasks: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks[asyncio.ensure_future(service.serve(reader, writer))] = writer

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    service.url = service.plain_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    service._stop_listening = server.close
    secure = None
    if context is not None:
        secure = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
        service.url = f"https://localhost:{secure.sockets[0].getsockname()[1]}"
    if service.refuses == "token":
        server.close()
    try:
        yield service
    finally:
        server.close()
        if secure is not None:
            secure.close()
        await asyncio.sleep(0)  # for connections that were accepted this moment
        for task, writer in tasks.items():
            task.cancel()
            writer.transport.abort()  # also where the task never ran
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # so that the transports are closed


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """Issues the certificates of services over https."""
    return trustme.CA(key_type=trustme.KeyType.ECDSA)


@pytest.fixture
def run_crooked(authority: trustme.CA) -> Callable[..., AbstractAsyncContextManager[Crooked]]:
    """Start a service, over https if asked to; the options are its attributes."""

    def run(*, tls: bool = False, **options: Any) -> AbstractAsyncContextManager[Crooked]:
        service, context = Crooked(**options), None
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            authority.issue_cert("localhost").configure_cert(context)
        return _run(service, context)

    return run


@pytest.fixture
def make_client_of(
    authority: trustme.CA, make_client: Callable[..., FaceSwapClient]
) -> Callable[..., AbstractAsyncContextManager[FaceSwapClient]]:
    """Make a client of a service; for one over https with a session of the caller's own, which trusts it."""

    @asynccontextmanager
    async def make(service: Crooked, **options: Any) -> AsyncIterator[FaceSwapClient]:
        provider = Provider("crooked", service.url, requests_per_second=None)
        credentials = ClientCredentials("client-id", CLIENT_SECRET)
        async with AsyncExitStack() as stack:
            if service.url.startswith("https:"):
                context = ssl.create_default_context()
                authority.configure_trust(context)
                http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context))
                options["http"] = await stack.enter_async_context(http)
            yield await stack.enter_async_context(make_client(provider, credentials, **options))

    return make
