"""What makes transfers fast, each with the way in which it can go wrong."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import ssl
import stat
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import pytest
import trustme

from facewarp_async.config import Timeouts
from facewarp_async.errors import FileChangedError
from facewarp_async.files import inspect_now
from facewarp_async.policy.retry import RetryPolicy
from facewarp_async.transfer import Transfers, reading
from facewarp_async.transfer.buffers import Buffers, is_held
from facewarp_async.transfer.opening import open_now
from facewarp_async.transfer.threads import FileThreads
from facewarp_async.transfer.turns import FAIR_BYTES

MB = 1024 * 1024
PNG = b"\x89PNG\r\n\x1a\n"


def _uvloop() -> asyncio.AbstractEventLoop:
    module: Any = pytest.importorskip("uvloop")
    loop: asyncio.AbstractEventLoop = module.new_event_loop()
    return loop


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Iterator[Callable[[Any], Any]]:
    """Run a coroutine on each of the loops that users have."""
    with asyncio.Runner(loop_factory=_uvloop if request.param == "uvloop" else None) as runner:
        yield runner.run


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A file in which no two stretches are alike."""
    path = tmp_path / "large.png"
    path.write_bytes(PNG + os.urandom(12 * MB + 17))
    return path


class Hasher:
    """A storage that reads slowly, in odd pieces, and knows the hash of each body."""

    def __init__(self, pause_s: float) -> None:
        self.pause_s = pause_s
        self.url = ""
        self.heads: list[bytes] = []
        self.hashes: list[str] = []
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                left, arrived, pieces = (
                    int(head.lower().partition(b"content-length:")[2].split()[0]),
                    hashlib.sha256(),
                    0,
                )
                while left:
                    piece = await reader.read(min(left, 50_000))
                    if not piece:
                        return
                    arrived.update(piece)
                    left, pieces = left - len(piece), pieces + 1
                    if pieces % 40 == 0:
                        await asyncio.sleep(self.pause_s)
                self.hashes.append(arrived.hexdigest())
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


@asynccontextmanager
async def storage(*, tls: bool = False, pause_s: float = 0.002) -> AsyncIterator[tuple[Hasher, Transfers]]:
    """Run a storage, and transfers to it."""
    theirs: ssl.SSLContext | None = None
    ours: ssl.SSLContext | bool = True
    if tls:
        authority = trustme.CA()
        theirs, ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
        authority.issue_cert("127.0.0.1").configure_cert(theirs)
        authority.configure_trust(ours)
    hasher = Hasher(pause_s)
    server = await asyncio.start_server(hasher.serve, "127.0.0.1", 0, ssl=theirs)
    hasher.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}/x"
    async with AsyncExitStack() as stack:
        connector = aiohttp.TCPConnector(ssl=ours)
        http = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        transfers = Transfers(
            http, timeouts=Timeouts(stall_s=5), retry=RetryPolicy(attempts=1, first_s=0.01), allow_plain=True
        )
        stack.callback(transfers.close)
        yield hasher, transfers
    server.close()


def giving(url: str) -> Callable[[], Awaitable[str]]:
    async def give() -> str:
        return url

    return give


def hash_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.slow
@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_no_loop_and_no_transport_sends_what_was_read_later(run: Callable[[Any], Any], large: Path, tls: bool) -> None:
    """A buffer is used again only when nothing is sent from it any more; several uploads share them."""
    file, expected = inspect_now(large), hash_of(large)

    async def upload() -> list[str]:
        async with storage(tls=tls) as (hasher, transfers):
            await asyncio.gather(*(transfers.upload(file, giving(hasher.url)) for _ in range(3)))
            await transfers.upload(file, giving(hasher.url))
            return hasher.hashes

    assert run(upload()) == [expected] * 4


