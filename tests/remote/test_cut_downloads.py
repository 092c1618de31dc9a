"""Downloads to elsewhere that are cut, cancelled or given up: what is left of them there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import anyio
import fsspec
import pytest
from s3fs.core import S3File

from facewarp_async.client import FaceSwapClient
from facewarp_async.errors import OutputError, StorageError
from facewarp_async.models import ImageResult
from facewarp_async.remote import threads, writing
from facewarp_async.urls import RemoteFile
from tests.patience import seconds

if TYPE_CHECKING:
    from tests.conftest import Peer, Received
    from tests.remote.conftest import Bucket, Hanging

pytestmark = pytest.mark.anyio

Picture = Callable[..., bytes]
MB = 1024 * 1024


def _result(peer: Peer) -> ImageResult:
    return ImageResult(task_id=1, key="k.png", url=f"{peer.url}/k.png")


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
