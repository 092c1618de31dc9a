"""What a durable transition of a job costs: in group commits, with a commit each, and through aiosqlite.

Run ``python benchmarks/journal.py``. As many jobs as `--waiting` says go through their four transitions at once. Each
round runs all contenders one after the other; the ratios are those of the rounds. The files lie where `--dir` says: on
a RAM disk nothing is synced, and the figures mean little. At the end stands what resuming a batch that is done costs.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import sqlite3
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from attrs import evolve, frozen

from facewarp_async.checking import check_job
from facewarp_async.client import FaceSwapClient
from facewarp_async.config import ApiKey, Provider
from facewarp_async.journal import JobRecord, JobState, Journal, JournalLog
from facewarp_async.journal.journal import PUT_JOB
from facewarp_async.journal.schema import MIGRATIONS
from facewarp_async.models import ImageResult, ImageSwap, Picture, TaskKind
from facewarp_async.pipeline import Completed, SwapPipeline
from facewarp_async.pipeline.memory import Counted, Memory
from facewarp_async.uploads import SharedUploads

TRANSITIONS = 4
RESULT = ImageResult(
    task_id=1,
    key="temporary/3620/2026-11-22/0123456789abcdef-result.png",
    url="https://storage.example/result.png",
    size=1_234_567,
    width=1920,
    height=1080,
    thumbnail=Picture(key="temporary/3620/thumbnail.png", url="https://storage.example/thumbnail.png"),
)

Write = Callable[[JobRecord], Awaitable[object]]
Contender = Callable[[Path], AbstractAsyncContextManager[Write]]


class _Writes(Journal):
    """A journal whose writes go elsewhere, so that all contenders make the same rows."""

    def __init__(self, write: Write) -> None:
        self._elsewhere = write

    async def write(self, record: JobRecord) -> None:
        await self._elsewhere(record)


@asynccontextmanager
async def grouped(path: Path) -> AsyncIterator[Write]:
    async with Journal(path, realm="benchmark") as journal:
        yield journal.write


@asynccontextmanager
async def a_commit_each(path: Path) -> AsyncIterator[Write]:
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1) as thread:

        def connect() -> sqlite3.Connection:
            connection = sqlite3.connect(path, isolation_level=None)
            for statement in _preparations():
                connection.execute(statement)
            return connection

        connection = await loop.run_in_executor(thread, connect)

        async def write(record: JobRecord) -> None:
            await loop.run_in_executor(thread, connection.execute, PUT_JOB, record.to_row())

        yield write
        await loop.run_in_executor(thread, connection.close)


@asynccontextmanager
async def through_aiosqlite(path: Path) -> AsyncIterator[Write]:
    aiosqlite: Any = importlib.import_module("aiosqlite")
    async with aiosqlite.connect(path, isolation_level=None) as connection:
        for statement in _preparations():
            await connection.execute(statement)

        async def write(record: JobRecord) -> None:
            await connection.execute(PUT_JOB, record.to_row())

        yield write


def _preparations() -> list[str]:
    tables = [statement for statements in MIGRATIONS for statement in statements]
    return [
        "PRAGMA locking_mode=EXCLUSIVE",
        "PRAGMA journal_mode=WAL",
        "PRAGMA synchronous=FULL",
        *tables,
    ]


async def transitions(write: Write, *, jobs: int, waiting: int) -> float:
    """Take jobs through their transitions, and return seconds a transition."""
    numbers = iter(range(jobs))
    journal = _Writes(write)

    async def worker() -> None:
        for number in numbers:
            record = JobRecord(
                key=number.to_bytes(32, "big"), kind=TaskKind.IMAGE_SWAP, media=f"/photos/2026/summer/{number:06}.jpg"
            )
            log = JournalLog(journal, record, in_doubt="hold")
            await log.uploaded()
            await log.intent(TaskKind.IMAGE_SWAP)
            await log.created(TaskKind.IMAGE_SWAP, number)
            await log.done(RESULT, path=f"{number}.png", size=1_234_567, digest=b"d" * 32)

    begun = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(waiting):
            group.create_task(worker())
    return (time.perf_counter() - begun) / (jobs * TRANSITIONS)


def check(path: Path, *, jobs: int) -> None:
    """See that what a contender has written is all there, and whole."""
    connection = sqlite3.connect(path)
    rows = connection.execute("SELECT key, state, tasks, size FROM jobs ORDER BY key").fetchall()
    connection.close()
    assert len(rows) == jobs, f"{path.name}: {len(rows)} jobs of {jobs}"
    for number, (key, state, tasks, size) in enumerate(rows):
        expected = (number.to_bytes(32, "big"), JobState.DONE, f'{{"image swap": {number}}}', 1_234_567)
        assert (key, state, tasks, size) == expected, f"{path.name}: job {number}"


@frozen
class Costs:
    """Seconds a transition, round by round, and those of the processor's time."""

    name: str
    seconds: list[float]
    busy: list[float]

    def line(self, base: Costs) -> str:
        ratios = [mine / theirs for mine, theirs in zip(self.seconds, base.seconds, strict=True)]
        return (
            f"{self.name:<20}{_spread([value * 1e6 for value in self.seconds])} us a transition"
            f" ({statistics.median(self.busy) * 1e6:.1f} of the processor's)   x {_spread(ratios)}"
        )


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):8.2f} ({min(values):.2f} to {max(values):.2f})"


