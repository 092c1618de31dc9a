"""The files that downloads become: there only when whole, one download at a time, on disks that are full or refuse."""

from __future__ import annotations

import asyncio
import resource
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import anyio
import pytest

from facewarp_async.errors import ConnectionLostError, DiskFullError, OutputError
from facewarp_async.transfer import Transfers
from tests.transfer.storages import BODY, MB, Range, files_in, giving, part_of

pytestmark = pytest.mark.anyio

MakeFile = Callable[..., Path]
StartPeer = Callable[..., AbstractAsyncContextManager[Any]]


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
