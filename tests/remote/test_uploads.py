"""Media streamed from elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec
import pytest

from facewarp_async.client import FaceSwapClient
from facewarp_async.errors import FileChangedError, InputError, MissingFileError
from facewarp_async.models import ImageResult
from facewarp_async.remote import looking
from facewarp_async.server import LocalService
from facewarp_async.urls import RemoteFile
from tests.remote.names import NAMES

if TYPE_CHECKING:
    from tests.remote.conftest import Bucket, Site

pytestmark = pytest.mark.anyio

Picture = Callable[..., bytes]
MB = 1024 * 1024


async def _stored(local: LocalService, client: FaceSwapClient, media: RemoteFile, tmp_path: Path) -> bytes:
    """Upload a file and return what has arrived."""
    asset = await client.upload(media)
    result = ImageResult(task_id=1, key=asset.key, url=await client.access_url(asset.key))
    return (await client.download(result, tmp_path / "arrived")).read_bytes()


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


async def test_what_is_missing_is_told_before_anything_is_sent(local: LocalService, client: FaceSwapClient) -> None:
    with pytest.raises(MissingFileError):
        await client.upload("memory://gone.png")
    assert not local.ledger.calls
