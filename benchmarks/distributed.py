"""A batch on several machines: speed where the uplink is the bottleneck, and what the coordinator can carry.

    python -m benchmarks distributed uplink [--files 100] [--rounds 3]
    python -m benchmarks distributed coordinator [--workers 1000] [--jobs 200000]

`uplink` runs clusters of one, two and four worker processes, whose uplinks are shaped: a stand-in for the service takes
the bytes of each process no faster than `--uplink` says. All clusters are there all the time, and take turns.
`coordinator` has no Dask and no sockets: the sessions of as many workers as `--workers` says ask the coordinator what
the pipeline asks for a job, each for the next of its jobs when the last is done, with the journal on the disk.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from attrs import define, frozen
from distributed import Client

from benchmarks.harness import LagWatch, Meter, print_table, spread, verdict
from benchmarks.standin import _Service
from facewarp_async.client import ClientSettings, FaceSwapClient
from facewarp_async.config import ApiKey, Limits, Provider, Timeouts
from facewarp_async.distributed import DistributedPipeline
from facewarp_async.distributed.coordinator import ActiveRun
from facewarp_async.distributed.run import Run
from facewarp_async.distributed.sessions import WorkerSession
from facewarp_async.distributed.values import RunSettings
from facewarp_async.journal import Journal
from facewarp_async.journal.record import JobRecord, JobState, job_key
from facewarp_async.models import ImageSwap, TaskKind
from facewarp_async.policy.polling import FixedPolling
from facewarp_async.policy.retry import RetryPolicy

_PIECE = 16 * 1024
_GOALS = {2: 1.8, 4: 3.2}


class _Uplink:
    """What a process may send: so many bytes a second, with no more than a moment's worth saved up."""

    def __init__(self, bytes_per_s: float) -> None:
        self._bytes_per_s = bytes_per_s
        self._free_at = 0.0

    async def pass_on(self, size: int) -> None:
        now = time.monotonic()
        self._free_at = max(self._free_at, now - 0.02) + size / self._bytes_per_s
        if self._free_at > now:
            await asyncio.sleep(self._free_at - now)


class _ShapedService:
    """A stand-in for the service that takes files as slowly as the sender's uplink is."""

    def __init__(self, bytes_per_s: float) -> None:
        self._service = _Service(task_s=0.05, result_bytes=2_000)
        self._bytes_per_s = bytes_per_s
        self._uplinks: dict[int, _Uplink] = {}
        self.pids: list[int] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = (writer.get_extra_info("peername")[1], writer.get_extra_info("sockname")[1])
        sender = await anyio.to_thread.run_sync(_process_at, ends, self.pids)
        uplink = self._uplinks.setdefault(sender, _Uplink(self._bytes_per_s))
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                method, target, _ = head[0].split(" ", 2)
                headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])}
                body = await self._body(reader, int(headers.get("content-length", 0)), uplink, method == "PUT")
                answer = self._service.answer(method, target, body)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(answer), answer))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def _body(self, reader: asyncio.StreamReader, left: int, uplink: _Uplink, is_file: bool) -> bytes:
        if not is_file:
            return await reader.readexactly(left)
        while left:
            piece = await reader.read(min(_PIECE, left))
            if not piece:
                raise ConnectionError
            left -= len(piece)
            await uplink.pass_on(len(piece))
        return b""

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0, limit=64 * 1024)
        self._service.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server:
            yield self._service.url


def _process_at(ends: tuple[int, int], pids: list[int]) -> int:
    """Return which of the processes has the connection between two ports; 0: none of them."""
    sockets = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    inodes = {fields[9] for fields in sockets if tuple(int(end[9:], 16) for end in fields[1:3]) == ends}
    (inode,) = inodes - {"0"}  # those of connections that have ended; what changes while it is read may be there twice
    for pid in pids:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):  # it was closed meanwhile
                if str(descriptor.readlink()) == f"socket:[{inode}]":
                    return pid
    return 0


@define
class _Cluster:
    """A scheduler and workers, by their processes, and a client of them."""

    client: Client
    scheduler: int
    workers: list[int]

    async def scheduler_cpu_s(self) -> float:
        """Return the seconds of CPU that the scheduler has taken."""
        told = (await anyio.Path(f"/proc/{self.scheduler}/stat").read_text()).rpartition(")")[2].split()
        return (int(told[11]) + int(told[12])) / os.sysconf("SC_CLK_TCK")


