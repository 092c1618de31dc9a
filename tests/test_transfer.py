"""Files to and from presigned URLs, over real sockets: exact bytes on the wire, and every way that a transfer ends."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import resource
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import pytest
from attrs import evolve
from blockbuster import BlockBuster

from facewarp_async.client import FaceSwapClient
from facewarp_async.config import ApiKey, Provider, Timeouts
from facewarp_async.errors import (
    ConnectionLostError,
    DiskFullError,
    FileChangedError,
    IncompleteTransferError,
    OutputError,
    RequestTimeoutError,
    StorageError,
    UrlExpiredError,
)
from facewarp_async.files import MediaFile, inspect_now
from facewarp_async.models import ImageResult
from facewarp_async.policy.retry import RetryPolicy
from facewarp_async.server import GET, PUT, Fault, FaultRule, InstantRunner, LocalService
from facewarp_async.transfer import Transfers
from facewarp_async.transfer.reading import CHUNK_BYTES
from facewarp_async.wire.requests import ACCESS_URL_PATH, UPLOAD_URL_PATH

pytestmark = pytest.mark.anyio

MakeClient = Callable[..., FaceSwapClient]
MakeFile = Callable[..., Path]
StartPeer = Callable[..., AbstractAsyncContextManager[Any]]

ODD_TARGET = (
    "/bu%2Fck%7Eet/k%20+%C3%A9;a,b@c?X-Amz-Credential=ID%2F1%2Fs3&X-Amz-Expires=1&b=%7E~+%2B/:&a=&X-Amz-Signature=f0"
)
QUICK = RetryPolicy(first_s=0.005, longest_s=0.02)
ONCE = RetryPolicy(attempts=1)
LIMITS = Timeouts(connect_s=5, stall_s=5)
MB = 1024 * 1024


@pytest.fixture
async def connect(make_client: MakeClient) -> AsyncIterator[Callable[..., Transfers]]:
    """Make the transfers of a client, with the session that it would open for them."""
    clients: list[FaceSwapClient] = []

    def make(*, timeouts: Timeouts = LIMITS, retry: RetryPolicy = QUICK, http: Any = None) -> Transfers:
        provider = Provider("peer", "http://127.0.0.1:1")
        clients.append(make_client(provider, ApiKey("the-api-key"), http=http, timeouts=timeouts, retry=retry))
        return clients[-1]._connection.transfers

    yield make
    for client in clients:
        await client.aclose()


def giving(*urls: str) -> Callable[..., Awaitable[str]]:
    """Give these URLs one after the other, the last one for ever."""
    left = list(urls)

    async def give(_renew: bool = False) -> str:
        return left.pop(0) if len(left) > 1 else left[0]

    return give


def looked_at(path: Path) -> MediaFile:
    return inspect_now(path)


def files_in(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def part_of(target: Path) -> Path:
    return target.with_name(target.name + ".part")


# Uploads


async def test_a_put_is_what_a_presigned_url_needs_and_no_more(
    start_peer: StartPeer, connect: Callable[..., Transfers], make_file: MakeFile
) -> None:
    """The URL's own bytes, a Content-Length, no chunks, nothing of the API's, and the file's bytes."""

    async def answer(_request: Any, _writer: asyncio.StreamWriter) -> bytes:
        return bytes(peer.reply())

    file = make_file(size=3000)
    async with start_peer(answer) as peer:
        await connect().upload(looked_at(file), giving(peer.url + ODD_TARGET))
        (put,) = peer.received
    assert put.head.startswith(f"PUT {ODD_TARGET} HTTP/1.1\r\n".encode())
    assert put.headers["content-length"] == "3000"
    not_wanted = {"authorization", "cookie", "transfer-encoding", "expect", "content-encoding", "content-type"}
    assert not not_wanted & put.headers.keys()
    assert put.body == file.read_bytes()


