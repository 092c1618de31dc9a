"""Looking at files that lie elsewhere."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import anyio
import fsspec
import fsspec.config
import pytest

from facewarp_async.client import FaceSwapClient
from facewarp_async.errors import (
    ConfigurationError,
    ConnectionLostError,
    EmptyFileError,
    FaceWarpError,
    InputError,
    MissingExtraError,
    MissingFileError,
    RequestTimeoutError,
    UnsupportedFormatError,
)
from facewarp_async.files import RemoteMedia, content_of, inspect, is_same_file
from facewarp_async.models import MediaType
from facewarp_async.remote import looking, threads
from facewarp_async.remote.looking import identify
from facewarp_async.remote.store import locate, reading
from facewarp_async.server import LocalService
from facewarp_async.urls import RemoteFile
from tests.patience import seconds

if TYPE_CHECKING:
    from tests.remote.conftest import Bucket, Hanging, Site

pytestmark = pytest.mark.anyio

Picture = Callable[..., bytes]

NAMES = ["plain.png", "a b+c~d/é%2F%7E(1)'!*.png", "k=v&x#y?z.png", "顔/🙂 %.png", "a::b[0]*.png", "two..dots/...png"]


async def _look(file: RemoteFile) -> RemoteMedia:
    media = await inspect(file)
    assert isinstance(media, RemoteMedia)
    return media


@pytest.mark.parametrize("name", NAMES)
async def test_an_object_is_told_by_its_first_bytes_whatever_it_is_called(
    bucket: Bucket, picture: Picture, name: str
) -> None:
    media = await _look(bucket.put(name, picture(size=100_000)))
    assert (media.media_type, media.size) == (MediaType.PNG, 100_000)


async def test_a_page_is_told_by_its_first_bytes(site: Site, picture: Picture) -> None:
    media = await _look(site.put("/a%20b.png", picture(size=3_000_000)))
    assert (media.media_type, media.size, media.sent_name) == (MediaType.PNG, 3_000_000, "a_b.png")


@pytest.mark.parametrize("spelt", ["a b.png", "a%20b.png"])
async def test_what_cannot_stand_in_a_url_is_encoded_on_its_way(site: Site, picture: Picture, spelt: str) -> None:
    site.put("/a%20b.png", picture())
    await _look(RemoteFile(f"{site.url}/{spelt}"))


@pytest.mark.parametrize(
    ("body", "error"), [(b"", EmptyFileError), (b"no picture", UnsupportedFormatError), (None, MissingFileError)]
)
async def test_a_file_that_cannot_be_used_is_told_with_its_url(
    bucket: Bucket, body: bytes | None, error: type[FaceWarpError]
) -> None:
    file = RemoteFile("s3://bucket/gone.png") if body is None else bucket.put("bad.png", body)
    with pytest.raises(error) as caught:
        await inspect(file)
    assert isinstance(caught.value, InputError)
    assert str(caught.value).startswith(f"{file}: ")


async def test_a_folder_is_no_file(bucket: Bucket, picture: Picture) -> None:
    bucket.put("in/a.png", picture())
    with pytest.raises(MissingFileError, match="is a folder"):
        await inspect(RemoteFile("s3://bucket/in"))


async def test_who_may_not_read_is_told_so(bucket: Bucket, picture: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    file = bucket.put("a.png", picture())
    monkeypatch.setitem(fsspec.config.conf, "s3", {**bucket.options, "secret": "another-secret-key"})
    with pytest.raises(MissingFileError, match=r"a\.png: (may not|cannot) be read: .*(Forbidden|403|Signature)"):
        await inspect(file)


@pytest.mark.parametrize(
    ("status", "error"),
    [(403, MissingFileError), (404, MissingFileError), (429, ConnectionLostError), (503, ConnectionLostError)],
)
async def test_a_refusal_shows_no_signature(site: Site, status: int, error: type[FaceWarpError]) -> None:
    """Only what another try may mend may be tried again."""
    site.status = status
    with pytest.raises(error) as caught:
        await inspect(RemoteFile(f"{site.url}/a.png?X-Amz-Signature=the-secret&sig=the-secret"))
    assert "the-secret" not in str(caught.value) + repr(caught.value.__cause__)
    assert "/a.png?***" in str(caught.value)


async def test_no_signature_that_a_driver_tells_of_is_shown() -> None:
    file = RemoteFile("https://h/a.png?sig=the-secret")
    with pytest.raises(FaceWarpError) as caught, reading(file):
        raise OSError(f"{file.url} is refused, and so are http://h/b.png?token=the-secret ftp://me:the-secret@h/b")
    assert "the-secret" not in str(caught.value)
    assert caught.value.__cause__ is None


async def test_a_store_that_is_not_there_is_told_as_such(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConnectionLostError, match=r"http://127\.0\.0\.1:1/x\.png: the store cannot be reached"):
        await inspect(RemoteFile("http://127.0.0.1:1/x.png"))


async def test_a_driver_that_is_not_installed_is_named(memory: RemoteFile) -> None:
    with pytest.raises(MissingExtraError, match=r"gs://b/x\.png: .* pip install gcsfs"):
        await inspect(RemoteFile("gs://b/x.png"))


async def test_a_scheme_that_nobody_knows_is_told(memory: RemoteFile) -> None:
    with pytest.raises(ConfigurationError, match="no file system is known for nonsense://"):
        await inspect(RemoteFile("nonsense://b/x.png"))


async def test_without_fsspec_the_extra_is_named(memory: RemoteFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec.registry", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'facewarp-async\[remote\]'"):
        await inspect(RemoteFile("s3://b/x.png"))


# What content is known by


async def test_an_object_is_known_by_its_mark_and_not_read_for_that(bucket: Bucket, picture: Picture) -> None:
    file = bucket.put("a.png", picture("a", 1000))
    first = await content_of(await _look(file))
    assert first.startswith(b"url:")  # no digest of a content can be taken for it
    assert await content_of(await _look(file)) == first
    bucket.put("a.png", picture("b", 1000))
    assert await content_of(await _look(file)) != first
    assert await content_of(await _look(bucket.put("c.png", picture("a", 1000)))) != first


@pytest.mark.parametrize("name", ["ETag", "LastModified"])
def test_an_object_is_the_same_whether_it_was_listed_or_asked_for(
    bucket: Bucket, picture: Picture, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where folders are listed at the same moment, drivers answer from the listing."""
    monkeypatch.setattr(looking, "_MARKS", () if name == "LastModified" else looking._MARKS)
    file = bucket.put("in/a.png", picture())
    place = locate(file)
    asked = identify(file)
    with monkeypatch.context() as patch:
        patch.setattr(place.fs, "invalidate_cache", lambda *_: None)
        place.fs.ls("bucket/in", refresh=True)
        assert identify(file) == asked
    assert asked.mark is not None
    assert asked.mark.startswith(f"{name}=")