@asynccontextmanager
async def _cluster(folder: Path, workers: int) -> AsyncIterator[_Cluster]:
    known = folder / "scheduler.json"

    def start(name: str, *options: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"distributed.cli.dask_{name}", "--scheduler-file", str(known)]
        with (folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen([*command, "--no-dashboard", *options], stdout=log, stderr=log)

    local = ["--no-nanny", "--nthreads", "2", "--local-directory", str(folder), "--memory-limit", "0"]
    scheduler = start("scheduler", "--port", "0", "--host", "127.0.0.1")
    processes = [scheduler]
    processes += [start("worker", *local) for _ in range(workers)]
    try:
        while not await anyio.Path(known).exists():  # noqa: ASYNC110 - another process's doing
            await anyio.sleep(0.1)
        async with Client(scheduler_file=str(known), asynchronous=True) as client:  # type: ignore[no-untyped-call]
            await client.wait_for_workers(workers, timeout=120)
            yield _Cluster(client, scheduler.pid, [process.pid for process in processes[1:]])
    except Exception:  # the folder with the logs goes too
        async for log in anyio.Path(folder).glob("*.log"):
            print(f"{log.name}:\n{await log.read_text()}", file=sys.stderr)
        raise
    finally:
        for process in processes:
            process.kill()
            process.wait()


@frozen
class _Outcome:
    """What a batch took: seconds, and those of the scheduler's CPU."""

    wall_s: float
    scheduler_cpu_s: float


async def _one_batch(
    cluster: _Cluster, client: FaceSwapClient, folder: Path, files: list[Path], shard_size: int
) -> _Outcome:
    before, begun = await cluster.scheduler_cpu_s(), time.perf_counter()
    jobs = [ImageSwap(path, files[0]) for path in files]
    with tempfile.TemporaryDirectory(dir=folder) as out:
        pipeline = DistributedPipeline(
            client, cluster.client, journal=Path(out) / "batch.db", output_dir=Path(out) / "out", shard_size=shard_size
        )
        async with pipeline:
            report = await pipeline.collect(jobs)
    wall_s = time.perf_counter() - begun
    assert report.completed == len(files), report.outcomes[:3]
    return _Outcome(wall_s, await cluster.scheduler_cpu_s() - before)


def _make_files(folder: Path, number: int, size: int) -> list[Path]:
    folder.mkdir()
    files = [folder / f"{index}.png" for index in range(number)]
    for path in files:
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + os.urandom(size))
    return files


async def uplink(options: argparse.Namespace) -> None:
    service = _ShapedService(options.uplink * 1e6)
    sizes = (1, 2, 4)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = _make_files(folder / "files", options.files, options.size * 1000)
        few = _make_files(folder / "few", 20, 1000)
        async with AsyncExitStack() as stack:
            url = await stack.enter_async_context(service.listen())
            clusters = {}
            for size in sizes:
                (folder / f"cluster-{size}").mkdir()
                clusters[size] = await stack.enter_async_context(_cluster(folder / f"cluster-{size}", size))
                service.pids += clusters[size].workers
            client = FaceSwapClient(
                Provider("stand-in", url, requests_per_second=None),
                ApiKey("key"),
                poll_policy=FixedPolling(image_s=0.1),
            )
            took: dict[int, list[_Outcome]] = {size: [] for size in sizes}
            for size in sizes:  # so that all have imported what they need
                await _one_batch(clusters[size], client, folder, few, 1)
            for number in range(options.rounds):
                for size in reversed(sizes) if number % 2 else sizes:
                    outcome = await _one_batch(clusters[size], client, folder, files, options.shard)
                    took[size].append(outcome)
                    print(f"{size} workers: {outcome.wall_s:.1f} s", file=sys.stderr, flush=True)
    _tell_uplink(options, took)


def _tell_uplink(options: argparse.Namespace, took: dict[int, list[_Outcome]]) -> None:
    ratios = {
        size: [one.wall_s / many.wall_s for one, many in zip(took[1], outcomes, strict=True)]
        for size, outcomes in took.items()
    }
    least_s = options.files * options.size * 1000 / (options.uplink * 1e6)
    rows = [
        [
            size,
            spread([outcome.wall_s for outcome in outcomes]),
            spread(ratios[size]),
            spread([outcome.wall_s / (least_s / size) for outcome in outcomes]),
            spread([outcome.scheduler_cpu_s / options.files * 1000 for outcome in outcomes]),
        ]
        for size, outcomes in took.items()
    ]
    title = f"{options.files} files of {options.size} kB, {options.uplink:g} MB/s up for each, {options.rounds} rounds"
    print_table(title, ["workers", "seconds", "speed / one", "time / least", "scheduler CPU ms a job"], rows)
    for size, goal in _GOALS.items():
        ratio = statistics.median(ratios[size])
        verdict(f"{size} workers: {ratio:.2f} times as fast as one, at least {goal}", met=ratio >= goal)


class _Nobody:
    """A link over which nothing goes."""

    is_lost = False

    def note(self, op: str, *arguments: Any) -> None:
        pass

    def close(self) -> None:
        pass


def _settings(journal: Path, workers: int) -> RunSettings:
    return RunSettings(
        client=ClientSettings(
            provider=Provider("stand-in", "http://127.0.0.1", requests_per_second=None),
            credentials=ApiKey("key"),
            timeouts=Timeouts(),
            retry=RetryPolicy(),
            polling=FixedPolling(),
        ),
        limits=Limits(in_flight=4 * workers),
        output_dir=None,
        journal=str(journal),
        in_doubt="hold",
        retry_failed=False,
        tells_stages=False,
    )


