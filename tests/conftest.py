"""What all tests share: the loop's backend, a guard against blocking it, a service, a bare server, a client, files."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from attrs import define
from blockbuster import BlockBuster, blockbuster_ctx
from hypothesis import HealthCheck, settings

from facewarp_async.client import FaceSwapClient
from facewarp_async.config import Credentials, Provider, Timeouts
from facewarp_async.policy.polling import FixedPolling
from facewarp_async.policy.retry import RetryPolicy
from facewarp_async.server import InstantRunner, LocalService
from tests.browsing import chromium, context, page
from tests.heads import MP4, PNG

__all__ = ["chromium", "context", "page"]

# What tests share with benchmarks. It comes last: what is tested is the package that is installed.
sys.path.append(str(Path(__file__).parents[1]))

# Whatever account whoever runs the tests works with: no test may reach it.
for name in [name for name in os.environ if name.startswith("FACEWARP_") and not name.startswith("FACEWARP_TEST_")]:
    del os.environ[name]

# A shell's background job has this one switched off, and so would the programs that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A machine with much to do is slow, and nothing is wrong with that.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def blockbuster() -> Iterator[BlockBuster]:
    """Fail a test in which the package blocks the event loop. What it has for tests may: a test waits for it."""
    with blockbuster_ctx("facewarp_async", excluded_modules=["facewarp_async.testing"]) as guard:
        for function in guard.functions.values():  # what measures coverage has locks and looks for files of its own
            function.can_block_in("coverage/collector.py", {"lock_data"})
            function.can_block_in("coverage/control.py", {"_should_trace"})
        yield guard


@define
class Received:
    """A request as it came over the wire."""

    head: bytes
    body: bytes
    connection: int

    @property
    def method(self) -> str:
        return self.head.split(b" ", 1)[0].decode()

    @property
    def target(self) -> str:
        return self.head.split(b" ", 2)[1].decode()

    @property
    def headers(self) -> dict[str, str]:
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}


class Peer:
    """A server on loopback that answers what a test tells it to, remembers every byte, and knows nothing of HTTP."""

    def __init__(self, answer: Answering) -> None:
        self._answer = answer
        self.received: list[Received] = []
        self.asked = asyncio.Event()
        self.connections = 0
        self.url = ""

    @staticmethod
    def reply(body: bytes = b"", *, status: str = "200 OK", headers: str = "", length: int | None = None) -> bytes:
        """Write an HTTP answer."""
        size = len(body) if length is None else length
        return f"HTTP/1.1 {status}\r\nContent-Length: {size}\r\n{headers}\r\n".encode() + body

    @classmethod
    def envelope(cls, data: Any = None, *, code: Any = 200, message: str = "", **options: Any) -> bytes:
        """Write an answer of the service's."""
        return cls.reply(json.dumps({"code": code, "message": message, "data": data}).encode(), **options)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        try:
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                request = Received(head, b"", number)
                self.received.append(request)
                self.asked.set()
                request.body = await self._body(reader, int(request.headers.get("content-length", 0)))
                answer = await self._answer(request, writer)
                if answer is not None:
                    writer.write(answer)
                    await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    @staticmethod
    async def _body(reader: asyncio.StreamReader, left: int) -> bytes:
        """Read a body, of which the end of a large one is thrown away."""
        kept = bytearray()
        while left:
            chunk = await reader.read(min(left, 1024 * 1024))
            if not chunk:
                raise ConnectionError
            left -= len(chunk)
            if len(kept) < 8 * 1024 * 1024:
                kept += chunk
        return bytes(kept)


Answering = Callable[[Received, asyncio.StreamWriter], Awaitable[bytes | None]]


@asynccontextmanager
async def _start_peer(answer: Answering) -> AsyncIterator[Peer]:
    peer = Peer(answer)
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(peer.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0, limit=4 * 1024 * 1024)
    peer.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield peer
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
def start_peer() -> Callable[[Answering], AbstractAsyncContextManager[Peer]]:
    """Start a server that answers each request with the bytes that a coroutine returns for it."""
    return _start_peer


QUICK = RetryPolicy(first_s=0.005, longest_s=0.02)


def _make_client(provider: Provider, credentials: Credentials, **options: Any) -> FaceSwapClient:
    options.setdefault("retry", QUICK)
    options.setdefault("poll_policy", FixedPolling(image_s=0.02, video_s=0.02, longest_s=0.05))
    options.setdefault("timeouts", Timeouts(connect_s=5, request_s=5, stall_s=5, image_task_s=20, video_task_s=20))
    return FaceSwapClient(provider, credentials, **options)


@pytest.fixture
def make_client() -> Callable[..., FaceSwapClient]:
    """Make a client that does not dawdle."""
    return _make_client


@pytest.fixture
async def local() -> AsyncIterator[LocalService]:
    """A service without limits that swaps nothing, at once. Faults are added to it as it runs."""
    async with LocalService(runner=InstantRunner()) as service:
        yield service


@pytest.fixture
async def client(local: LocalService) -> AsyncIterator[FaceSwapClient]:
    """A client of that service."""
    async with _make_client(local.provider, local.auth) as client:
        yield client


HEADS = {
    ".png": PNG,
    ".jpg": b"\xff\xd8\xff\xe0",
    ".gif": b"GIF89a",
    ".webp": b"RIFF\x00\x00\x00\x00WEBP",
    ".mp4": MP4,
}


@pytest.fixture
def make_file(tmp_path: Path) -> Callable[..., Path]:
    """Make a file whose first bytes suit its name; its content differs with its name."""

    def make(name: str = "a.png", *, size: int = 1000, salt: bytes | None = None) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        head = HEADS[path.suffix] + (name.encode() if salt is None else salt)
        path.write_bytes((head + bytes(range(256)) * (size // 256 + 1))[: max(size, len(head))])
        return path

    return make