async def test_nothing_of_a_session_of_the_callers_reaches_the_storage(
    start_peer: StartPeer, make_client: MakeClient, make_file: MakeFile, tmp_path: Path
) -> None:
    """Neither its Authorization, nor its other headers, nor its cookies; the API gets them all."""

    async def answer(request: Any, _writer: asyncio.StreamWriter) -> bytes:
        if request.method == "POST":
            url = peer.url + ODD_TARGET
            return bytes(peer.envelope({"upload_url": url, "key": "k", "url": url}, headers="Set-Cookie: a=1\r\n"))
        return bytes(peer.reply(b"x" * 10, headers="Set-Cookie: b=2\r\n"))

    async with start_peer(answer) as peer:
        peer.url = peer.url.replace("127.0.0.1", "localhost")  # of addresses, no cookies are kept
        async with (
            aiohttp.ClientSession(
                headers={"X-Mine": "1", "Authorization": "Basic mine"},
                cookies={"c": "3"},
                cookie_jar=aiohttp.CookieJar(unsafe=True),
            ) as http,
            make_client(
                Provider("peer", peer.url, requests_per_second=None), ApiKey("the-api-key"), http=http
            ) as client,
        ):
            await client.request_upload("a.png")
            await client.upload(make_file())
            result = ImageResult(task_id=1, key="k", url=peer.url + ODD_TARGET)
            await client.download(result, tmp_path / "out.png")
            api = [request for request in peer.received if request.method == "POST"]
            storage = [request for request in peer.received if request.method != "POST"]
    assert [request.method for request in storage] == ["PUT", "GET"]
    for request in storage:
        assert not {"authorization", "cookie", "x-mine"} & request.headers.keys()
        assert request.target == ODD_TARGET
    assert all(request.headers["authorization"] == "Bearer the-api-key" for request in api)
    assert "a=1" in api[-1].headers["cookie"]


async def test_redirects_of_the_storage_are_not_followed(
    start_peer: StartPeer, connect: Callable[..., Transfers], make_file: MakeFile, tmp_path: Path
) -> None:
    async def redirect(_request: Any, _writer: asyncio.StreamWriter) -> bytes:
        return bytes(peer.reply(status="307 Temporary Redirect", headers=f"Location: {elsewhere.url}/x\r\n"))

    async def answer(_request: Any, _writer: asyncio.StreamWriter) -> bytes:
        return bytes(elsewhere.reply(b"x"))

    async with start_peer(redirect) as peer, start_peer(answer) as elsewhere:
        transfers = connect()
        with pytest.raises(StorageError, match="HTTP 307"):
            await transfers.upload(looked_at(make_file()), giving(peer.url + "/x"))
        with pytest.raises(StorageError, match="HTTP 307"):
            await transfers.download(giving(peer.url + "/x"), tmp_path / "out.png")
        assert (len(peer.received), elsewhere.received) == (2, [])


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
async def test_a_large_file_is_streamed(
    start_peer: StartPeer, connect: Callable[..., Transfers], make_file: MakeFile
) -> None:
    """Memory grows by a few chunks, whatever the file's size; progress is told chunk by chunk."""

    async def answer(_request: Any, _writer: asyncio.StreamWriter) -> bytes:
        return bytes(peer.reply())

    size, told = 200 * MB + 1, list[int]()
    resident = [_resident_bytes()]

    async def watch() -> None:
        while True:
            resident.append(_resident_bytes())
            await anyio.sleep(0.005)

    file = make_file()
    os.truncate(file, size)
    async with start_peer(answer) as peer, anyio.create_task_group() as group:
        group.start_soon(watch)
        await connect().upload(
            looked_at(file), giving(peer.url + "/x"), on_progress=lambda sent, _total: told.append(sent)
        )
        group.cancel_scope.cancel()
    assert peer.received[0].headers["content-length"] == str(size)
    steps = [later - earlier for earlier, later in itertools.pairwise([0, *told])]
    assert told[-1] == size
    assert max(steps) <= CHUNK_BYTES
    assert max(resident) - resident[0] < 32 * MB


async def test_many_uploads_share_as_many_connections_as_there_are_workers(
    start_peer: StartPeer, connect: Callable[..., Transfers], make_file: MakeFile
) -> None:
    async def answer(_request: Any, _writer: asyncio.StreamWriter) -> bytes:
        return bytes(peer.reply(headers='ETag: "x"\r\n'))

    file = looked_at(make_file(size=200_000))
    async with start_peer(answer) as peer:
        transfers = connect()

        async def worker() -> None:
            for _ in range(15):
                await transfers.upload(file, giving(peer.url + "/x"))

        async with anyio.create_task_group() as group:
            for _ in range(4):
                group.start_soon(worker)
        assert (len(peer.received), peer.connections) == (60, 4)


async def test_an_upload_over_a_connection_that_was_closed_meanwhile_is_replayed_at_once(
    start_peer: StartPeer, connect: Callable[..., Transfers], make_file: MakeFile, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "facewarp_async")
    used: set[int] = set()

    async def answer(request: Any, writer: asyncio.StreamWriter) -> bytes | None:
        if request.connection in used:  # as a server does that closes an idle connection just now
            writer.transport.abort()
            return None
        used.add(request.connection)
        return bytes(peer.reply())

    file = make_file(size=200_000)
    async with start_peer(answer) as peer:
        transfers = connect()
        for _ in range(10):
            await transfers.upload(looked_at(file), giving(peer.url + "/x"))
        whole = [request for request in peer.received if request.body == file.read_bytes()]
    assert len(whole) >= 10
    assert not any("repeating" in record.message for record in caplog.records), "no delay, and no attempt used up"


