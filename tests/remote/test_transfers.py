"""Media streamed from elsewhere, and results to there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import fsspec
import pytest
from fsspec.implementations.memory import MemoryFile, MemoryFileSystem
from s3fs.core import S3File

from facewarp_async.client import FaceSwapClient
from facewarp_async.errors import FileChangedError, InputError, MissingFileError, OutputError, StorageError
from facewarp_async.models import ImageResult
from facewarp_async.remote import looking, threads, writing
from facewarp_async.server import LocalService
from facewarp_async.urls import RemoteFile
from tests.patience import seconds

if TYPE_CHECKING:
    from tests.conftest import Peer, Received
    from tests.remote.conftest import Bucket, Hanging, Site

pytestmark = pytest.mark.anyio

Picture = Callable[..., bytes]
MB = 1024 * 1024

NAMES = ["plain.png", "a b+c~d/é%2F%7E(1)'!*.png", "k=v&x#y?z.png", "顔/🙂 %.png", "a::b[0]*.png"]


async def _stored(local: LocalService, client: FaceSwapClient, media: RemoteFile, tmp_path: Path) -> bytes:
    """Upload a file and return what has arrived."""
    asset = await client.upload(media)
    result = ImageResult(task_id=1, key=asset.key, url=await client.access_url(asset.key))
    return (await client.download(result, tmp_path / "arrived")).read_bytes()


# There


@pytest.mark.parametrize("name", NAMES)
async def test_an_object_arrives_as_it_is(
    bucket: Bucket, local: LocalService, client: FaceSwapClient, picture: Picture, tmp_path: Path, name: str
) -> None:
    body = picture(size=1000)
    assert await _stored(local, client, bucket.put(name, body), tmp_path) == body


@pytest.mark.parametrize("size", [4 * MB, 4 * MB + 1, 13 * MB])
async def test_an_object_of_several_pieces_arrives_as_it_is(
    bucket: Bucket, local: LocalService, client: FaceSwapClient, picture: Picture, tmp_path: Path, size: int
) -> None:
    body = picture(size=size)
    assert await _stored(local, client, bucket.put("a.png", body), tmp_path) == body


@pytest.mark.parametrize("gives_parts", [True, False])
async def test_a_page_arrives_as_it_is_by_one_request_for_its_body(
    site: Site, local: LocalService, client: FaceSwapClient, picture: Picture, tmp_path: Path, gives_parts: bool
) -> None:
    """Also from a server that gives no parts, which would send all of it for each."""
    site.gives_parts = gives_parts
    body = picture(size=9 * MB)
    assert await _stored(local, client, site.put("/a.png", body), tmp_path) == body
    assert site.requests == ["HEAD /a.png", "GET /a.png", "GET /a.png", "HEAD /a.png"]  # looked at, sent, unchanged?


async def test_a_file_in_memory_arrives_as_it_is(
    memory: RemoteFile, local: LocalService, client: FaceSwapClient, picture: Picture, tmp_path: Path
) -> None:
    body, file = picture(size=5 * MB), memory.joined("in/a.png")
    fsspec.filesystem("memory").pipe_file("/in/a.png", body)
    assert await _stored(local, client, file, tmp_path) == body


def _after_first_read(monkeypatch: pytest.MonkeyPatch, spoil: Callable[[], Any]) -> None:
    """Have something done to a file when its first piece was read to be sent."""

    class Spoiling:
        def __init__(self, file: RemoteFile) -> None:
            self._source = looking.open_source(file)

        def read(self, offset: int, length: int) -> bytes:
            piece = self._source.read(offset, length)
            if not offset:
                spoil()
            return piece

        def close(self) -> None:
            self._source.close()

    monkeypatch.setattr("facewarp_async.remote.reading.open_source", Spoiling)


@pytest.mark.parametrize("size", [100, 9 * MB])
async def test_an_object_that_changes_as_it_is_sent_is_not_stored(
    bucket: Bucket,
    local: LocalService,
    client: FaceSwapClient,
    picture: Picture,
    monkeypatch: pytest.MonkeyPatch,
    size: int,
) -> None:
    """Though it keeps its length."""
    file = bucket.put("a.png", picture("a", size))
    _after_first_read(monkeypatch, lambda: bucket.put("a.png", picture("b", size)))
    with pytest.raises(FileChangedError, match=r"s3://bucket/a\.png: changed while it was being read"):
        await client.upload(file)
    assert not local.ledger.uploads


@pytest.mark.parametrize("left", [None, 5 * MB])
async def test_an_object_that_vanishes_or_shrinks_as_it_is_sent_is_not_stored(
    bucket: Bucket,
    local: LocalService,
    client: FaceSwapClient,
    picture: Picture,
    monkeypatch: pytest.MonkeyPatch,
    left: int | None,
) -> None:
    file = bucket.put("a.png", picture(size=20 * MB))

    def spoil() -> None:
        if left is None:
            bucket.remove("a.png")
        else:
            bucket.put("a.png", picture(size=left))

    _after_first_read(monkeypatch, spoil)
    with pytest.raises(InputError, match=r"s3://bucket/a\.png: (does not exist|shrank|cannot be read)"):
        await client.upload(file)
    assert not local.ledger.uploads


# And back


def _result(peer: Peer | None = None, url: str = "") -> ImageResult:
    return ImageResult(task_id=1, key="k.png", url=url or (peer.url if peer else "") + "/k.png")


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


async def test_what_is_written_anew_does_not_meet_what_was_given_up(
    memory: RemoteFile, client: FaceSwapClient, picture: Picture, start_peer: Any
) -> None:
    """The thread of the first may still be waiting for its store."""
    seen, store = set[str](), fsspec.filesystem("memory").store
    cut = Cut(picture(size=17 * MB), 12 * MB, etags=('"a"', '"b"'))
    async with start_peer(cut) as peer:
        await client.download(_result(peer), "memory://out/a.png", on_progress=lambda *_: seen.update(store))
    assert seen == {"/out/a.png.part", "/out/a.png.2.part"}
    assert {name: file.getvalue() for name, file in store.items()} == {"/out/a.png": cut.body}


class Cut:
    """Answers with a body, of which the first answer lacks the end."""

    def __init__(self, body: bytes, at: int, *, etags: tuple[str, str] = ('"a"', '"a"')) -> None:
        self.body, self.at, self.etags = body, at, etags
        self.ranges: list[str | None] = []

    async def __call__(self, request: Received, writer: asyncio.StreamWriter) -> bytes | None:
        span = request.headers.get("range")
        self.ranges.append(span)
        etag = self.etags[min(len(self.ranges), 2) - 1]
        start = int(span.removeprefix("bytes=").removesuffix("-")) if span and etag == self.etags[0] else 0
        status, part = (
            "206 Partial Content",
            f"Content-Range: bytes {start}-{len(self.body) - 1}/{len(self.body)}\r\n",
        )
        head = f"HTTP/1.1 {status if start else '200 OK'}\r\nETag: {etag}\r\n{part if start else ''}"
        head += f"Content-Length: {len(self.body) - start}\r\n\r\n"
        end = self.at if len(self.ranges) == 1 else len(self.body)
        writer.write(head.encode() + self.body[start:end])
        await writer.drain()
        if len(self.ranges) == 1:
            writer.close()
        return None


NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


def _noted(monkeypatch: pytest.MonkeyPatch, method: str) -> list[bool]:
    """Return a list that gets, each time when a method of this file's writer is called, whether it has parts.

    Of this file's alone: a writer whose store hung in an earlier test may still be about to end in its thread, and no
    other test writes it.
    """
    calls, original = list[bool](), getattr(S3File, method)

    def note(file: S3File) -> None:
        if file.path == "bucket/own.png":
            calls.append(file.mpu is not None)
        original(file)

    monkeypatch.setattr(S3File, method, note)
    return calls


async def test_after_a_cut_the_rest_is_written_to_the_same_object(
    bucket: Bucket, client: FaceSwapClient, picture: Picture, start_peer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = _noted(monkeypatch, "_initiate_upload")
    cut = Cut(picture(size=17 * MB), 12 * MB)
    async with start_peer(cut) as peer:
        await client.download(_result(peer), "s3://bucket/own.png")
    assert bucket.files()["own.png"] == cut.body
    assert len(cut.ranges) == 2
    assert cut.ranges[1] is not None
    assert begun == [False]


async def test_after_a_cut_another_result_is_written_anew(
    bucket: Bucket, client: FaceSwapClient, picture: Picture, start_peer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing is left of the first one's parts."""
    aborted = _noted(monkeypatch, "_abort_mpu")
    cut = Cut(picture(size=17 * MB), 12 * MB, etags=('"a"', '"b"'))
    async with start_peer(cut) as peer:
        await client.download(_result(peer), "s3://bucket/own.png")
    assert bucket.files()["own.png"] == cut.body
    assert aborted == [True]


