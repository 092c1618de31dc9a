"""A store that speaks S3, one that hangs, a plain web server, and a client of the local service."""

from __future__ import annotations

import asyncio
import hashlib
import random
import shutil
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import anyio
import fsspec.config
import pytest
from aiohttp import web
from attrs import frozen

from facewarp_async.urls import RemoteFile
from tests import rclone
from tests.heads import PNG


@frozen
class Bucket:
    """A bucket of rclone's, whose objects are the files of a folder.

    Attributes:
        folder: Where the objects are files, to be looked at only.
        url: What the bucket is called.
        endpoint: Where the server is.
        key: Who may use it.
        secret: Proves it.
    """

    folder: Path
    url: str
    endpoint: str
    key: str
    secret: str

    @property
    def options(self) -> dict[str, Any]:
        """How fsspec is told of it."""
        return {"endpoint_url": self.endpoint, "key": self.key, "secret": self.secret}

    @property
    def environment(self) -> dict[str, str]:
        """The same, for another process."""
        return {f"FSSPEC_S3_{name.upper()}": value for name, value in self.options.items()}

    def put(self, key: str, body: bytes) -> RemoteFile:
        """Make an object."""
        self.fill({key: body})
        return RemoteFile(f"{self.url}/{key}")

    def fill(self, objects: Mapping[str, bytes]) -> None:
        """Make many objects."""
        for key, body in objects.items():
            path = self.folder / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)
        rclone.see_anew()

    def remove(self, key: str) -> None:
        """Remove an object."""
        (self.folder / key).unlink()
        rclone.see_anew()

    def clear(self) -> None:
        """Remove all objects."""
        for path in self.folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        rclone.see_anew()

    def names(self, folder: str = "") -> set[str]:
        """What the objects below a folder are called."""
        root = self.folder / folder
        return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}

    def files(self, folder: str = "") -> dict[str, bytes]:
        """The objects below a folder."""
        return {name: (self.folder / folder / name).read_bytes() for name in self.names(folder)}


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    """A server that verifies signatures, with one bucket."""
    folder, key, secret = tmp_path_factory.mktemp("s3"), "the-access-key", "the-secret-key"
    (folder / "bucket").mkdir()
    with rclone.serving(folder, key, secret) as endpoint:
        yield Bucket(folder / "bucket", "s3://bucket", endpoint, key, secret)


@pytest.fixture
def bucket(s3_server: Bucket, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """The bucket, empty, and fsspec knowing of it."""
    s3_server.clear()
    monkeypatch.setitem(fsspec.config.conf, "s3", s3_server.options)
    return s3_server


class Site:
    """A plain web server, whose pages are bytes.

    Attributes:
        pages: By path.
        requests: Method and path of each request.
        marks: Whether it tells a page's etag.
        gives_parts: Whether it heeds ``Range``.
        status: What it answers to everything, if not as it should.
    """

    def __init__(self) -> None:
        self.pages: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.marks = True
        self.gives_parts = True
        self.status: int | None = None
        self.url = ""

    def put(self, path: str, body: bytes) -> RemoteFile:
        self.pages[path] = body
        return RemoteFile(self.url + path)

    async def answer(self, request: web.BaseRequest) -> web.Response:
        self.requests.append(f"{request.method} {request.rel_url.raw_path}")
        if self.status is not None:
            return web.Response(status=self.status)
        body = self.pages.get(request.rel_url.raw_path)
        if body is None:
            return web.Response(status=404)
        headers = {"ETag": f'"{hashlib.md5(body).hexdigest()}"'} if self.marks else {}
        headers["Content-Type"] = "text/html" if request.rel_url.raw_path.endswith("/") else "image/png"
        span = request.http_range if self.gives_parts else slice(None)
        if span.start is None:
            return web.Response(body=body, headers=headers)
        stop = min(span.stop or len(body), len(body))
        headers["Content-Range"] = f"bytes {span.start}-{stop - 1}/{len(body)}"
        return web.Response(status=206, body=body[span.start : stop], headers=headers)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    """A web server with nothing on it."""
    site = Site()
    runner = web.ServerRunner(web.Server(site.answer), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    site.url = "http://{}:{}".format(*runner.addresses[0])
    yield site
    await runner.cleanup()


class Hanging:
    """A server that takes connections and never answers."""

    def __init__(self) -> None:
        self.asked = anyio.Event()
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read(1)
            self.asked.set()
            await anyio.sleep_forever()
        finally:
            writer.transport.abort()


@pytest.fixture
async def hanging(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Hanging]:
    """A store that hangs, of which fsspec knows as that of ``s3://``."""
    hanging, tasks = Hanging(), set[asyncio.Task[None]]()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(hanging.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    hanging.port = server.sockets[0].getsockname()[1]
    options = {"endpoint_url": f"http://127.0.0.1:{hanging.port}", "key": "the-access-key", "secret": "the-secret-key"}
    monkeypatch.setitem(fsspec.config.conf, "s3", options)
    yield hanging
    server.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
def memory() -> Iterator[RemoteFile]:
    """An empty store in memory, which has no marks for contents."""
    from fsspec.implementations.memory import MemoryFileSystem  # noqa: PLC0415

    def clear() -> None:
        MemoryFileSystem.store.clear()
        MemoryFileSystem.pseudo_dirs[:] = [""]

    clear()
    yield RemoteFile("memory://")
    clear()


@pytest.fixture
def picture() -> Callable[..., bytes]:
    """Make what begins as a PNG does."""

    def make(label: str = "a", size: int = 0) -> bytes:
        body = PNG + label.encode()
        return body + random.Random(label).randbytes(max(size - len(body), 0))

    return make