async def test_a_lapsed_url_is_asked_for_anew(local: LocalService, client: FaceSwapClient, make_file: MakeFile) -> None:
    local.faults.add(FaultRule(Fault.EXPIRED_URL, PUT, nth=1))
    asset = await client.upload(make_file())
    assert local.ledger.calls[UPLOAD_URL_PATH] == 2
    assert local.ledger.uploads == {asset.key: 1}, "the asset is that of the second URL"


async def test_a_url_that_lapsed_by_the_clock_is_asked_for_anew(make_client: MakeClient, make_file: MakeFile) -> None:
    late = timedelta(0)

    async with LocalService(runner=InstantRunner(), clock=lambda: datetime.now(UTC) + late) as service:
        async with make_client(service.provider, service.auth) as client:
            grants = [await client.request_upload("a.png")]
            late = timedelta(seconds=1801)

            async def grant_url() -> str:
                if len(grants) == 1:
                    grants.append(await client.request_upload("a.png"))
                    return grants[0].url
                return grants[1].url

            await client._connection.transfers.upload(looked_at(make_file()), grant_url)
        assert service.ledger.refusals[PUT, 403] == 1
        assert service.ledger.uploads == {grants[1].key: 1}


async def test_a_url_that_is_always_refused_is_an_error_after_three(
    local: LocalService, client: FaceSwapClient, make_file: MakeFile
) -> None:
    local.faults.add(FaultRule(Fault.EXPIRED_URL, PUT))
    with pytest.raises(UrlExpiredError) as caught:
        await client.upload(make_file())
    assert (caught.value.storage_code, caught.value.http_status) == ("AccessDenied", 403)
    assert local.ledger.calls[PUT] == local.ledger.calls[UPLOAD_URL_PATH] == 3


@pytest.mark.parametrize("size", [1000, 3 * MB], ids=["small", "large"])
async def test_an_upload_that_was_cut_is_made_again(
    local: LocalService, client: FaceSwapClient, make_file: MakeFile, size: int
) -> None:
    local.faults.add(FaultRule(Fault.CUT_PUT, PUT, nth=[1, 2]))
    asset = await client.upload(make_file(size=size))
    assert local.ledger.uploads == {asset.key: 1}
    assert local.ledger.calls[PUT] == 3
    assert local.ledger.calls[UPLOAD_URL_PATH] == 1, "the URL still lives"


@pytest.mark.parametrize("size", [1000, 12 * MB], ids=["small", "large"])
async def test_an_upload_that_is_always_cut_is_a_lost_connection(
    local: LocalService, client: FaceSwapClient, make_file: MakeFile, size: int
) -> None:
    local.faults.add(FaultRule(Fault.CUT_PUT, PUT))
    with pytest.raises(ConnectionLostError):
        await client.upload(make_file(size=size))
    assert local.ledger.calls[PUT] >= 6


@pytest.mark.parametrize(
    ("status", "attempts"), [("503 Slow Down", 6), ("500 Oh", 6), ("429 Hm", 6), ("400 Bad", 1), ("411 Length", 1)]
)
async def test_what_the_storage_says_decides_whether_it_is_asked_again(
    start_peer: StartPeer, connect: Callable[..., Transfers], make_file: MakeFile, status: str, attempts: int
) -> None:
    """Its XML is read whole, though it comes in pieces."""

    async def answer(_request: Any, writer: asyncio.StreamWriter) -> bytes:
        body = b"<?xml version='1.0'?><Error><Code>Reason</Code><Message>Because.</Message></Error>"
        writer.write(peer.reply(body[:30], status=status, length=len(body)))
        await writer.drain()
        await anyio.sleep(0.005)
        return body[30:]

    async with start_peer(answer) as peer:
        with pytest.raises(StorageError, match=r"Reason: Because\.") as caught:
            await connect().upload(looked_at(make_file()), giving(peer.url + "/x"))
        assert len(peer.received) == attempts
    assert (caught.value.storage_code, caught.value.http_status) == ("Reason", int(status[:3]))