@pytest.mark.parametrize("size", [1 * MB, 12 * MB])
async def test_a_download_that_fails_leaves_no_object_and_no_parts(
    bucket: Bucket,
    client: FaceSwapClient,
    picture: Picture,
    start_peer: Any,
    monkeypatch: pytest.MonkeyPatch,
    size: int,
) -> None:
    aborted = _noted(monkeypatch, "_abort_mpu")
    body, answers = picture(size=size), list[str]()

    async def answer(_request: Received, writer: asyncio.StreamWriter) -> bytes | None:
        answers.append("")
        if len(answers) > 1:
            return NOT_FOUND
        writer.write(f'HTTP/1.1 200 OK\r\nETag: "a"\r\nContent-Length: {size + 1}\r\n\r\n'.encode() + body)
        await writer.drain()
        writer.close()
        return None

    async with start_peer(answer) as peer:
        with pytest.raises(StorageError, match="404"):
            await client.download(_result(peer), "s3://bucket/own.png")
    assert bucket.files() == {}
    assert aborted == [size > 5 * MB]


async def test_a_cancelled_download_leaves_no_object(
    bucket: Bucket, client: FaceSwapClient, picture: Picture, start_peer: Any
) -> None:
    begun = anyio.Event()

    async def answer(_request: Received, writer: asyncio.StreamWriter) -> bytes | None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n" + picture(size=12 * MB))
        await anyio.sleep_forever()
        return None

    async with start_peer(answer) as peer, anyio.create_task_group() as group:

        async def download() -> None:
            await client.download(_result(peer), "s3://bucket/out.png", on_progress=lambda *_: begun.set())

        group.start_soon(download)
        await begun.wait()
        group.cancel_scope.cancel()
    assert bucket.files() == {}


