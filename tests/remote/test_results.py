"""Results that are written elsewhere: whole, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFile, MemoryFileSystem
from s3fs.core import S3File

from facewarp_async.client import FaceSwapClient
from facewarp_async.errors import OutputError
from facewarp_async.models import ImageResult
from facewarp_async.remote import writing
from facewarp_async.urls import RemoteFile
from tests.remote.names import NAMES

if TYPE_CHECKING:
    from tests.remote.conftest import Bucket, Site

pytestmark = pytest.mark.anyio

Picture = Callable[..., bytes]
MB = 1024 * 1024


async def _made(client: FaceSwapClient, body: bytes, make: Callable[[bytes], RemoteFile]) -> ImageResult:
    """Return a result of these bytes."""
    asset = await client.upload(make(body))
    return ImageResult(task_id=1, key=asset.key, url=await client.access_url(asset.key))


@pytest.mark.parametrize("name", NAMES)
async def test_a_result_arrives_as_it_is(bucket: Bucket, client: FaceSwapClient, picture: Picture, name: str) -> None:
    result = await _made(client, picture(size=1000), lambda body: bucket.put("in.png", body))
    assert await client.download(result, f"s3://bucket/out/{name}") == RemoteFile(f"s3://bucket/out/{name}")
    assert bucket.files("out") == {name: picture(size=1000)}


@pytest.mark.parametrize("size", [5 * MB, 5 * MB - 1, 17 * MB])
async def test_a_result_of_several_parts_arrives_as_it_is(
    bucket: Bucket, client: FaceSwapClient, picture: Picture, size: int
) -> None:
    result = await _made(client, picture(size=size), lambda body: bucket.put("in.png", body))
    await client.download(result, "s3://bucket/out.png")
    assert bucket.files()["out.png"] == picture(size=size)


async def test_a_result_replaces_what_is_there(bucket: Bucket, client: FaceSwapClient, picture: Picture) -> None:
    bucket.put("out.png", picture("old", 20 * MB))
    result = await _made(client, picture("new"), lambda body: bucket.put("in.png", body))
    await client.download(result, "s3://bucket/out.png")
    assert bucket.files()["out.png"] == picture("new")


async def test_in_a_store_that_shows_what_is_written_it_goes_by_another_name_until_it_is_whole(
    memory: RemoteFile, bucket: Bucket, client: FaceSwapClient, picture: Picture
) -> None:
    result, seen = await _made(client, picture(size=9 * MB), lambda body: bucket.put("in.png", body)), set[str]()
    store = fsspec.filesystem("memory").store
    await client.download(result, "memory://out/[a]*.png", on_progress=lambda *_: seen.update(store))
    assert seen <= {"/out/[a]*.png.part"}
    assert {name: file.getvalue() for name, file in store.items()} == {"/out/[a]*.png": picture(size=9 * MB)}


def _lose_bytes(part: str) -> None:
    fsspec.filesystem("memory").store[part].truncate(4)


def _lose_it(part: str) -> None:
    fsspec.filesystem("memory").rm_file(part)


@pytest.mark.parametrize(
    ("lose", "told"), [(_lose_bytes, "has 4 bytes, of 1000 that were written"), (_lose_it, "cannot be looked at")]
)
async def test_what_such_a_store_does_not_keep_whole_is_never_shown(
    memory: RemoteFile, monkeypatch: pytest.MonkeyPatch, lose: Callable[[str], None], told: str
) -> None:
    close = MemoryFile.close

    def closing(file: MemoryFile) -> None:
        close(file)
        if file.path in file.fs.store:  # it is closed again when it is collected
            lose(file.path)

    file = memory.joined("out.png")
    begun = writing.RemoteWriting(file)
    begun.add([b"x" * 1000])
    await begun.settle()
    monkeypatch.setattr(MemoryFile, "close", closing)
    with pytest.raises(OutputError, match=told):
        await begun.commit()
    monkeypatch.setattr(writing, "GRACE_S", 20)
    await begun.abort()
    assert not fsspec.filesystem("memory").store


async def test_nothing_is_left_of_what_cannot_be_renamed(memory: RemoteFile, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object, **_options: object) -> None:
        raise PermissionError("not allowed")

    monkeypatch.setattr(MemoryFileSystem, "cp_file", refuse)
    monkeypatch.setattr(writing, "GRACE_S", 20)
    begun = writing.RemoteWriting(memory.joined("out.png"))
    begun.add([b"x" * 1000])
    with pytest.raises(OutputError, match="not allowed"):
        await begun.commit()
    await begun.abort()
    assert not fsspec.filesystem("memory").store


async def test_a_result_that_the_store_does_not_keep_whole_is_told(
    bucket: Bucket, client: FaceSwapClient, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = await _made(client, picture(size=1000), lambda body: bucket.put("in.png", body))
    close = S3File.close

    def lose(file: S3File) -> None:
        close(file)
        if file.mode == "wb":
            bucket.put("out.png", b"less")

    monkeypatch.setattr(S3File, "close", lose)
    with pytest.raises(OutputError, match=r"s3://bucket/out\.png: has 4 bytes, of 1000 that were written"):
        await client.download(result, "s3://bucket/out.png")


async def test_who_may_not_write_is_told_so(
    bucket: Bucket, client: FaceSwapClient, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = await _made(client, picture(size=1000), lambda body: bucket.put("in.png", body))
    monkeypatch.setitem(fsspec.config.conf, "s3", {**bucket.options, "secret": "another-secret-key"})
    with pytest.raises(OutputError, match=r"s3://bucket/out\.png: cannot be written: ") as caught:
        await client.download(result, "s3://bucket/out.png")
    assert caught.value.task_id == 1


async def test_the_web_is_not_written_to(site: Site, bucket: Bucket, client: FaceSwapClient, picture: Picture) -> None:
    result = await _made(client, picture(size=1000), lambda body: bucket.put("in.png", body))
    with pytest.raises(OutputError, match=r"/out\.png: cannot be written: http:// is only read"):
        await client.download(result, f"{site.url}/out.png")
