"""One run of a contestant in `benchmarks.transfers`, in this process: NAME URL CA ARGUMENTS. Prints what it took.

With ``:lag`` behind its name, the event loop is watched.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TypeVar

import aiofiles
import aiohttp

from benchmarks.harness import LagWatch, Meter
from facewarp_async.config import Timeouts
from facewarp_async.files import inspect_now
from facewarp_async.policy.retry import RetryPolicy
from facewarp_async.transfer import READ_BUFFER_BYTES, ProgressCallback, Transfers
from facewarp_async.transfer.progress import tell

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


async def measured(work: Work, before: Work, *, is_watched: bool) -> None:
    """Run something once the connection stands and everything is imported, and tell what it took.

    Watching the loop takes CPU of its own, which others do not have to spend: so it is done in runs for that alone.
    """
    await before()
    watch = LagWatch()
    async with watch if is_watched else nullcontext():
        with Meter() as meter:
            await work()
    meter.tell(lag_ms=watch.longest_ms, work_ms=watch.most_work_ms)


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
    name, _, watched = name.partition(":")
    path = Path(arguments[0])
    async with session(ca) as http:
        transfers = transfers_of(http)
        looked_at = [inspect_now(file) for file in files_in(path)] if name == "many" else []
        works: dict[str, Work] = {
            "upload": lambda: upload_once(transfers, path, f"{url}/x"),
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
        if name == "progress":
            await compare_progress(transfers, path, f"{url}/x", int(arguments[1]))
            transfers.close()
            return
        # Eight shake hands at once, which over TLS holds up the loop for longer than anything that is sent.
        connections = 8 if name == "eight" else 1
        await measured(
            works[name],
            lambda: asyncio.gather(*(warm_up(transfers, url) for _ in range(connections))),
            is_watched=bool(watched),
        )
        if name.startswith("download"):
            check_downloads(path, int(arguments[1]), one_file=name in {"download", "download-chunks"})
        transfers.close()


async def warm_up(transfers: Transfers, url: str) -> None:
    """Open a connection, import what is imported late, start a thread: what a client does once."""
    with tempfile.TemporaryDirectory() as folder:
        await download(transfers, f"{url}/bytes/1", Path(folder) / "warm.bin")


def files_in(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


class Progress:
    """Does what a caller does at least, and a bit more: notes how far it is."""

    def __init__(self) -> None:
        self.sent = self.calls = 0

    def __call__(self, sent: int, _total: int) -> None:
        self.sent = sent
        self.calls += 1


async def compare_progress(transfers: Transfers, path: Path, url: str, pairs: int) -> None:
    """Upload with and without a callback in turns, within one process; tell the CPU of each, and what calls take."""
    took: dict[bool, list[float]] = {True: [], False: []}
    progress = Progress()
    for number in range(2 * pairs + 2):
        is_told = number % 4 in {1, 2}  # neither is always the first of a pair
        begun = time.process_time()
        await upload_once(transfers, path, url, progress if is_told else None)
        if number >= 2:
            took[is_told].append(time.process_time() - begun)
    calls = progress.calls / (len(took[True]) + 1)
    begun = time.process_time()
    for _ in range(100_000):
        tell(progress, 1, 2)
    each_s = (time.process_time() - begun) / 100_000
    print(json.dumps({"with": took[True], "without": took[False], "calls": calls, "each_s": each_s}))


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
