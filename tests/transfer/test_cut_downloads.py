"""Downloads that are cut: they go on where they were, or begin again where that cannot be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import anyio
import pytest

from facewarp_async.errors import ConnectionLostError
from facewarp_async.policy.retry import RetryPolicy
from facewarp_async.transfer import Transfers
from tests.transfer.storages import BODY, ODD_TARGET, Range, files_in, giving, part_of

pytestmark = pytest.mark.anyio

StartPeer = Callable[..., AbstractAsyncContextManager[Any]]


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
