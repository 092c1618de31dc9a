"""What a storage sends for a result: taken whole, or refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from facewarp_async.client import FaceSwapClient
from facewarp_async.errors import IncompleteTransferError, StorageError
from facewarp_async.server import GET, LocalService
from facewarp_async.transfer import Transfers
from tests.transfer.storages import BODY, ONCE, files_in, giving

pytestmark = pytest.mark.anyio

MakeFile = Callable[..., Path]
StartPeer = Callable[..., AbstractAsyncContextManager[Any]]


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
