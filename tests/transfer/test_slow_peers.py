"""Storages that take their time or stand still, and transfers that are cancelled meanwhile."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import pytest

from facewarp_async.config import Timeouts
from facewarp_async.errors import IncompleteTransferError, RequestTimeoutError
from facewarp_async.files import inspect_now
from facewarp_async.transfer import Transfers
from tests.transfer.storages import MB, ONCE, files_in, giving, open_files, part_of

pytestmark = pytest.mark.anyio

MakeFile = Callable[..., Path]
StartPeer = Callable[..., AbstractAsyncContextManager[Any]]


class SlowReader:
    """A server with small buffers, that reads what it is told to."""

    def __init__(self, pause_s: float | None) -> None:
        self.pause_s = pause_s
        self.url = ""
        self.closed = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        left = int(head.lower().partition(b"content-length:")[2].split()[0])
        try:
            while left:
                await asyncio.sleep(3600 if self.pause_s is None else self.pause_s)
                left -= len(await reader.read(16 * 1024))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
        finally:
            writer.close()
            self.closed.set()


@pytest.fixture
async def small_buffers() -> AsyncIterator[aiohttp.ClientSession]:
    """A session whose sockets buffer little, so that a slow peer is felt at once."""

    def make(address: Any) -> socket.socket:
        made = socket.socket(address[0], address[1], address[2])
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16 * 1024)
        return made

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(socket_factory=make)) as session:
        yield session


@pytest.fixture
async def start_slow_reader() -> AsyncIterator[Callable[[float | None], Awaitable[SlowReader]]]:
    servers: list[tuple[asyncio.Server, set[asyncio.Task[None]]]] = []

    async def start(pause_s: float | None) -> SlowReader:
        slow, tasks = SlowReader(pause_s), set[asyncio.Task[None]]()
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
        listening.bind(("127.0.0.1", 0))
        slow.url = f"http://127.0.0.1:{listening.getsockname()[1]}/x"

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            tasks.add(asyncio.ensure_future(slow.serve(reader, writer)))

        servers.append((await asyncio.start_server(connected, sock=listening, limit=16 * 1024), tasks))
        return slow

    yield start
    for server, tasks in servers:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_peer_that_takes_no_byte_ends_an_upload(
    start_slow_reader: Callable[[float | None], Awaitable[SlowReader]],
    small_buffers: aiohttp.ClientSession,
    connect: Callable[..., Transfers],
    make_file: MakeFile,
) -> None:
    slow = await start_slow_reader(None)
    transfers = connect(http=small_buffers, timeouts=Timeouts(stall_s=0.1), retry=ONCE)
    with pytest.raises(IncompleteTransferError, match=r"no byte was taken for 0\.1 s"), anyio.fail_after(2):
        await transfers.upload(inspect_now(make_file(size=2 * MB)), giving(slow.url))


@pytest.mark.slow
async def test_a_peer_that_takes_its_time_ends_no_upload(
    start_slow_reader: Callable[[float | None], Awaitable[SlowReader]],
    small_buffers: aiohttp.ClientSession,
    connect: Callable[..., Transfers],
    make_file: MakeFile,
) -> None:
    """A chunk takes longer than a stall may, but bytes move all the time."""
    slow = await start_slow_reader(0.005)
    transfers = connect(http=small_buffers, timeouts=Timeouts(stall_s=0.15), retry=ONCE)
    begun = asyncio.get_running_loop().time()
    await transfers.upload(inspect_now(make_file(size=MB)), giving(slow.url))
    assert asyncio.get_running_loop().time() - begun > 0.2


async def test_an_answer_that_does_not_come_after_the_body_is_a_time_out(
    start_peer: StartPeer, connect: Callable[..., Transfers], make_file: MakeFile
) -> None:
    async def answer(_request: Any, _writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with start_peer(answer) as peer:
        transfers = connect(timeouts=Timeouts(stall_s=0.1), retry=ONCE)
        with pytest.raises(RequestTimeoutError, match=r"for 0\.1 s"):
            await transfers.upload(inspect_now(make_file()), giving(peer.url + "/x"))


async def test_a_cancelled_upload_closes_its_file_and_its_connection(
    start_slow_reader: Callable[[float | None], Awaitable[SlowReader]],
    connect: Callable[..., Transfers],
    make_file: MakeFile,
) -> None:
    slow, path, begun = await start_slow_reader(0.01), make_file(size=64 * MB), asyncio.Event()
    async with anyio.create_task_group() as group:

        async def upload() -> None:
            await connect().upload(inspect_now(path), giving(slow.url), on_progress=lambda *_: begun.set())

        group.start_soon(upload)
        await begun.wait()
        assert open_files(path) == 1
        group.cancel_scope.cancel()
    assert open_files(path) == 0


@pytest.mark.slow
async def test_a_download_that_trickles_ends_in_time(
    start_peer: StartPeer, connect: Callable[..., Transfers], tmp_path: Path
) -> None:
    """A byte now and then is no progress."""

    async def answer(_request: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(peer.reply(b"x", length=10_000))
        while True:
            writer.write(b"x")
            await writer.drain()
            await anyio.sleep(0.02)

    async with start_peer(answer) as peer:
        transfers = connect(timeouts=Timeouts(stall_s=0.15), retry=ONCE)
        with pytest.raises(IncompleteTransferError), anyio.fail_after(2):
            await transfers.download(giving(peer.url + "/x"), tmp_path / "out.png")


@pytest.mark.parametrize("when", ["while bytes come", "before the answer"])
async def test_a_cancelled_download_leaves_no_part(
    start_peer: StartPeer, connect: Callable[..., Transfers], tmp_path: Path, when: str
) -> None:
    asked = asyncio.Event()

    async def answer(_request: Any, writer: asyncio.StreamWriter) -> None:
        if when == "while bytes come":
            writer.write(peer.reply(bytes(2 * MB), length=4 * MB))
            await writer.drain()
        else:
            asked.set()
        await asyncio.Event().wait()

    async with start_peer(answer) as peer, anyio.create_task_group() as group:

        async def download() -> None:
            url, target = giving(peer.url + "/x"), tmp_path / "out.png"
            await connect().download(url, target, on_progress=lambda *_: asked.set())

        group.start_soon(download)
        with anyio.fail_after(5):
            await asked.wait()
        assert part_of(tmp_path / "out.png").exists() is (when == "while bytes come")
        group.cancel_scope.cancel()
    assert files_in(tmp_path) == []


async def test_a_download_that_stands_still_is_a_time_out(
    start_peer: StartPeer, connect: Callable[..., Transfers], tmp_path: Path
) -> None:
    async def answer(_request: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(peer.reply(b"begin", length=100))
        await asyncio.Event().wait()

    async with start_peer(answer) as peer:
        with pytest.raises(RequestTimeoutError, match=r"for 0\.1 s"), anyio.fail_after(2):
            await connect(timeouts=Timeouts(stall_s=0.1), retry=ONCE).download(
                giving(peer.url + "/x"), tmp_path / "out.png"
            )
