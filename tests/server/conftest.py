"""A service on a free port, and a plain HTTP client for it that knows nothing of the package's own."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import aiohttp
import pytest
from attrs import frozen
from yarl import URL

from facewarp_async.server import InstantRunner, LocalService

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4
MP4 = b"\x00\x00\x00\x20ftypisom" + bytes(range(256)) * 4


@frozen
class Reply:
    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> int:
        code: int = self.json["code"]
        return code

    @property
    def message(self) -> str:
        message: str = self.json["message"]
        return message

    @property
    def data(self) -> Any:
        return self.json["data"]

    @property
    def xml_code(self) -> str:
        return self.body.decode().partition("<Code>")[2].partition("</Code>")[0]


@frozen
class Harness:
    service: LocalService
    http: aiohttp.ClientSession

    @property
    def base(self) -> str:
        return self.service.provider.base_url

    @property
    def port(self) -> int:
        return int(self.base.rpartition(":")[2])

    async def request(self, method: str, url: str, **options: Any) -> Reply:
        target = URL(url if "://" in url else self.base + url, encoded=True)
        async with self.http.request(method, target, allow_redirects=False, **options) as response:
            return Reply(response.status, response.headers, await response.read())

    async def call(self, path: str, body: Any = None, *, token: str | None = None) -> Reply:
        headers = {"Authorization": f"Bearer {token or self.service.auth.key}"}
        if body is None:
            return await self.request("GET", path, headers=headers)
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.request("POST", path, data=data, headers=headers)

    async def grant(self, name: str = "a.png") -> tuple[str, str]:
        reply = await self.call("/v1/source/upload-url", {"file_name": name})
        assert reply.code == 200, reply
        return reply.data["key"], reply.data["upload_url"]

    async def upload(self, body: bytes = PNG, name: str = "a.png") -> str:
        key, url = await self.grant(name)
        reply = await self.request("PUT", url, data=io.BytesIO(body))
        assert reply.status == 200, reply
        return key

    async def access(self, key: str) -> str:
        url: str = (await self.call("/v1/source/access-url", {"key": key})).data["url"]
        return url

    async def detail(self, task_id: int) -> Reply:
        return await self.call(f"/v1/task/detail?id={task_id}")

    async def create(self, path: str, **body: Any) -> int:
        reply = await self.call(path, body)
        assert reply.code == 200, reply
        task_id: int = reply.data["task_id"]
        return task_id

    async def swap(self, media: bytes = PNG, face: bytes = PNG + b"face") -> int:
        return await self.create(
            "/v1/task/face-swap", main_key=await self.upload(media), target_key=await self.upload(face)
        )

    async def finish(self, task_id: int) -> Any:
        """Wait for a task's end and return its additional_data."""
        await self.service.settled()
        reply = await self.detail(task_id)
        assert reply.code == 200, reply
        assert reply.data["status"] == 0, reply
        return reply.data["additional_data"]

    async def raw(self, request: bytes, *, until: bytes = b"") -> bytes:
        """Send bytes over a connection of their own; return what comes back until its end, or until some bytes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(request)
            await writer.drain()
            async with asyncio.timeout(5):
                return await (reader.readuntil(until) if until else reader.read())
        finally:
            writer.close()
            await writer.wait_closed()

    async def raw_put(self, url: str, body: bytes) -> bytes:
        """Send an upload over a connection of its own, once: aiohttp would repeat a PUT that was cut, unseen."""
        head = f"PUT {url.removeprefix(self.base)} HTTP/1.1\r\nHost: {self.base.removeprefix('http://')}\r\n"
        return await self.raw(head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)


Serve = Callable[..., AbstractAsyncContextManager[Harness]]


@asynccontextmanager
async def _serve(**options: Any) -> AsyncIterator[Harness]:
    options.setdefault("runner", InstantRunner())
    connector = aiohttp.TCPConnector(limit=0)
    bare = aiohttp.DummyCookieJar()  # cookies are sent where a test sends them, and nowhere else
    async with (
        LocalService(**options) as service,
        aiohttp.ClientSession(connector=connector, cookie_jar=bare, timeout=aiohttp.ClientTimeout(total=20)) as http,
    ):
        yield Harness(service, http)


@pytest.fixture
def serve() -> Serve:
    """Start a service with options; without a runner among them it swaps nothing, at once."""
    return _serve


@pytest.fixture
async def harness() -> AsyncIterator[Harness]:
    """A service without limits that swaps nothing, at once."""
    async with _serve() as harness:
        yield harness


@pytest.fixture
def png() -> bytes:
    """A body that begins as a PNG does."""
    return PNG


@pytest.fixture
def mp4() -> bytes:
    """A body that begins as an MP4 does."""
    return MP4