async def compare(folder: Path, *, jobs: int, rounds: int, waiting: int) -> None:
    contenders: dict[str, tuple[Contender, int]] = {
        "group commits": (grouped, jobs),
        "a commit each": (a_commit_each, max(1, jobs // 10)),
    }
    if find_spec("aiosqlite") is None:
        print("aiosqlite is not installed: left out (pip install aiosqlite)")
    else:
        contenders["aiosqlite"] = (through_aiosqlite, max(1, jobs // 10))
    costs = [Costs(name, [], []) for name in contenders]
    for number in range(rounds):
        for cost in costs:
            contender, share = contenders[cost.name]
            path = folder / f"{cost.name}-{number}.db"
            async with contender(path) as write:
                begun = time.process_time()
                cost.seconds.append(await transitions(write, jobs=share, waiting=waiting))
                cost.busy.append((time.process_time() - begun) / (share * TRANSITIONS))
            check(path, jobs=share)
    print(f"{waiting} waiting at once, {jobs} jobs (a tenth of them with a commit each), {rounds} rounds:")
    for cost in costs:
        print(cost.line(costs[0]))


async def resume(folder: Path, *, jobs: int) -> None:
    """Resume a batch that is done, with real files. The service is not there: nothing may be asked of it."""
    client = FaceSwapClient(Provider("nowhere", "http://127.0.0.1:9"), ApiKey("key"))
    media, out, path = folder / "media", folder / "out", folder / "done.db"
    await asyncio.to_thread(_make_files, media, out, jobs)
    batch = [ImageSwap(media / f"{number}.png", media / "face.png") for number in range(jobs)]
    async with client:
        await _write_down(client, path, out, batch)
        begun = time.perf_counter()
        async with SwapPipeline(client, output_dir=out, journal=path) as pipeline:
            opened = time.perf_counter() - begun
            done = [isinstance(outcome, Completed) async for outcome in pipeline.stream(batch)]
        seconds = time.perf_counter() - begun
    assert len(done) == jobs
    assert all(done)
    print(f"resuming {jobs} done jobs: {seconds:.2f} s, {seconds / jobs * 1e6:.0f} us a job, opening {opened:.3f} s")


def _make_files(media: Path, out: Path, jobs: int) -> None:
    media.mkdir()
    out.mkdir()
    for number in range(jobs):
        body = b"\x89PNG\r\n\x1a\n" + number.to_bytes(8, "big") * 500
        (media / f"{number}.png").write_bytes(body)
        (out / f"{number}.png").write_bytes(body)
    (media / "face.png").write_bytes(b"\x89PNG\r\n\x1a\nface")


async def _write_down(client: FaceSwapClient, path: Path, out: Path, batch: list[ImageSwap]) -> None:
    realm, seen, numbers = client.provider.base_url, Counted(), iter(range(len(batch)))
    uploads = SharedUploads(client.upload)
    async with Journal(path, realm=realm) as journal:
        memory = Memory(journal, uploads, realm=realm, output_dir=out, in_doubt="hold", retry_failed=False)

        async def worker() -> None:
            for number in numbers:
                job = batch[number]
                async with memory.recall(job, await check_job(job), seen) as log:
                    log.rename(name=str(number), source=str(job.media), media=str(job.media))
                    result = evolve(RESULT, task_id=number)
                    await memory.done(log, Completed(job=job, result=result, path=out / f"{number}.png"))

        async with asyncio.TaskGroup() as group:
            for _ in range(64):
                group.create_task(worker())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--waiting", type=int, default=256)
    parser.add_argument("--resumed", type=int, default=10_000)
    parser.add_argument("--dir", type=Path, default=None, help="where the files lie; a temporary folder by default")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.dir) as name:
        folder = Path(name)
        asyncio.run(compare(folder, jobs=options.jobs, rounds=options.rounds, waiting=options.waiting))
        asyncio.run(resume(folder, jobs=options.resumed))


if __name__ == "__main__":
    main()
