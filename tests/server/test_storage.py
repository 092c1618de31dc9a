"""The storage over HTTP: it refuses what S3 refuses."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from yarl import URL

from facewarp_async.server.sigv4 import presign
from facewarp_async.server.state import State

if TYPE_CHECKING:
    from tests.server.conftest import Harness, Serve

pytestmark = pytest.mark.anyio


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and "service.db" not in path.name]


async def test_put_answers_with_the_md5(harness: Harness, png: bytes) -> None:
    """The ETag is the body's MD5, as with S3, for PUT, GET and HEAD."""
    key, url = await harness.grant()
    etag = f'"{hashlib.md5(png).hexdigest()}"'
    assert (await harness.request("PUT", url, data=png)).headers["ETag"] == etag
    reply = await harness.request("GET", await harness.access(key))
    assert reply.headers["ETag"] == etag
    assert reply.headers["Content-Length"] == str(len(png))
    assert reply.headers["Accept-Ranges"] == "bytes"


async def test_a_second_put_replaces_the_first(serve: Serve, tmp_path: Path, png: bytes) -> None:
    """A URL may be used again while it is valid; the last body counts, and the first does not stay."""
    async with serve(data_dir=tmp_path) as harness:
        key, url = await harness.grant()
        for body in (png, png + b"2"):
            assert (await harness.request("PUT", url, data=body)).status == 200
        assert (await harness.request("GET", await harness.access(key))).body == png + b"2"
        assert (await harness.request("PUT", url, data=png, headers={"If-None-Match": "*"})).status == 412
        assert len(_files(tmp_path)) == 1