@pytest.mark.parametrize("cancel", ["scope", "task"])
async def test_a_download_is_cancelled_within_a_second_though_the_store_hangs(
    hanging: Hanging, client: FaceSwapClient, picture: Picture, start_peer: Any, cancel: str
) -> None:
    async def answer(_request: Received, writer: asyncio.StreamWriter) -> bytes | None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n" + picture(size=30 * MB))
        await anyio.sleep_forever()
        return None

    async with start_peer(answer) as peer, anyio.create_task_group() as group:
        begun = 0.0

        async def download() -> None:
            await client.download(_result(peer), "s3://bucket/out.png")

        if cancel == "scope":
            group.start_soon(download)
            await hanging.asked.wait()
            begun = anyio.current_time()
            group.cancel_scope.cancel()
        else:
            task = asyncio.ensure_future(download())
            await hanging.asked.wait()
            begun = anyio.current_time()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
    assert anyio.current_time() - begun < seconds(1)


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


async def test_parts_that_cannot_be_taken_back_are_told_of(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_file: S3File) -> None:
        raise PermissionError("not allowed")

    monkeypatch.setattr(S3File, "_abort_mpu", refuse)
    monkeypatch.setattr(writing, "GRACE_S", 20)
    begun = writing.RemoteWriting(RemoteFile("s3://bucket/out.png"))
    begun.add([b"x" * 6 * MB])
    with caplog.at_level(logging.WARNING):
        await begun.abort()
    assert "s3://bucket/out.png: cannot be written: not allowed" in caplog.text
    assert "out.png" not in bucket.files()


async def test_what_is_missing_is_told_before_anything_is_sent(local: LocalService, client: FaceSwapClient) -> None:
    with pytest.raises(MissingFileError):
        await client.upload("memory://gone.png")
    assert not local.ledger.calls


async def test_a_store_that_takes_no_piece_is_given_up(
    hanging: Hanging, client: FaceSwapClient, picture: Picture, start_peer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The result is not: its task stays with the service."""
    monkeypatch.setattr(threads, "PIECE_S", 0.05)

    async def answer(_request: Received, _writer: asyncio.StreamWriter) -> bytes | None:
        return b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + picture(size=1000)

    async with start_peer(answer) as peer:
        with pytest.raises(OutputError, match=r"s3://bucket/out\.png: the store did not answer .*not written"):
            await client.download(_result(peer), "s3://bucket/out.png")
