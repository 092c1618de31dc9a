"""Uploads to presigned URLs, over real sockets: exact bytes on the wire, connections, and what is sent again."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import anyio
import pytest

from facewarp_async.client import FaceSwapClient
from facewarp_async.errors import ConnectionLostError, StorageError
from facewarp_async.files import inspect_now
from facewarp_async.server import PUT, Fault, FaultRule, LocalService
from facewarp_async.transfer import Transfers
from facewarp_async.transfer.reading import CHUNK_BYTES
from facewarp_async.wire.requests import UPLOAD_URL_PATH
from tests.transfer.storages import MB, ODD_TARGET, giving

pytestmark = pytest.mark.anyio

MakeFile = Callable[..., Path]
StartPeer = Callable[..., AbstractAsyncContextManager[Any]]


async def test_a_put_is_what_a_presigned_url_needs_and_no_more(
    start_peer: StartPeer, connect: Callable[..., Transfers], make_file: MakeFile
) -> None:
    """The URL's own bytes, a Content-Length, no chunks, nothing of the API's, and the file's bytes."""

    async def answer(_request: Any, _writer: asyncio.StreamWriter) -> bytes:
        return bytes(peer.reply())

    file = make_file(size=3000)
    async with start_peer(answer) as peer:
        await connect().upload(inspect_now(file), giving(peer.url + ODD_TARGET))
        (put,) = peer.received
    assert put.head.startswith(f"PUT {ODD_TARGET} HTTP/1.1\r\n".encode())
    assert put.headers["content-length"] == "3000"
    not_wanted = {"authorization", "cookie", "transfer-encoding", "expect", "content-encoding", "content-type"}
    assert not not_wanted & put.headers.keys()
    assert put.body == file.read_bytes()


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
            inspect_now(file), giving(peer.url + "/x"), on_progress=lambda sent, _total: told.append(sent)
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

    file = inspect_now(make_file(size=200_000))
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
            await transfers.upload(inspect_now(file), giving(peer.url + "/x"))
        whole = [request for request in peer.received if request.body == file.read_bytes()]
    assert len(whole) >= 10
    assert not any("repeating" in record.message for record in caplog.records), "no delay, and no attempt used up"


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
            await connect().upload(inspect_now(make_file()), giving(peer.url + "/x"))
        assert len(peer.received) == attempts
    assert (caught.value.storage_code, caught.value.http_status) == ("Reason", int(status[:3]))