def test_a_buffer_that_something_looks_at_is_not_used_again() -> None:
    buffers = Buffers(1000)
    held = buffers.take()
    view = memoryview(held)[:10]
    assert is_held(held)
    buffers.give_back(held)
    other = buffers.take()
    assert other is not held
    buffers.give_back(other)
    assert buffers.take() is other
    view.release()
    assert (is_held(held), len(held)) == (False, 1000)


@pytest.mark.parametrize("code", [errno.EAGAIN, errno.EOPNOTSUPP], ids=["not in memory", "cannot tell"])
def test_a_file_that_is_not_in_memory_is_read_ahead_in_threads(
    run: Callable[[Any], Any], large: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    if not hasattr(os, "RWF_NOWAIT"):
        pytest.skip("there is nothing to refuse")
    preadv, asked = os.preadv, list[bool]()

    def refuse(descriptor: int, buffers: Any, offset: int, flags: int = 0) -> int:
        is_on_loop = threading.current_thread() is threading.main_thread()
        asked.append(is_on_loop)
        if flags:
            raise OSError(code, "not now")
        assert not is_on_loop
        return preadv(descriptor, buffers, offset)

    monkeypatch.setattr(os, "preadv", refuse)
    file, expected = inspect_now(large), hash_of(large)

    async def upload() -> list[str]:
        async with storage() as (hasher, transfers):
            await transfers.upload(file, giving(hasher.url))
            return hasher.hashes

    assert run(upload()) == [expected]
    if code == errno.EAGAIN:
        assert asked.count(True) <= asked.count(False) + 1, "once for each visit to a thread"
    else:
        assert asked.count(True) == 1, "once is enough to know"


def test_a_file_of_which_a_page_cannot_be_had_at_once_is_read_in_a_thread_for_that_only(
    run: Callable[[Any], Any], large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not hasattr(os, "RWF_NOWAIT"):
        pytest.skip("there is nothing to refuse")
    preadv, in_threads, refused = os.preadv, list[int](), list[int]()

    def refuse(descriptor: int, buffers: Any, offset: int, flags: int = 0) -> int:
        if flags and not refused and offset:
            refused.append(offset)
            raise OSError(errno.EAGAIN, "not now")
        if not flags:
            in_threads.append(offset)
        return preadv(descriptor, buffers, offset, flags)

    monkeypatch.setattr(os, "preadv", refuse)
    file, expected = inspect_now(large), hash_of(large)

    async def upload() -> list[str]:
        async with storage() as (hasher, transfers):
            await transfers.upload(file, giving(hasher.url))
            return hasher.hashes

    assert run(upload()) == [expected]
    assert in_threads == refused


@pytest.mark.parametrize("size", [1000, 3 * MB], ids=["small", "large"])
def test_where_the_system_cannot_tell_what_is_in_memory_files_are_read_in_threads(
    run: Callable[[Any], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(reading, "_NOWAIT", None)
    path = tmp_path / "a.png"
    path.write_bytes(PNG + os.urandom(size))
    file, expected = inspect_now(path), hash_of(path)

    async def upload() -> list[str]:
        async with storage() as (hasher, transfers):
            await transfers.upload(file, giving(hasher.url))
            os.utime(path, ns=(1, 1))
            with pytest.raises(FileChangedError):
                await transfers.upload(file, giving(hasher.url))
            return hasher.hashes

    assert run(upload()) == [expected]
    assert _open_files(path) == 0


def _open_files(path: Path) -> int:
    return sum(1 for link in Path("/proc/self/fd").iterdir() if os.path.realpath(link) == str(path))


@pytest.mark.parametrize("is_refused", [False, True], ids=["in memory", "to be read"])
def test_files_are_opened_in_a_thread_until_their_device_is_known_not_to_be_waited_for(
    run: Callable[[Any], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_refused: bool
) -> None:
    path, opened, open_usually = tmp_path / "a.png", list[int](), os.open
    path.write_bytes(PNG + os.urandom(1000))
    if (descriptor := open_now(path)) < 0:
        pytest.skip("this system cannot tell the way to a file that is in memory")
    assert not os.get_inheritable(descriptor)
    os.close(descriptor)
    assert open_now(tmp_path / "missing") == -1

    def noting(where: Any, flags: int, *more: Any, **named: Any) -> int:
        if where == path:
            opened.append(threading.get_ident())
        return open_usually(where, flags, *more, **named)

    file, expected = inspect_now(path), hash_of(path)
    monkeypatch.setattr(os, "open", noting)
    if is_refused:
        monkeypatch.setattr(reading, "open_now", lambda _path: -1)

    async def upload() -> list[str]:
        async with storage() as (hasher, transfers):
            for _ in range(3):
                await transfers.upload(file, giving(hasher.url))
            path.unlink()
            with pytest.raises(FileChangedError, match="can no longer be read"):
                await transfers.upload(file, giving(hasher.url))
            return hasher.hashes

    assert run(upload()) == [expected] * 3
    assert len(opened) == (4 if is_refused else 2), "the first one, and the one that is not there"
    assert threading.main_thread().ident not in opened
    assert _open_files(path) == 0


def test_a_body_has_a_length_and_no_type_and_leaves_after_its_head(run: Callable[[Any], Any], large: Path) -> None:
    file = inspect_now(large)

    async def upload() -> bytes:
        async with storage() as (hasher, transfers):
            await transfers.upload(file, giving(hasher.url))
            return hasher.heads[0].lower()

    head = run(upload())
    assert b"content-length: %d\r\n" % file.size in head
    assert b"transfer-encoding" not in head
    assert b"content-type" not in head


@pytest.mark.parametrize(
    ("uploads", "size"),
    [
        (1, 12 * MB),
        pytest.param(16, 12 * MB, marks=pytest.mark.slow),
        pytest.param(64, 200_000, marks=pytest.mark.slow),
    ],
)
def test_others_get_their_turn_while_a_connection_takes_all_at_once(
    run: Callable[[Any], Any], large: Path, monkeypatch: pytest.MonkeyPatch, uploads: int, size: int
) -> None:
    """`drain` does not wait where nothing is held back, and what never waits stops everything else.

    Many together send in a turn what one does, their first and their last bytes included; so do short ones.
    """
    os.truncate(large, size)
    file, turns, in_a_turn = inspect_now(large), 0, Counter[int]()

    class Taker(asyncio.Protocol):
        """Takes everything; an answer comes at the end."""

        def connection_made(self, transport: Any) -> None:
            self.transport, self.left = transport, -1

        def data_received(self, data: bytes) -> None:
            if self.left < 0:
                self.left, data = file.size, data.partition(b"\r\n\r\n")[2]
            self.left -= len(data)
            if not self.left:
                self.left = -1
                self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    def noting() -> Callable[[int, int], None]:
        before = 0

        def note(sent: int, _size: int) -> None:
            nonlocal before
            in_a_turn[turns] += sent - before
            before = sent

        return note

    async def upload() -> None:
        nonlocal turns
        # It never holds anything back, as a fast network does not.
        monkeypatch.setattr("aiohttp.base_protocol.BaseProtocol.writing_paused", False)
        server = await asyncio.get_running_loop().create_server(Taker, "127.0.0.1", 0)

        async def count_turns() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.ensure_future(count_turns())
        async with aiohttp.ClientSession() as http:
            transfers = Transfers(http, timeouts=Timeouts(), retry=RetryPolicy(attempts=1), allow_plain=True)
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x"
            await transfers.upload(file, giving(url))  # from here on it is known that the disk need not be waited for
            await asyncio.gather(*(transfers.upload(file, giving(url), on_progress=noting()) for _ in range(uploads)))
            transfers.close()
        counting.cancel()
        server.close()

    run(upload())
    # Who counts may come before one sender in its turn and after the next one. Short ones go besides who has the turn.
    assert max(in_a_turn.values()) <= (FAIR_BYTES if uploads == 1 else 2 * (FAIR_BYTES + 200_000))


def test_files_are_read_although_the_loops_own_threads_are_busy(run: Callable[[Any], Any], large: Path) -> None:
    """Names of hosts are looked up there, and whatever else the application does."""
    file, expected, let = inspect_now(large), hash_of(large), threading.Event()

    async def upload() -> list[str]:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))
        busy = loop.run_in_executor(None, let.wait)
        try:
            async with storage(pause_s=0) as (hasher, transfers):
                async with asyncio.timeout(5):
                    await transfers.upload(file, giving(hasher.url))
                return hasher.hashes
        finally:
            let.set()
            await busy

    assert run(upload()) == [expected]


@pytest.mark.parametrize("error", [None, OSError("the disk is gone")], ids=["done", "failed"])
def test_a_cancelled_reader_waits_for_the_thread_that_has_its_buffer(
    run: Callable[[Any], Any], error: OSError | None
) -> None:
    """Else the file's number, or the buffer, would be another upload's while the thread still reads into it."""
    let, begun = threading.Event(), threading.Event()
    told: list[dict[str, Any]] = []

    def work() -> str:
        begun.set()
        let.wait()
        if error is not None:
            raise error
        return "done"

    async def cancel() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context))
        threads = FileThreads()
        task = asyncio.ensure_future(threads.run(work))
        await asyncio.to_thread(begun.wait, 5)
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0.01)
        assert not task.done()
        let.set()
        await asyncio.wait([task])
        assert task.cancelled()
        threads.close()
        assert await threads.run(lambda: 1) == 1, "what is cleaned up after closing has threads too"

    run(cancel())
    assert told == [], "what fails after the cancellation is nobody's news"


