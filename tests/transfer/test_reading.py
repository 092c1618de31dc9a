"""Files are read for uploads without a wait for the disk on the loop, and in threads where there is one."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from facewarp_async.errors import FileChangedError
from facewarp_async.files import MediaFile, inspect_now
from facewarp_async.transfer import reading
from facewarp_async.transfer.buffers import Buffers, is_held
from facewarp_async.transfer.opening import open_now
from facewarp_async.transfer.threads import FileThreads
from tests.heads import PNG
from tests.transfer.storages import MB, giving, hash_of, open_files, storage


async def hashes_sent(file: MediaFile) -> list[str]:
    """Upload a file, and return the hash of each body that arrived."""
    async with storage() as (hasher, transfers):
        await transfers.upload(file, giving(hasher.url))
        return hasher.hashes


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
    assert run(hashes_sent(file)) == [expected]
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
    assert run(hashes_sent(file)) == [expected]
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
    assert open_files(path) == 0


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
    assert open_files(path) == 0


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
