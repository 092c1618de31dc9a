"""Errors of the callbacks that are told of a transfer's progress."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from facewarp_async.files import inspect_now
from facewarp_async.transfer import Transfers
from tests.transfer.storages import MB, Range, files_in, giving

pytestmark = pytest.mark.anyio

MakeFile = Callable[..., Path]
StartPeer = Callable[..., AbstractAsyncContextManager[Any]]

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
            await connect().upload(inspect_now(make_file(size=size)), giving(peer.url + "/x"), on_progress=on_progress)
        assert caught.value is error
        assert len(peer.received) <= 1, "not sent again, neither by the package nor by aiohttp"


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