async def test_a_page_without_a_mark_is_known_by_its_sha_256(site: Site, picture: Picture) -> None:
    site.marks = False
    one, other = [await _look(site.put(path, picture(size=9_000_000))) for path in ("/a.png", "/b.png")]
    assert await content_of(one) == await content_of(other)
    changed = await _look(site.put("/a.png", picture("b", 9_000_000)))
    assert await content_of(changed) != await content_of(other)


async def test_a_listing_that_was_cached_is_not_believed(bucket: Bucket, picture: Picture) -> None:
    file = bucket.put("in/a.png", picture("a"))
    filesystem = fsspec.filesystem("s3")
    await anyio.to_thread.run_sync(filesystem.ls, "bucket/in")
    bucket.put("in/a.png", picture("another"))
    assert (await _look(file)).size == len(picture("another"))


async def test_urls_of_one_object_are_the_same_file(bucket: Bucket) -> None:
    one = RemoteFile("s3://bucket/a.png")
    assert await is_same_file(one, RemoteFile("S3://bucket/a.png"))
    assert not await is_same_file(one, RemoteFile("s3://bucket/b.png"))
    assert not await is_same_file(one, bucket.folder / "a.png")


# A store that hangs


async def test_looking_is_cancelled_at_once_though_the_store_hangs(hanging: Hanging) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(inspect, RemoteFile("s3://bucket/a.png"))
        with anyio.fail_after(seconds(30)):
            await hanging.asked.wait()
        begun = anyio.current_time()
        group.cancel_scope.cancel()
    assert anyio.current_time() - begun < seconds(1)


async def test_a_store_that_hangs_is_given_up(hanging: Hanging, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "STALL_S", 0.05)
    with pytest.raises(RequestTimeoutError, match=r"s3://bucket/a\.png: the store did not answer"):
        await inspect(RemoteFile("s3://bucket/a.png"))


_LEFT_BEHIND = """
import anyio, sys
from facewarp_async.files import inspect
from facewarp_async.urls import RemoteFile
async def main():
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(inspect, RemoteFile("s3://bucket/a.png"))
        await anyio.to_thread.run_sync(sys.stdin.readline)
        tasks.cancel_scope.cancel()
anyio.run(main)
"""


@pytest.mark.slow
async def test_a_process_ends_though_a_store_hangs(hanging: Hanging) -> None:
    environment = {"FSSPEC_S3_ENDPOINT_URL": f"http://127.0.0.1:{hanging.port}", "FSSPEC_S3_KEY": "k"}
    command = [sys.executable, "-c", _LEFT_BEHIND]
    async with await anyio.open_process(command, env=environment | {"FSSPEC_S3_SECRET": "s"}) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        await hanging.asked.wait()
        await process.stdin.send(b"\n")
        with anyio.fail_after(seconds(10)):  # the driver itself would take more than a minute
            assert await process.wait() == 0
        assert [piece async for piece in process.stderr] == []


@pytest.mark.slow
def test_importing_the_package_imports_no_fsspec() -> None:
    code = "import facewarp_async, facewarp_async.cli.app, sys; sys.exit('fsspec' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


async def test_a_client_says_what_is_wrong_with_a_file_elsewhere(local: LocalService, client: FaceSwapClient) -> None:
    with pytest.raises(MissingFileError):
        await client.swap_image("memory://gone.png", "memory://face.png")
    assert not local.ledger.creations
