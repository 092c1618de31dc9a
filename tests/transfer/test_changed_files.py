"""Files that change, go or are replaced around their upload."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import anyio
import pytest
from blockbuster import BlockBuster

from facewarp_async.errors import FileChangedError
from facewarp_async.files import inspect_now
from facewarp_async.transfer import Transfers
from tests.transfer.storages import MB, giving

pytestmark = pytest.mark.anyio

MakeFile = Callable[..., Path]
StartPeer = Callable[..., AbstractAsyncContextManager[Any]]


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
        await transfers.upload(inspect_now(path), giving(peer.url + "/x"), on_progress=on_progress)


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
    seen = inspect_now(path)
    if replace:
        make_file("other.png").replace(path)
    else:
        path.unlink()
    async with start_peer(answer) as peer:
        with pytest.raises(FileChangedError), anyio.fail_after(2):
            await connect().upload(seen, giving(peer.url + "/x"))