async def _change_after_the_first_chunk(
    peer: Any, transfers: Transfers, path: Path, change: Callable[[], object]
) -> None:
    changed = False

    def on_progress(_sent: int, _total: int) -> None:
        nonlocal changed
        if not changed:
            changed = True
            change()

    with anyio.fail_after(2):
        await transfers.upload(looked_at(path), giving(peer.url + "/x"), on_progress=on_progress)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda path: os.truncate(path, MB), "shrank"),
        (lambda path: os.truncate(path, 4 * MB), "changed"),
        (lambda path: os.utime(path, ns=(1, 1)), "changed"),
    ],
    ids=["shrinks", "grows", "changes"],
)
async def test_a_file_that_changes_while_it_is_sent_ends_its_upload_at_once(
    start_peer: StartPeer,
    connect: Callable[..., Transfers],
    make_file: MakeFile,
    change: Callable[[Path], None],
    said: str,
) -> None:
    async def answer(_request: Any, _writer: asyncio.StreamWriter) -> bytes:
        return bytes(peer.reply())

    path = make_file(size=3 * MB)
    async with start_peer(answer) as peer:
        with pytest.raises(FileChangedError, match=said):
            await _change_after_the_first_chunk(peer, connect(), path, lambda: change(path))
        with anyio.fail_after(2):
            await peer.asked.wait()  # what was sent was sent at once
        assert len(peer.received) == 1, "not repeated"
        assert peer.received[0].body == b"", "it never got the whole body"


async def test_a_file_that_is_removed_while_it_is_sent_arrives_whole(
    start_peer: StartPeer, connect: Callable[..., Transfers], make_file: MakeFile, blockbuster: BlockBuster
) -> None:
    blockbuster.deactivate()  # the callback that removes the file is the test's

    async def answer(_request: Any, _writer: asyncio.StreamWriter) -> bytes:
        return bytes(peer.reply())

    path = make_file(size=3 * MB)
    content = path.read_bytes()
    async with start_peer(answer) as peer:
        await _change_after_the_first_chunk(peer, connect(), path, path.unlink)
        assert peer.received[0].body == content


@pytest.mark.parametrize("replace", [False, True], ids=["removed", "replaced"])
async def test_a_file_that_is_not_the_one_looked_at_is_not_sent(
    start_peer: StartPeer, connect: Callable[..., Transfers], make_file: MakeFile, replace: bool
) -> None:
    async def answer(_request: Any, _writer: asyncio.StreamWriter) -> bytes:
        return bytes(peer.reply())

    path = make_file()
    seen = looked_at(path)
    if replace:
        make_file("other.png").replace(path)
    else:
        path.unlink()
    async with start_peer(answer) as peer:
        with pytest.raises(FileChangedError), anyio.fail_after(2):
            await connect().upload(seen, giving(peer.url + "/x"))


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
        await transfers.upload(looked_at(make_file(size=2 * MB)), giving(slow.url))


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
    await transfers.upload(looked_at(make_file(size=MB)), giving(slow.url))
    assert asyncio.get_running_loop().time() - begun > 0.2


async def test_an_answer_that_does_not_come_after_the_body_is_a_time_out(
    start_peer: StartPeer, connect: Callable[..., Transfers], make_file: MakeFile
) -> None:
    async def answer(_request: Any, _writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with start_peer(answer) as peer:
        transfers = connect(timeouts=Timeouts(stall_s=0.1), retry=ONCE)
        with pytest.raises(RequestTimeoutError, match=r"for 0\.1 s"):
            await transfers.upload(looked_at(make_file()), giving(peer.url + "/x"))


ERRORS = [ValueError("mine"), OSError(28, "mine"), TimeoutError("mine"), ConnectionResetError("mine")]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("size", [1000, 3 * MB], ids=["small", "large"])
async def test_an_error_of_an_uploads_progress_callback_is_raised_as_itself(
    start_peer: StartPeer, connect: Callable[..., Transfers], make_file: MakeFile, error: Exception, size: int
) -> None:
    async def answer(_request: Any, _writer: asyncio.StreamWriter) -> bytes:
        return bytes(peer.reply())

    def on_progress(_sent: int, _total: int) -> None:
        raise error

    async with start_peer(answer) as peer:
        with pytest.raises(type(error)) as caught:
            await connect().upload(looked_at(make_file(size=size)), giving(peer.url + "/x"), on_progress=on_progress)
        assert caught.value is error
        assert len(peer.received) <= 1, "not sent again, neither by the package nor by aiohttp"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "x",
        "/x",
        "//h/x",
        "ftp://h/x",
        "http://",
        "http://[",
        "http://h:99999/x",
        "http://h:0/x",
        "file:///etc/passwd",
    ],
)
async def test_a_url_that_is_none_is_a_typed_error(
    connect: Callable[..., Transfers], make_file: MakeFile, tmp_path: Path, url: str
) -> None:
    with pytest.raises(StorageError, match="presigned URL that is none"):
        await connect().upload(looked_at(make_file()), giving(url))
    with pytest.raises(StorageError, match="presigned URL that is none"):
        await connect().download(giving(url), tmp_path / "out.png")