class _Simulated:
    """A worker that asks what the pipeline asks, shard after shard."""

    def __init__(
        self, active: ActiveRun, number: int, shard_size: int, shards: itertools.count[int], last: int
    ) -> None:
        self._active = active
        self._session = WorkerSession(active, f"worker-{number}", _Nobody())  # type: ignore[arg-type]
        self._shard_size = shard_size
        self._shards = shards
        self._last = last
        active.enter(self._session)

    async def run(self) -> None:
        ask, note = self._session.answer, self._session.note
        while (number := next(self._shards)) < self._last:
            self._active.run.shards.add(number, self._shard_size, b"")
            (attempt, _), _, places, _ = await ask("begin", (number,))
            async with asyncio.TaskGroup() as group:
                for place in places:
                    group.create_task(self._job(attempt, place, number * self._shard_size + place))
            assert await ask("end", (attempt,))
            self._active.run.shards.forget(number)
            note("calls", ({"/v1/task/face-swap": number},))

    async def _job(self, attempt: int, place: int, index: int) -> None:
        ask, note = self._session.answer, self._session.note
        content, face = index.to_bytes(32, "big"), b"face" * 8
        key = job_key("stand-in", TaskKind.IMAGE_SWAP, [content, face], [False], 0)
        assert await ask("occurrence", (attempt, place, key[:8])) == 0
        record = JobRecord.from_row(await ask("recall", (attempt, key, "image swap", f"/media/{index}.png")))
        if await ask("asset", (face,)) is None and await ask("begin upload", (face,)) is None:
            await ask("put", (face, ("key", "PNG")))
            note("end upload", (face,))
        if await ask("asset", (content,)) is None and await ask("begin upload", (content,)) is None:
            await ask("put", (content, (f"key-{index}", "PNG")))
            note("end upload", (content,))
        for state in (JobState.UPLOADED, JobState.INTENT, JobState.CREATED):
            if state is JobState.INTENT:
                await ask("take slot", (attempt, key))
            record.state = state
            record.pending = TaskKind.IMAGE_SWAP if state is JobState.INTENT else None
            if state is JobState.CREATED:
                record.tasks[TaskKind.IMAGE_SWAP] = index
            await ask("write", (attempt, record.to_row()))
        note("free slot", (attempt, key, True))
        await ask("check", (attempt,))
        record.state, record.path, record.size = JobState.DONE, f"{index}.png", 1000
        await ask("write", (attempt, record.to_row()))
        note("release", (attempt, key))
        note("outcome", (attempt, place, b"x" * 600))


async def coordinator(options: argparse.Namespace) -> None:
    shard_size = 20
    with tempfile.TemporaryDirectory(dir=options.dir) as name:
        path = Path(name) / "batch.db"
        settings = _settings(path, options.workers)
        async with Journal(path, realm=settings.realm) as journal:
            active = ActiveRun(Run(settings, journal), journal, None)
            shards, last = itertools.count(), options.jobs // shard_size
            workers = [_Simulated(active, number, shard_size, shards, last) for number in range(options.workers)]
            with Meter() as meter:
                async with LagWatch() as lag, asyncio.TaskGroup() as group:
                    for worker in workers:
                        group.create_task(worker.run())
        jobs, cost = last * shard_size, meter.cost
        size = path.stat().st_size
    print_table(
        f"{options.workers} workers, {jobs} jobs, on the coordinator alone",
        ["jobs a second", "CPU us a job", "memory MiB", "bytes a job", "loop held up, ms", "journal bytes a job"],
        [
            [
                f"{jobs / cost.wall_s:.0f}",
                f"{cost.cpu_s / jobs * 1e6:.0f}",
                f"{cost.grown_mib:.0f}",
                f"{cost.grown_mib * 2**20 / jobs:.0f}",
                f"{lag.longest_ms:.0f}",
                f"{size / jobs:.0f}",
            ]
        ],
    )


def main() -> None:
    description = (__doc__ or "").split("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks distributed", description=description)
    parser.add_argument("what", choices=["uplink", "coordinator"], nargs="?", default="uplink")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--files", type=int, default=100)
    parser.add_argument("--size", type=int, default=500, help="of each file, in kB")
    parser.add_argument("--uplink", type=float, default=1.0, help="of each worker, in MB/s")
    parser.add_argument("--shard", type=int, default=2, help="how many files go to a worker together")
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=200_000)
    parser.add_argument("--dir", help="where the journal lies")
    options = parser.parse_args()
    # Stopped by a `timeout`, it says so and leaves no cluster behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped before its end"))
    asyncio.run({"uplink": uplink, "coordinator": coordinator}[options.what](options))


if __name__ == "__main__":
    main()