def test_a_whole_transfer_and_the_wait_for_a_connection_have_no_limit(run: Callable[[Any], Any]) -> None:
    """aiohttp's own limit of 300 seconds ends large uploads, its `connect` counts the wait for a place in the pool."""

    async def look() -> aiohttp.ClientTimeout:
        async with aiohttp.ClientSession() as http:
            timeouts = Timeouts(connect_s=3, stall_s=7)
            transfers = Transfers(http, timeouts=timeouts, retry=RetryPolicy(), allow_plain=True)
            transfers.close()
            return transfers._http_timeout

    limits = run(look())
    assert (limits.total, limits.connect, limits.sock_connect, limits.sock_read) == (None, None, 3, 7)


def test_downloads_that_end_together_share_the_visit_to_their_folder(
    run: Callable[[Any], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is on the disk before it has its name, and the folder after that."""
    fsync, order, lock = os.fsync, list[str](), threading.Lock()
    let, synced = threading.Event(), threading.Event()

    def counted(descriptor: int) -> None:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        with lock:
            order.append("folder" if is_folder else "file")
            is_first_visit = is_folder and order.count("folder") == 1
        if order.count("file") == 8:
            synced.set()
        if is_first_visit:
            let.wait(5)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", counted)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
        writer.close()

    async def fetch() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x"

        async def source(_renew: bool) -> str:
            return url

        async with aiohttp.ClientSession() as http:
            transfers = Transfers(http, timeouts=Timeouts(), retry=RetryPolicy(attempts=1), allow_plain=True)
            targets = [tmp_path / f"{number}.png" for number in range(8)]
            fetching = [asyncio.ensure_future(transfers.download(source, target)) for target in targets]
            with anyio.fail_after(5):
                await asyncio.to_thread(synced.wait, 5)
                await asyncio.sleep(0.05)  # the others ask for their names
            let.set()
            assert await asyncio.gather(*fetching) == [5] * 8
            transfers.close()
        server.close()

    run(fetch())
    assert order.count("file") == 8
    assert order.count("folder") <= 3
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{number}.png" for number in range(8)]