async def test_a_url_cannot_smuggle_a_header(
    start_peer: StartPeer, connect: Callable[..., Transfers], make_file: MakeFile
) -> None:
    async def answer(_request: Any, _writer: asyncio.StreamWriter) -> bytes:
        return bytes(peer.reply())

    async with start_peer(answer) as peer:
        with suppress(StorageError, ConnectionLostError):
            await connect(retry=ONCE).upload(
                looked_at(make_file()), giving(peer.url + "/x?a=1 HTTP/1.1\r\nX-Bad: 1\r\n")
            )
        assert all("x-bad" not in request.headers for request in peer.received)


def _open_files(path: Path) -> int:
    links = Path("/proc/self/fd").iterdir()
    return sum(1 for link in links if link.is_symlink() and os.path.realpath(link) == str(path))


async def test_a_cancelled_upload_closes_its_file_and_its_connection(
    start_slow_reader: Callable[[float | None], Awaitable[SlowReader]],
    connect: Callable[..., Transfers],
    make_file: MakeFile,
) -> None:
    slow, path, begun = await start_slow_reader(0.01), make_file(size=64 * MB), asyncio.Event()
    async with anyio.create_task_group() as group:

        async def upload() -> None:
            await connect().upload(looked_at(path), giving(slow.url), on_progress=lambda *_: begun.set())

        group.start_soon(upload)
        await begun.wait()
        assert _open_files(path) == 1
        group.cancel_scope.cancel()
    assert _open_files(path) == 0


# Downloads


BODY = bytes(range(256)) * 40


