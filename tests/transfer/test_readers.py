"""Both ways of reading a file that is being sent: at once where it is in memory, and in threads."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from facewarp_async.errors import FileChangedError
from facewarp_async.files import inspect
from facewarp_async.transfer import reading
from facewarp_async.transfer.reading import CACHED_BYTES, CHUNK_BYTES, CacheReader, Reader, Readers
from facewarp_async.transfer.threads import FileThreads
from tests.heads import PNG
from tests.transfer.storages import open_files

pytestmark = pytest.mark.anyio

Make = Callable[[int], Path]


@pytest.fixture
def refuse_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have nothing in memory."""
    if not hasattr(os, "RWF_NOWAIT"):
        pytest.skip("the system cannot tell what is in memory")
    preadv = os.preadv

    def refuse(descriptor: int, buffers: Any, offset: int, flags: int = 0) -> int:
        if flags:
            raise OSError(errno.EAGAIN, "not now")
        return preadv(descriptor, buffers, offset)

    monkeypatch.setattr(os, "preadv", refuse)


@pytest.fixture(params=["from memory", "ahead", "in threads"])
async def readers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Readers]:
    """Readers for a file that is in memory, for one that is not, and for systems that cannot tell."""
    if request.param == "in threads":
        monkeypatch.setattr(reading, "_NOWAIT", None)
    elif not hasattr(os, "RWF_NOWAIT"):
        pytest.skip("the system cannot tell what is in memory")
    elif request.param == "ahead":
        request.getfixturevalue("refuse_now")
    threads = FileThreads()
    yield Readers(threads)
    threads.close()


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Make a picture of so many bytes."""

    def make(size: int) -> Path:
        path = tmp_path / "a.png"
        path.write_bytes((PNG + os.urandom(size))[:size])
        return path

    return make


async def _next(reader: Reader) -> bytes:
    chunk = reader.read_now()
    return bytes(await reader.read() if chunk is None else chunk)


async def _read_all(reader: Reader) -> None:
    """Read on until something is raised."""
    while await _next(reader):
        pass


@pytest.mark.parametrize("size", [9, CACHED_BYTES, CACHED_BYTES + 1, CHUNK_BYTES, 2 * CHUNK_BYTES + 5])
async def test_a_file_is_read_to_its_end_and_closed_with_its_last_bytes(
    readers: Readers, make: Make, size: int
) -> None:
    path = make(size)
    reader = readers.open(await inspect(path))
    found = b""
    while len(found) < size:
        found += await _next(reader)
    assert found == path.read_bytes()
    assert open_files(path) == 0
    await reader.close()


async def test_what_was_read_ahead_is_given_though_the_file_is_gone_since(make: Make, refuse_now: None) -> None:
    threads = FileThreads()
    path = make(CHUNK_BYTES + 5)
    expected = path.read_bytes()
    reader = Readers(threads).open(await inspect(path))
    assert isinstance(reader, CacheReader)
    found = bytes(await reader.read())
    assert reader._ahead is not None
    await asyncio.wait([reader._ahead])
    path.unlink()
    assert found + bytes(await reader.read()) == expected
    assert reader._descriptor < 0, "it is not opened again"
    await reader.close()
    threads.close()


async def test_a_file_that_shrinks_is_told(readers: Readers, make: Make) -> None:
    path = make(4 * CHUNK_BYTES)
    reader = readers.open(await inspect(path))
    found = len(await _next(reader))
    os.truncate(path, found)
    with pytest.raises(FileChangedError, match=r"a\.png: (shrank|changed) while it was being sent"):
        await _read_all(reader)
    await reader.close()
    assert open_files(path) == 0


async def test_a_file_that_changes_is_told_before_its_last_bytes_are_given(readers: Readers, make: Make) -> None:
    path = make(1000)
    reader = readers.open(await inspect(path))
    os.utime(path, ns=(1, 1))
    with pytest.raises(FileChangedError, match=r"a\.png: changed while it was being sent"):
        await _next(reader)
    await reader.close()
    assert open_files(path) == 0


async def test_a_file_that_is_gone_is_told(readers: Readers, make: Make) -> None:
    path = make(1000)
    reader = readers.open(await inspect(path))
    path.unlink()
    with pytest.raises(FileChangedError, match=r"a\.png: can no longer be read: No such file"):
        await _next(reader)
    await reader.close()


async def test_a_file_may_be_closed_before_it_was_opened_and_before_its_end(readers: Readers, make: Make) -> None:
    path = make(4 * CHUNK_BYTES)
    await readers.open(await inspect(path)).close()
    reader = readers.open(await inspect(path))
    await _next(reader)
    assert open_files(path)
    await reader.close()
    assert open_files(path) == 0


async def test_a_disk_that_fails_is_told(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the loop, where nothing has to be waited for, as well as in a thread."""
    if not hasattr(os, "RWF_NOWAIT"):
        pytest.skip("the system cannot tell what is in memory")
    threads, preadv = FileThreads(), os.preadv
    for fails_now in (True, False):

        def fail(descriptor: int, buffers: Any, offset: int, flags: int = 0, fails_now: bool = fails_now) -> int:
            if bool(flags) is fails_now and offset:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            if flags:
                if not fails_now:
                    raise OSError(errno.EAGAIN, "not now")
                return preadv(descriptor, buffers, offset, flags)
            return preadv(descriptor, buffers, offset)

        monkeypatch.setattr(os, "preadv", fail)
        path = make(4 * CHUNK_BYTES)
        reader = Readers(threads).open(await inspect(path))
        with pytest.raises(FileChangedError, match=r"a\.png: can no longer be read: Input/output error"):
            await _read_all(reader)
        await reader.close()
        assert open_files(path) == 0
    threads.close()
