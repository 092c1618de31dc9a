"""What else makes transfers fast, each with the way in which it can go wrong."""

from __future__ import annotations

import asyncio
import os
import stat
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import pytest

from facewarp_async.config import Timeouts
from facewarp_async.files import inspect_now
from facewarp_async.policy.retry import RetryPolicy
from facewarp_async.transfer import Transfers
from facewarp_async.transfer.turns import FAIR_BYTES
from tests.transfer.storages import MB, giving, hash_of, storage


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
