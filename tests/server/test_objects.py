"""Bodies as files: whole, or not there at all."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

import anyio
import pytest

from facewarp_async.models import MediaType
from facewarp_async.server.objects import CHUNK_BYTES, ObjectStore

pytestmark = pytest.mark.anyio


def pieces(*given: bytes) -> Callable[[], Awaitable[bytes]]:
    rest = iter(given)

    async def read() -> bytes:
        return next(rest, b"")

    return read


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.fixture
async def store(tmp_path: Path) -> ObjectStore:
    return await ObjectStore.open(tmp_path, known=set(), keep_free_bytes=0)


@pytest.mark.parametrize("sizes", [[], [1], [8, 60], [CHUNK_BYTES], [CHUNK_BYTES, 1], [100_000] * 7])
async def test_a_body_is_stored_as_it_came(store: ObjectStore, sizes: Iterable[int]) -> None:
    """In whatever pieces it arrives, a body is stored whole, with its size, MD5 and type."""
    parts = [b"\x89PNG\r\n\x1a\n" + bytes(size) if not index else bytes(size) for index, size in enumerate(sizes)]
    body = b"".join(parts)
    blob = await store.receive(pieces(*parts), length=len(body))
    assert blob is not None
    assert (blob.size, blob.md5) == (len(body), hashlib.md5(body).hexdigest())
    assert blob.media_type is (MediaType.PNG if body else None)
    assert b"".join([chunk async for chunk in store.read(blob.name, start=0, length=blob.size)]) == body


@pytest.mark.parametrize("length", [CHUNK_BYTES, CHUNK_BYTES + 2])
async def test_a_body_of_another_length_is_refused(store: ObjectStore, tmp_path: Path, length: int) -> None:
    """A body that is shorter or longer than announced does not stay."""
    assert await store.receive(pieces(bytes(CHUNK_BYTES), b"x"), length=length) is None
    assert files(tmp_path) == []


async def test_a_cancelled_body_leaves_nothing(store: ObjectStore, tmp_path: Path) -> None:
    """Cancelled in the middle, a body does not stay."""
    first = pieces(bytes(CHUNK_BYTES))
    waiting = anyio.Event()

    async def read() -> bytes:
        if chunk := await first():
            return chunk
        waiting.set()
        await anyio.sleep_forever()
        return b""

    async def receive() -> None:
        await store.receive(read, length=CHUNK_BYTES * 2)

    async with anyio.create_task_group() as group:
        group.start_soon(receive)
        await waiting.wait()
        assert len(files(tmp_path)) == 1
        group.cancel_scope.cancel()
    assert files(tmp_path) == []


async def test_files_are_adopted_and_laid_out(store: ObjectStore, tmp_path: Path) -> None:
    """A file becomes a body, and bodies become files again, under any names; a missing one leaves no folder."""
    source = tmp_path / "made.gif"
    await anyio.Path(source).write_bytes(b"GIF89a...")
    [blob] = await store.adopt([source])
    assert (blob.size, blob.media_type) == (9, MediaType.GIF)
    folder = await store.lay_out([blob.name, blob.name], ["a.gif", "b.gif"])
    assert await anyio.Path(folder / "b.gif").read_bytes() == b"GIF89a..."
    await store.remove_folder(folder)
    await store.remove([blob.name])
    with pytest.raises(FileNotFoundError):
        await store.lay_out([blob.name], ["a.gif"])
    assert files(tmp_path) == []
    assert [path async for path in anyio.Path(tmp_path / "parts").iterdir()] == []