class Range:
    """Serves `BODY` as a storage does, and cuts the first answers."""

    def __init__(self, *, cuts: int = 1, etag: str = '"one"', after: str | None = None) -> None:
        self.cuts = cuts
        self.etags = [etag, etag if after is None else after]
        self.body = BODY
        self.heeds_if_range = True

    async def __call__(self, request: Any, writer: asyncio.StreamWriter) -> bytes | None:
        etag = self.etags.pop(0) if len(self.etags) > 1 else self.etags[0]
        start = int(request.headers.get("range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        if self.heeds_if_range and request.headers.get("if-range", etag) != etag:
            start = 0
        rest = self.body[start:]
        head = f"ETag: {etag}\r\n" if etag else ""
        status = "200 OK"
        if start:
            status, head = (
                "206 Partial Content",
                head + f"Content-Range: bytes {start}-{len(self.body) - 1}/{len(self.body)}\r\n",
            )
        answer = f"HTTP/1.1 {status}\r\nContent-Length: {len(rest)}\r\n{head}\r\n".encode() + rest
        if self.cuts:
            self.cuts -= 1
            writer.write(answer[: len(answer) - len(rest) // 2])
            await writer.drain()
            await anyio.sleep(0.02)  # what the client has not read when it learns of the end is lost
            writer.close()
            return None
        return answer


async def test_a_download_goes_on_where_it_was_cut(
    start_peer: StartPeer, connect: Callable[..., Transfers], tmp_path: Path
) -> None:
    target, told = tmp_path / "deep" / "er" / "out.png", list[tuple[int, int]]()
    async with start_peer(Range()) as peer:
        length = await connect().download(
            giving(peer.url + ODD_TARGET), target, on_progress=lambda *step: told.append(step)
        )
        first, second = peer.received
    half = len(BODY) // 2
    assert (second.headers["range"], second.headers["if-range"]) == (f"bytes={half}-", '"one"')
    assert "range" not in first.headers
    for request in (first, second):
        assert request.target == ODD_TARGET
        assert request.headers["accept-encoding"] == "identity"
        assert not {"authorization", "cookie"} & request.headers.keys()
    assert (target.read_bytes(), length) == (BODY, len(BODY))
    assert told[-1] == (len(BODY), len(BODY))
    assert not part_of(target).exists()


@pytest.mark.parametrize("etag", ["", 'W/"weak"'], ids=["none", "weak"])
async def test_a_download_whose_beginning_cannot_be_told_begins_again(
    start_peer: StartPeer, connect: Callable[..., Transfers], tmp_path: Path, etag: str
) -> None:
    async with start_peer(Range(etag=etag)) as peer:
        await connect().download(giving(peer.url + "/x"), tmp_path / "out.png")
        assert all("range" not in request.headers for request in peer.received)
    assert (tmp_path / "out.png").read_bytes() == BODY


@pytest.mark.parametrize("heeds_if_range", [True, False])
async def test_a_download_of_a_file_that_changed_begins_again(
    start_peer: StartPeer, connect: Callable[..., Transfers], tmp_path: Path, heeds_if_range: bool
) -> None:
    """Whether the storage heeds If-Range, as S3 does, or sends the rest of another file, as some do."""
    storage = Range(after='"two"')
    storage.heeds_if_range = heeds_if_range
    storage.body = b"old" * 3000

    async def answer(request: Any, writer: asyncio.StreamWriter) -> bytes | None:
        if len(peer.received) == 2:
            storage.body = BODY
        return await storage(request, writer)

    async with start_peer(answer) as peer:
        await connect().download(giving(peer.url + "/x"), tmp_path / "out.png")
        assert len(peer.received) == (2 if heeds_if_range else 3)
    assert (tmp_path / "out.png").read_bytes() == BODY


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 416 Range Not Satisfiable\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 7-9/10240\r\nContent-Length: 3\r\n\r\nxyz",
        b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 5120-10239/*\r\nContent-Length: 3\r\n\r\nxyz",
        b"HTTP/1.1 206 Partial Content\r\nContent-Length: 3\r\n\r\nxyz",
        b"HTTP/1.1 200 OK\r\nContent-Range: bytes 7-9/10240\r\nContent-Length: 3\r\n\r\nxyz",
    ],
    ids=["416", "another range", "no total", "no range", "another range as a whole"],
)
async def test_a_download_begins_again_when_its_rest_cannot_be_had(
    start_peer: StartPeer, connect: Callable[..., Transfers], tmp_path: Path, answer: bytes
) -> None:
    storage = Range()

    async def serve(request: Any, writer: asyncio.StreamWriter) -> bytes | None:
        return answer if "range" in request.headers else await storage(request, writer)

    async with start_peer(serve) as peer:
        await connect().download(giving(peer.url + "/x"), tmp_path / "out.png")
        assert ["range" in request.headers for request in peer.received] == [False, True, False]
    assert (tmp_path / "out.png").read_bytes() == BODY


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_an_empty_result_is_no_result(
    framing: str, start_peer: StartPeer, connect: Callable[..., Transfers], tmp_path: Path
) -> None:
    """It is asked for again, and no file appears."""
    bodies = [b"", b"x"]

    async def answer(_request: Any, _writer: asyncio.StreamWriter) -> bytes:
        body = bodies.pop(0) if len(bodies) > 1 else bodies[0]
        if framing == "length":
            return peer.reply(body)  # type: ignore[no-any-return]  # the peer is any object here
        chunk = b"%x\r\n%s\r\n" % (len(body), body) if body else b""
        return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk + b"0\r\n\r\n"

    async with start_peer(answer) as peer:
        await connect().download(giving(peer.url + "/x"), tmp_path / "late.png")
        assert (tmp_path / "late.png").read_bytes() == b"x"
        bodies[:] = [b""]
        with pytest.raises(IncompleteTransferError, match=r"never\.png: the storage sent an empty file"):
            await connect().download(giving(peer.url + "/x"), tmp_path / "never.png")
    assert files_in(tmp_path) == [tmp_path / "late.png"]


async def test_a_result_that_comes_in_chunks_arrives_whole(
    start_peer: StartPeer, connect: Callable[..., Transfers], tmp_path: Path
) -> None:
    """However small they are: here more of them come than are written at once."""
    chunks = [BODY[at : at + 1 + at % 7] for at in range(1500)]

    async def answer(_request: Any, _writer: asyncio.StreamWriter) -> bytes:
        framed = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
        return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + framed + b"0\r\n\r\n"

    async with start_peer(answer) as peer:
        length = await connect().download(giving(peer.url + "/x"), tmp_path / "out.png")
    assert (tmp_path / "out.png").read_bytes() == b"".join(chunks)
    assert length == sum(map(len, chunks))


async def test_a_download_that_is_always_cut_too_early_leaves_nothing(
    start_peer: StartPeer, connect: Callable[..., Transfers], tmp_path: Path
) -> None:
    async def answer(_request: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(peer.reply(BODY, length=len(BODY) + 1))
        await writer.drain()
        await anyio.sleep(0.02)
        writer.close()

    async with start_peer(answer) as peer:
        with pytest.raises(ConnectionLostError):
            await connect().download(giving(peer.url + "/x"), tmp_path / "out.png")
        assert len(peer.received) == 6, "that it all came again each time is no progress"
    assert files_in(tmp_path) == []


async def test_a_download_that_gets_further_each_time_arrives_however_often_it_is_cut(
    start_peer: StartPeer, connect: Callable[..., Transfers], tmp_path: Path
) -> None:
    storage = Range(cuts=10)
    storage.body = BODY * 200
    async with start_peer(storage) as peer:
        await connect(retry=RetryPolicy(attempts=2, first_s=0.001)).download(giving(peer.url + "/x"), tmp_path / "o")
        assert len(peer.received) == 11
    assert (tmp_path / "o").read_bytes() == storage.body


async def test_a_lapsed_result_url_is_renewed_and_what_is_there_is_kept(
    local: LocalService, client: FaceSwapClient, make_file: MakeFile, tmp_path: Path
) -> None:
    media = make_file(size=3 * MB)
    result = await client.swap_image(media, make_file("face.png"))
    local.faults.add(FaultRule(Fault.CUT_GET, GET, nth=1))
    local.faults.add(FaultRule(Fault.EXPIRED_URL, GET, nth=1))
    told: list[int] = []
    await client.download(result, tmp_path / "out.png", on_progress=lambda done, _total: told.append(done))
    assert local.ledger.calls[ACCESS_URL_PATH] == 1
    assert local.ledger.calls[GET] == 3
    assert (tmp_path / "out.png").read_bytes() == media.read_bytes()
    assert told == sorted(told), "it never began again"


async def test_a_result_url_that_is_always_refused_is_an_error_after_three(
    local: LocalService, client: FaceSwapClient, make_file: MakeFile, tmp_path: Path
) -> None:
    result = await client.swap_image(make_file(), make_file("face.png"))
    local.faults.add(FaultRule(Fault.EXPIRED_URL, GET))
    with pytest.raises(UrlExpiredError) as caught:
        await client.download(result, tmp_path / "out" / "out.png")
    assert (local.ledger.calls[GET], local.ledger.calls[ACCESS_URL_PATH]) == (3, 2)
    assert caught.value.task_id == result.task_id
    assert list((tmp_path / "out").iterdir()) == []


async def test_a_result_that_was_deleted_is_a_storage_error(
    local: LocalService, client: FaceSwapClient, make_file: MakeFile, tmp_path: Path
) -> None:
    result = await client.swap_image(make_file(), make_file("face.png"))
    await local.forget(result.key)
    with pytest.raises(StorageError) as caught:
        await client.download(result, tmp_path / "out.png")
    assert (caught.value.storage_code, local.ledger.calls[GET]) == ("NoSuchKey", 1)


@pytest.mark.parametrize(("encoding", "taken"), [("gzip", False), ("aws-chunked", True), ("identity", True)])
async def test_an_encoded_result_is_refused(
    start_peer: StartPeer, connect: Callable[..., Transfers], tmp_path: Path, encoding: str, taken: bool
) -> None:
    async def answer(_request: Any, _writer: asyncio.StreamWriter) -> bytes:
        return bytes(peer.reply(BODY, headers=f"Content-Encoding: {encoding}\r\n"))

    async with start_peer(answer) as peer:
        if taken:
            await connect().download(giving(peer.url + "/x"), tmp_path / "out.png")
        else:
            with pytest.raises(StorageError, match="encoded"):
                await connect().download(giving(peer.url + "/x"), tmp_path / "out.png")
        assert len(peer.received) == 1
    assert [path.read_bytes() for path in files_in(tmp_path)] == ([BODY] if taken else [])


@pytest.mark.parametrize("head", ["", "Content-Length: 99999999999999\r\n"], ids=["unmeasured", "endless"])
async def test_a_result_of_no_sensible_length_is_refused(
    start_peer: StartPeer, connect: Callable[..., Transfers], tmp_path: Path, head: str
) -> None:
    async def answer(_request: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 200 OK\r\n{head}\r\n".encode() + BODY)
        await writer.drain()
        writer.close()

    async with start_peer(answer) as peer:
        with pytest.raises((StorageError, IncompleteTransferError), match="long"):
            await connect(retry=ONCE).download(giving(peer.url + "/x"), tmp_path / "out.png")
    assert files_in(tmp_path) == []


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


async def test_the_target_is_replaced_only_when_the_new_file_is_whole(
    start_peer: StartPeer, connect: Callable[..., Transfers], tmp_path: Path
) -> None:
    target, storage, seen = tmp_path / "out.png", Range(), list[bytes]()
    target.write_bytes(b"old")

    async def answer(request: Any, writer: asyncio.StreamWriter) -> bytes | None:
        seen.append(target.read_bytes())
        return await storage(request, writer)

    async with start_peer(answer) as peer:
        await connect().download(giving(peer.url + "/x"), target)
    assert seen == [b"old", b"old"]
    assert target.read_bytes() == BODY


async def test_a_failed_download_leaves_the_target_as_it_was(
    start_peer: StartPeer, connect: Callable[..., Transfers], tmp_path: Path
) -> None:
    target = tmp_path / "out.png"
    target.write_bytes(b"old")
    async with start_peer(Range(cuts=99, etag="")) as peer:
        with pytest.raises(ConnectionLostError):
            await connect().download(giving(peer.url + "/x"), target)
    assert (target.read_bytes(), files_in(tmp_path)) == (b"old", [target])


async def test_a_part_that_a_killed_process_left_is_written_over(
    start_peer: StartPeer, connect: Callable[..., Transfers], tmp_path: Path
) -> None:
    part_of(tmp_path / "out.png").write_bytes(b"left over" * 5000)
    async with start_peer(Range(cuts=0)) as peer:
        await connect().download(giving(peer.url + "/x"), tmp_path / "out.png")
        assert "range" not in peer.received[0].headers
    assert [path.read_bytes() for path in files_in(tmp_path)] == [BODY]


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


@pytest.mark.parametrize("make_target", [Path.mkdir, lambda path: part_of(path).mkdir()], ids=["target", "part"])
async def test_a_target_that_is_a_folder_is_an_output_error(
    start_peer: StartPeer, connect: Callable[..., Transfers], tmp_path: Path, make_target: Callable[[Path], None]
) -> None:
    target = tmp_path / "out.png"
    make_target(target)
    async with start_peer(Range(cuts=0)) as peer:
        with pytest.raises(OutputError, match=r"out\.png: cannot be written"):
            await connect().download(giving(peer.url + "/x"), target)
    assert len(files_in(tmp_path)) == 1


async def test_a_target_below_a_file_is_an_output_error_before_any_request(
    start_peer: StartPeer, connect: Callable[..., Transfers], make_file: MakeFile
) -> None:
    async with start_peer(Range(cuts=0)) as peer:
        with pytest.raises(OutputError, match="cannot be written"):
            await connect().download(giving(peer.url + "/x"), make_file() / "out.png")
        assert peer.received == []


async def test_two_downloads_never_write_one_target(
    start_peer: StartPeer, connect: Callable[..., Transfers], tmp_path: Path
) -> None:
    let, asked = asyncio.Event(), asyncio.Event()
    storage = Range(cuts=0)

    async def answer(request: Any, writer: asyncio.StreamWriter) -> bytes | None:
        asked.set()
        await let.wait()
        return await storage(request, writer)

    target = tmp_path / "out.png"
    async with start_peer(answer) as peer, anyio.create_task_group() as group:
        transfers, url = connect(), giving(peer.url + "/x")
        group.start_soon(transfers.download, url, target)
        await asked.wait()
        with pytest.raises(OutputError, match="another download"):
            await transfers.download(url, target)
        let.set()
    assert target.read_bytes() == BODY
    async with start_peer(storage) as peer:
        await transfers.download(giving(peer.url + "/x"), target)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
async def test_an_error_of_a_downloads_progress_callback_is_raised_as_itself(
    start_peer: StartPeer, connect: Callable[..., Transfers], tmp_path: Path, error: Exception
) -> None:
    def on_progress(_done: int, _total: int) -> None:
        raise error

    async with start_peer(Range(cuts=0)) as peer:
        with pytest.raises(type(error)) as caught:
            await connect().download(giving(peer.url + "/x"), tmp_path / "out.png", on_progress=on_progress)
        assert caught.value is error
        assert len(peer.received) == 1
    assert files_in(tmp_path) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root may mount a file system")
    yield folder
    subprocess.run(["umount", folder], check=True)


async def test_a_full_disk_is_told_as_such(
    start_peer: StartPeer, connect: Callable[..., Transfers], small_disk: Path
) -> None:
    async def answer(_request: Any, _writer: asyncio.StreamWriter) -> bytes:
        return bytes(peer.reply(bytes(4 * MB)))

    async with start_peer(answer) as peer:
        with pytest.raises(DiskFullError, match=rf"out\.png: cannot be written.*needs {4 * MB} bytes"):
            await connect().download(giving(peer.url + "/x"), small_disk / "out.png")
        assert len(peer.received) == 1
    assert files_in(small_disk) == []


async def test_a_file_that_grows_beyond_its_limit_is_an_output_error(
    start_peer: StartPeer, connect: Callable[..., Transfers], tmp_path: Path
) -> None:
    async def answer(_request: Any, _writer: asyncio.StreamWriter) -> bytes:
        return bytes(peer.reply(bytes(4 * MB)))

    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    async with start_peer(answer) as peer:
        transfers = connect()
        resource.setrlimit(resource.RLIMIT_FSIZE, (2 * MB, limits[1]))
        try:
            with pytest.raises(OutputError, match="File too large"):
                await transfers.download(giving(peer.url + "/x"), tmp_path / "out.png")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, handler)
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


async def test_plain_storage_is_refused_where_the_api_is_not_plain(
    local: LocalService, make_client: MakeClient, tmp_path: Path
) -> None:
    provider = evolve(local.provider, base_url="https://127.0.0.1:1")
    result = ImageResult(task_id=1, key="k", url=local.provider.base_url + "/x")
    async with make_client(provider, local.auth) as client:
        with pytest.raises(StorageError, match="plain http"):
            await client.download(result, tmp_path / "out.png")
    assert local.ledger.calls[GET] == 0