async def test_an_upload_that_cannot_be_recorded_is_a_500(
    serve: Serve, tmp_path: Path, png: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the state cannot be kept, the upload is refused as S3 does in trouble, and its body does not stay."""

    def fail(*_: object) -> None:
        raise sqlite3.OperationalError("disk full")

    async with serve(data_dir=tmp_path) as harness:
        _, url = await harness.grant()
        monkeypatch.setattr(State, "_commit", fail)
        reply = await harness.request("PUT", url, data=png)
        assert (reply.status, reply.xml_code) == (500, "InternalError")
        assert b"disk" not in reply.body
        assert _files(tmp_path) == []


@pytest.mark.parametrize(
    ("old", "new", "status", "code"),
    [
        ("X-Amz-Signature=", "X-Amz-Signature=0", 403, "SignatureDoesNotMatch"),
        ("/temporary/", "/other/", 403, "SignatureDoesNotMatch"),
        ("%2F", "/", 403, "SignatureDoesNotMatch"),
        ("?", "?extra=1&", 403, "SignatureDoesNotMatch"),
        ("Expires=1800", "Expires=700000", 400, "AuthorizationQueryParametersError"),
        ("?", "?X-Amz-Date=1&", 400, "AuthorizationQueryParametersError"),
    ],
)
async def test_refuses_altered_urls(harness: Harness, png: bytes, old: str, new: str, status: int, code: str) -> None:
    """An altered URL is refused in XML, and nothing is stored."""
    key, url = await harness.grant()
    reply = await harness.request("PUT", url.replace(old, new), data=png)
    assert (reply.status, reply.xml_code) == (status, code)
    assert reply.headers["Content-Type"].startswith("application/xml")
    assert (await harness.call("/v1/task/get-face", {"main_key": key})).code == 701


async def test_refuses_the_wrong_method_and_strangers(harness: Harness, png: bytes) -> None:
    """An upload URL gives nothing away, a download URL takes nothing, and no URL means no access."""
    key, put_url = await harness.grant()
    await harness.request("PUT", put_url, data=png)
    get_url = await harness.access(key)
    assert (await harness.request("GET", put_url)).xml_code == "SignatureDoesNotMatch"
    assert (await harness.request("PUT", get_url, data=b"x")).xml_code == "SignatureDoesNotMatch"
    for method in ("GET", "PUT", "HEAD", "DELETE"):
        reply = await harness.request(method, put_url.partition("?")[0], data=b"x" if method == "PUT" else None)
        assert reply.status == 403
    assert (await harness.request("GET", get_url)).body == png


async def test_refuses_an_authorization_header(harness: Harness, png: bytes) -> None:
    """The token must never reach the storage: with a query signature S3 answers 400."""
    _, url = await harness.grant()
    bearer = {"Authorization": f"Bearer {harness.service.auth.key}"}
    reply = await harness.request("PUT", url, data=png, headers=bearer)
    assert (reply.status, reply.xml_code) == (400, "InvalidArgument")
    reply = await harness.request("GET", url.partition("?")[0], headers=bearer)
    assert (reply.status, reply.xml_code) == (400, "InvalidArgument")


async def test_urls_expire(serve: Serve, png: bytes) -> None:
    """Past its expiry a URL is refused, for uploads after half an hour and for downloads after three days."""
    now = datetime(2024, 8, 16, 11, 25, 27, tzinfo=UTC)
    async with serve(clock=lambda: now) as harness:
        key, put_url = await harness.grant()
        now += timedelta(seconds=1800)
        assert (await harness.request("PUT", put_url, data=png)).status == 200
        get_url = await harness.access(key)
        now += timedelta(seconds=1)
        reply = await harness.request("PUT", put_url, data=png)
        assert (reply.status, reply.xml_code) == (403, "AccessDenied")
        assert b"expired" in reply.body
        now += timedelta(seconds=259_199)
        assert (await harness.request("GET", get_url)).status == 200
        now += timedelta(seconds=1)
        assert (await harness.request("GET", get_url)).status == 403


async def test_refuses_bodies_of_unknown_length(harness: Harness, png: bytes) -> None:
    """A chunked upload is 411, as on S3."""

    async def pieces() -> AsyncIterator[bytes]:
        yield png

    _, url = await harness.grant()
    reply = await harness.request("PUT", url, data=pieces())
    assert (reply.status, reply.xml_code) == (411, "MissingContentLength")
    reply = await harness.request("PUT", url, data=png, headers={"Content-Encoding": "aws-chunked"})
    assert (reply.status, reply.xml_code) == (501, "NotImplemented")
    reply = await harness.request("PUT", url, headers={"Content-Length": str(6 * 1024**3)}, data=b"")
    assert (reply.status, reply.xml_code) == (400, "EntityTooLarge")


async def test_a_compressed_body_is_stored_as_it_came(harness: Harness) -> None:
    """Content-Encoding changes nothing: the bytes are the object."""
    key, url = await harness.grant()
    body = b"\x1f\x8b not really gzip"
    assert (await harness.request("PUT", url, data=body, headers={"Content-Encoding": "gzip"})).status == 200
    assert (await harness.request("GET", await harness.access(key))).body == body


@pytest.mark.parametrize("sent", [0, 10, 300_000])
async def test_a_cut_upload_leaves_nothing(serve: Serve, tmp_path: Path, sent: int) -> None:
    """When the connection ends in the middle of the body, no file stays and the key has no upload."""
    async with serve(data_dir=tmp_path) as harness:
        key, url = await harness.grant()
        head = (
            f"PUT {url.removeprefix(harness.base)} HTTP/1.1\r\nHost: {harness.base[7:]}\r\nContent-Length: 400000\r\n"
        )
        _, writer = await asyncio.open_connection("127.0.0.1", harness.port)
        writer.write(head.encode() + b"\r\n" + b"x" * sent)
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        assert (await harness.call("/v1/task/get-face", {"main_key": key})).code == 701
    assert _files(tmp_path) == []


async def test_a_body_that_stands_still_is_given_up(serve: Serve, tmp_path: Path) -> None:
    """A client that sends no more is told so, and no part of its body stays."""
    async with serve(data_dir=tmp_path, stall_s=0.05) as harness:
        _, url = await harness.grant()
        head = (
            f"PUT {url.removeprefix(harness.base)} HTTP/1.1\r\nHost: {harness.base[7:]}\r\nContent-Length: 99\r\n\r\n"
        )
        answer = await harness.raw(head.encode() + b"x", until=b"</Error>")
        assert b"RequestTimeout" in answer
        assert _files(tmp_path) == []


async def test_ranges(harness: Harness) -> None:
    """Parts are 206 with their place, parts behind the end 416, and HEAD has headers alone."""
    body = bytes(index % 253 for index in range(700_000))
    url = await harness.access(await harness.upload(body))
    for header, expected, place in (
        ("bytes=0-9", body[:10], "bytes 0-9/700000"),
        ("bytes=100000-", body[100_000:], "bytes 100000-699999/700000"),
        ("bytes=-5", body[-5:], "bytes 699995-699999/700000"),
    ):
        reply = await harness.request("GET", url, headers={"Range": header})
        assert (reply.status, reply.body) == (206, expected)
        assert reply.headers["Content-Range"] == place
        assert reply.headers["Content-Length"] == str(len(expected))
    reply = await harness.request("GET", url, headers={"Range": "bytes=700000-"})
    assert (reply.status, reply.xml_code) == (416, "InvalidRange")
    assert (await harness.request("GET", url)).body == body


async def test_a_client_that_goes_away(harness: Harness, caplog: pytest.LogCaptureFixture) -> None:
    """A download that is given up by the client is no error of the service's, and its file is closed."""
    body = bytes(20_000_000)
    url = await harness.access(await harness.upload(body))
    for _ in range(5):
        async with harness.http.get(URL(url, encoded=True)) as response:
            await response.content.readexactly(10)
            response.close()
    [stored] = harness.service._gate.storage.state.objects.values()
    assert stored.blob is not None
    path = harness.service._gate.storage.store.path(stored.blob.name)
    with anyio.fail_after(5):
        while str(path) in await anyio.to_thread.run_sync(_open_files):
            await anyio.lowlevel.checkpoint()
    assert not caplog.records


def _open_files() -> set[str]:
    paths = set()
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # closed since it was listed
            paths.add(str(entry.readlink()))
    return paths


async def test_if_range_and_conditions(harness: Harness, png: bytes) -> None:
    """A part of another version is not given: the whole body is."""
    url = await harness.access(await harness.upload(png))
    reply = await harness.request("GET", url)
    for tag, status in ((reply.headers["ETag"], 206), (reply.headers["Last-Modified"], 206), ('"other"', 200)):
        headers = {"Range": "bytes=5-", "If-Range": tag}
        assert (await harness.request("GET", url, headers=headers)).status == status
    assert (await harness.request("GET", url, headers={"If-None-Match": reply.headers["ETag"]})).status == 304
    assert (await harness.request("GET", url, headers={"If-Match": '"other"'})).status == 412


async def test_head(harness: Harness, png: bytes) -> None:
    """HEAD tells length and ETag and has no body."""
    key = await harness.upload(png)
    url = harness.service._gate.storage.presign("HEAD", key, origin=harness.base, expires_s=60)
    reply = await harness.request("HEAD", url)
    assert (reply.status, reply.body) == (200, b"")
    assert reply.headers["Content-Length"] == str(len(png))
    missing = harness.service._gate.storage.presign("HEAD", "no/such", origin=harness.base, expires_s=60)
    assert (await harness.request("HEAD", missing)).status == 404


async def test_unknown_keys_and_buckets(harness: Harness) -> None:
    """A well signed URL of nothing is 404; of a method that is not served, 405."""
    storage = harness.service._gate.storage
    key, _ = await harness.grant()
    for name in ("no/such", key):
        reply = await harness.request("GET", storage.presign("GET", name, origin=harness.base, expires_s=60))
        assert (reply.status, reply.xml_code) == (404, "NoSuchKey")
    url = storage.presign("DELETE", "no/such", origin=harness.base, expires_s=60)
    assert (await harness.request("DELETE", url)).status == 405
    url = presign("GET", "/storage/other/k", origin=harness.base, key=storage.key, now=datetime.now(UTC), expires_s=60)
    assert (await harness.request("GET", url)).xml_code == "NoSuchBucket"


@pytest.mark.parametrize(
    "key", ["../../../etc/passwd", "..%2f..%2fsecret", "/etc/passwd", "a/../b", "nul\u00a0l", "ü+ (1)"]
)
async def test_a_key_never_becomes_a_path(serve: Serve, tmp_path: Path, png: bytes, key: str) -> None:
    """Whatever a signed key looks like, its body stays in the data directory, and comes back."""
    async with serve(data_dir=tmp_path / "data") as harness:
        storage = harness.service._gate.storage
        put_url = storage.presign("PUT", key, origin=harness.base, expires_s=60)
        # A client may rewrite dots in a path: then the signature fails, and nothing is stored.
        head = f"PUT {put_url.removeprefix(harness.base)} HTTP/1.1\r\nHost: {harness.base[7:]}\r\nConnection: close\r\n"
        answer = await harness.raw(head.encode() + f"Content-Length: {len(png)}\r\n\r\n".encode() + png)
        assert answer.startswith(b"HTTP/1.1 200")
        assert storage.state.objects.keys() == {key}
    assert [path.parent.parent for path in _files(tmp_path)] == [tmp_path / "data" / "blobs"]


async def test_an_upload_that_would_fill_the_disk_is_refused(
    serve: Serve, tmp_path: Path, png: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before its first byte where there is no room, and when the disk fills up meanwhile. Nothing of it stays."""
    free = shutil.disk_usage(tmp_path).free
    async with serve(data_dir=tmp_path, keep_free_bytes=free * 2) as harness:
        _, url = await harness.grant()
        reply = await harness.request("PUT", url, data=png)
        assert (reply.status, reply.xml_code) == (507, "InsufficientStorage")
    async with serve(data_dir=tmp_path) as harness:
        _, url = await harness.grant()
        with monkeypatch.context() as patch:
            patch.setattr("facewarp_async.server.objects._Sink.write", _raise_full)
            reply = await harness.request("PUT", url, data=png)
        assert (reply.status, reply.xml_code) == (507, "InsufficientStorage")
        assert _files(tmp_path) == []
        assert (await harness.request("PUT", url, data=png)).status == 200


def _raise_full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


async def test_a_content_type_that_is_no_text_is_refused(harness: Harness) -> None:
    """It could not be given back."""
    _, url = await harness.grant()
    head = f"PUT {url.removeprefix(harness.base)} HTTP/1.1\r\nHost: {harness.base[7:]}\r\n".encode()
    answer = await harness.raw(head + b"Content-Type: \xff\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx")
    assert b" 400 " in answer
    assert b"InvalidArgument" in answer


async def test_a_body_that_waits_to_be_let_in_comes(harness: Harness, png: bytes) -> None:
    """``Expect: 100-continue`` is met; any other expectation is not."""
    _, url = await harness.grant()
    reply = await harness.request("PUT", url, data=png, expect100=True)
    assert reply.status == 200
    assert (await harness.request("PUT", url, data=png, headers={"Expect": "a miracle"})).status == 417
