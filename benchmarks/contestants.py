"""One run of a contestant in `benchmarks.transfers`, in this process: NAME URL CA ARGUMENTS. Prints what it took."""

from __future__ import annotations

import asyncio
import ssl
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import aiofiles
import aiohttp

from benchmarks.harness import LagWatch, Meter
from facewarp_async.config import Timeouts
from facewarp_async.files import inspect_now
from facewarp_async.policy.retry import RetryPolicy
from facewarp_async.transfer import READ_BUFFER_BYTES, ProgressCallback, Transfers

T = TypeVar("T")

Work = Callable[[], Awaitable[object]]


def transfers_of(http: aiohttp.ClientSession) -> Transfers:
    return Transfers(http, timeouts=Timeouts(), retry=RetryPolicy(attempts=1), allow_plain=True)


async def upload_once(transfers: Transfers, path: Path, url: str, on_progress: ProgressCallback | None = None) -> None:
    await transfers.upload(inspect_now(path), granting(url), on_progress=on_progress)


def granting(url: str) -> Callable[[], Awaitable[str]]:
    async def grant() -> str:
        return url

    return grant


def session(ca: str, limit: int = 0) -> aiohttp.ClientSession:
    """Open a session as the package's connection does for the storage."""
    context = True if ca == "-" else ssl.create_default_context(cafile=ca)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=limit, ssl=context),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        read_bufsize=READ_BUFFER_BYTES,
        timeout=aiohttp.ClientTimeout(total=None),
    )


async def measured(work: Work, before: Work) -> None:
    """Run something once the connection stands and everything is imported, and tell what it took."""
    await before()
    async with LagWatch() as watch:
        with Meter() as meter:
            await work()
    meter.tell(lag_ms=watch.longest_ms)


async def pool(items: Iterator[T], workers: int, work: Callable[[T], Awaitable[object]]) -> None:
    async def worker() -> None:
        for item in items:
            await work(item)

    await asyncio.gather(*(worker() for _ in range(workers)))


async def put_open(http: aiohttp.ClientSession, path: Path, url: str) -> None:
    """Upload as most would do it with aiohttp."""
    with path.open("rb") as file:
        async with http.put(url, data=file) as response:
            assert response.status == 200, response.status


async def run(name: str, url: str, ca: str, *arguments: str) -> None:
    path = Path(arguments[0])
    async with session(ca) as http:
        transfers = transfers_of(http)
        looked_at = [inspect_now(file) for file in files_in(path)] if name == "many" else []
        works: dict[str, Work] = {
            "upload": lambda: upload_once(transfers, path, f"{url}/x"),
            "upload-progress": lambda: upload_once(transfers, path, f"{url}/x", count_progress),
            "upload-open": lambda: put_open(http, path, f"{url}/x"),
            "eight": lambda: asyncio.gather(*(upload_once(transfers, path, f"{url}/x") for _ in range(8))),
            "many": lambda: pool(
                iter(looked_at),
                int(arguments[1]),
                lambda file: transfers.upload(file, granting(f"{url}/{file.path.name}")),
            ),
            "many-open": lambda: pool(
                iter(files_in(path)), int(arguments[1]), lambda file: put_open(http, file, f"{url}/{file.name}")
            ),
            "download": lambda: download(transfers, f"{url}/bytes/{arguments[1]}", path / "ours.bin"),
            "download-chunks": lambda: download_chunks(http, f"{url}/bytes/{arguments[1]}", path / "chunks.bin"),
            "download-many": lambda: pool(
                iter([path / f"{number}.bin" for number in range(int(arguments[1]))]),
                8,
                lambda target: download(transfers, f"{url}/bytes/200000", target),
            ),
            "download-serial": lambda: pool(
                iter([path / f"{number}.bin" for number in range(int(arguments[1]))]),
                1,
                lambda target: download(transfers, f"{url}/bytes/200000", target),
            ),
        }
        # Eight shake hands at once, which over TLS holds up the loop for longer than anything that is sent.
        connections = 8 if name == "eight" else 1
        await measured(works[name], lambda: asyncio.gather(*(warm_up(transfers, url) for _ in range(connections))))
        if name.startswith("download"):
            check_downloads(path, int(arguments[1]), one_file=name in {"download", "download-chunks"})
        transfers.close()


async def warm_up(transfers: Transfers, url: str) -> None:
    """Open a connection, import what is imported late, start a thread: what a client does once."""
    with tempfile.TemporaryDirectory() as folder:
        await download(transfers, f"{url}/bytes/1", Path(folder) / "warm.bin")


def files_in(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def count_progress(_sent: int, _total: int) -> None:
    """Do what a caller does at least."""


async def download(transfers: Transfers, url: str, target: Path) -> None:
    async def source(_renew: bool) -> str:
        return url

    await transfers.download(source, target)


async def download_chunks(http: aiohttp.ClientSession, url: str, target: Path) -> None:
    """Download as most would do it with aiohttp and aiofiles."""
    async with http.get(url) as response, aiofiles.open(target, "wb") as file:
        async for chunk in response.content.iter_chunked(65536):
            await file.write(chunk)


def check_downloads(folder: Path, number: int, *, one_file: bool) -> None:
    """Assert that the files are there, whole, and nothing else is; then make room."""
    files = list(folder.iterdir())
    sizes = [file.stat().st_size for file in files]
    assert sizes == ([number] if one_file else [200_000] * number), sizes
    for file in files:
        file.unlink()


if __name__ == "__main__":
    asyncio.run(run(*sys.argv[1:]))
