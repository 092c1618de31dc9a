"""A Dask cluster of real processes on loopback, an account whose service keeps books, and what must hold of both."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import subprocess
import sys
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from attrs import Factory, define, frozen
from distributed import Client, Security

from facewarp_async.client import FaceSwapClient
from facewarp_async.config import Limits
from facewarp_async.distributed import DistributedPipeline
from facewarp_async.errors import InDoubtError
from facewarp_async.models import Job
from facewarp_async.pipeline import Failed, Outcome
from facewarp_async.server import Fault, FaultPlan, FaultRule, InstantRunner, LocalService, Made, Work
from tests.distributed.program import client_of
from tests.programs import jobs_of, make_media, record

CALLS = frozenset(
    f"/v1/{path}"
    for path in (
        "source/upload-url",
        "source/access-url",
        "task/face-swap",
        "task/get-face",
        "task/multiple-face-swap",
        "task/detail",
    )
)
_PATIENT_S = 300.0
"""After how long the scheduler gives up a silent worker: on a busy machine all are silent for seconds."""

_END_S = 5.0
"""How long a process of the cluster may take to end."""

_JITTER_S = 0.1
"""What processes on a busy machine may add to the way of a call."""

_TICK_S, _STALL_S, _AFTER_S = 0.005, 0.02, 0.05
"""How often the service's loop is watched, how late is held up, and for how long it then catches up."""


class Stalls:
    """Knows when this process's loop was held up: what came meanwhile was noted late, and all at once."""

    def __init__(self) -> None:
        self._spans: list[tuple[float, float]] = []

    async def watch(self) -> None:
        """Watch the loop until cancelled."""
        last = anyio.current_time()
        while True:
            await anyio.sleep(_TICK_S)
            now = anyio.current_time()
            if now - last > _STALL_S:
                self._spans.append((last, now))
            last = now

    @property
    def longest_s(self) -> float:
        """For how long it was held up at most."""
        return max((end - begin for begin, end in self._spans), default=0.0)

    def earliest(self, noted_at: float) -> float:
        """Return when that may have come which was noted at a time."""
        return min((begin for begin, end in self._spans if begin <= noted_at <= end + _AFTER_S), default=noted_at)


class CountingRunner(InstantRunner):
    """Swaps nothing, and notes which media came, and how many tasks were under way at once."""

    def __init__(self, duration_s: float) -> None:
        super().__init__(duration_s=duration_s)
        self.media: Counter[tuple[str, bytes]] = Counter()
        self.running = self.most_running = 0

    async def run(self, work: Work) -> Made:
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            self.media[work.kind, await anyio.to_thread.run_sync(work.media.read_bytes)] += 1
            return await super().run(work)
        finally:
            self.running -= 1


@define
class Account:
    """A service with books, media, and an output folder that all machines see."""

    folder: Path
    service: LocalService
    runner: CountingRunner
    faults: FaultPlan
    rate: float | None
    cap: int
    arrivals: list[float] = Factory(list)
    stalls: Stalls = Factory(Stalls)

    @property
    def out(self) -> Path:
        return self.folder / "out"

    @property
    def journal(self) -> Path:
        return self.folder / "journal" / "batch.db"

    def jobs(self) -> list[Job]:
        """Return a job for each file."""
        return jobs_of(self.folder / "media")

    def client(self) -> FaceSwapClient:
        return client_of(self.service.provider, self.service.auth, self.rate)

    def start_program(self, cluster: Cluster) -> subprocess.Popen[str]:
        """Run the batch in a process of its own."""
        given = {
            "--journal": self.journal,
            "--scheduler": cluster.address,
            "--url": self.service.provider.base_url,
            "--key": self.service.auth.key,
            "--cap": self.cap,
        } | ({} if self.rate is None else {"--rate": self.rate})
        options = [str(part) for pair in given.items() for part in pair]
        return subprocess.Popen(
            [sys.executable, "-m", "tests.distributed.program", str(self.folder / "media"), str(self.out), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    async def until_begun(self, tasks: int, program: subprocess.Popen[str]) -> None:
        """Wait until so many tasks were begun, or the program that is to create them has ended."""
        while program.poll() is None and len(self.runner.media) < tasks:  # noqa: ASYNC110 - another process's doing
            await anyio.sleep(0.02)

    def pipeline(self, dask: Client, **options: Any) -> DistributedPipeline:
        options.setdefault("shard_size", 5)
        limits = Limits(uploads=4, in_flight=self.cap, downloads=4)
        options.setdefault("limits", limits)
        return DistributedPipeline(self.client(), dask, journal=self.journal, output_dir=self.out, **options)

    def most_calls_in_a_second(self) -> int:
        """Return how many calls must have come in one second, less what is allowed for this machine's jitter."""
        window, most = deque[float](), 0
        for at in sorted(self.arrivals):
            window.append(self.stalls.earliest(at))
            while window[0] <= at - (1 - _JITTER_S):
                window.popleft()
            most = max(most, len(window))
        return most

    async def wrongs(self, outcomes: Sequence[Outcome]) -> list[str]:
        """Return what should not be: after all that was done to the cluster, of all jobs."""
        right = [outcome.job for outcome in outcomes] == self.jobs()
        wrong = [] if right else ["the outcomes' jobs are not those that were given"]
        return wrong + await self.wrong_records([record(outcome) for outcome in outcomes])

    async def wrong_records(self, told: Sequence[dict[str, Any]]) -> list[str]:
        """As `wrongs`, of what a program has told of all jobs."""
        await self.service.settled()
        media, wrong = self.folder / "media", list[str]()
        if [line["name"] for line in told] != [path.name for path in sorted(media.glob("*.png"))]:
            wrong.append("the outcomes are not one for each job in the jobs' order")
        for line in told:
            result, source = self.out / line["name"], media / line["name"]
            if line["state"] == "done":
                if not result.exists() or result.read_bytes() != source.read_bytes():
                    wrong.append(f"{line['name']}: its result is missing or wrong")
            elif line.get("error") != "InDoubtError":
                wrong.append(str(line))
        wrong += [f"{kind}: created {count} times" for (kind, _), count in self.runner.media.items() if count > 1]
        if self.rate is not None and self.most_calls_in_a_second() > self.rate:
            wrong.append(f"{self.most_calls_in_a_second()} calls in a second, {self.rate} are allowed")
        if self.runner.most_running > self.cap:
            wrong.append(f"{self.runner.most_running} tasks at once, {self.cap} are allowed")
        wrong += [f"{path.name}: left behind" for path in self.out.rglob("*") if path.suffix != ".png"]
        return wrong


def doubted(outcomes: Sequence[Outcome]) -> int:
    """Return how many jobs are named in doubt."""
    return sum(isinstance(outcome, Failed) and isinstance(outcome.error, InDoubtError) for outcome in outcomes)


@asynccontextmanager
async def open_account(
    folder: Path,
    *,
    jobs: int,
    seed: int = 1,
    rate: float | None = None,
    cap: int = 16,
    task_s: float = 0.1,
) -> AsyncIterator[Account]:
    """Make media and start a service."""
    await anyio.to_thread.run_sync(partial(make_media, folder / "media", jobs, random.Random(seed), most_bytes=30_000))
    runner, faults = CountingRunner(task_s), FaultPlan()
    async with LocalService(runner=runner, faults=faults) as service:
        account = Account(folder, service, runner, faults, rate, cap)

        def note(_target: str) -> bool:
            account.arrivals.append(anyio.current_time())
            return False

        faults.add(FaultRule(Fault.RESET_BEFORE, CALLS, matching=note))
        watching = asyncio.create_task(account.stalls.watch())
        try:
            yield account
        finally:
            watching.cancel()


@frozen
class Certificates:
    """What the processes of a cluster know each other by.

    Attributes:
        authority: The file with the certificate of who has signed theirs.
        own: The file with the certificate and the key of each.
    """

    authority: Path
    own: Path

    @property
    def options(self) -> list[str]:
        """For Dask's commands."""
        return ["--tls-ca-file", str(self.authority), "--tls-cert", str(self.own), "--tls-key", str(self.own)]

    @property
    def security(self) -> Security:
        """For a client in Python."""
        return Security(  # type: ignore[no-untyped-call]  # Dask's
            tls_ca_file=str(self.authority), tls_client_cert=str(self.own), require_encryption=True
        )


_PRELOADED = {"scheduler": "plugin", "worker": "worker"}


class Cluster:
    """A scheduler and workers, each a process.

    Args:
        folder: For their logs and local files.
        certificates: What they know each other by; ``None``: they speak in the clear.
        ttl_s: After how long the scheduler gives up a silent worker; Dask takes no less than 5 s.
    """

    def __init__(self, folder: Path, certificates: Certificates | None = None, *, ttl_s: float = _PATIENT_S) -> None:
        self._folder = folder
        self._ttl_s = ttl_s
        self._certificates = certificates
        self._port = 0
        self._started: list[subprocess.Popen[bytes]] = []
        self._names: dict[int, str] = {}
        self.scheduler: subprocess.Popen[bytes] | None = None
        self.workers: list[subprocess.Popen[bytes]] = []

    @property
    def address(self) -> str:
        return f"{'tcp' if self._certificates is None else 'tls'}://127.0.0.1:{self._port}"

    def start(self, workers: int) -> None:
        """Start a scheduler and workers; again on the same port after they were killed."""
        if not self._port:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                self._port = free.getsockname()[1]
        options = ["--host", self.address, "--no-dashboard"]
        self.scheduler = self._program("scheduler", *options)
        self.workers = [self.add_worker() for _ in range(workers)]

    def add_worker(self) -> subprocess.Popen[bytes]:
        """Start another worker."""
        options = ["--no-nanny", "--nthreads", "2", "--no-dashboard", "--death-timeout", "30"]
        name = f"worker-{len(self._started)}"
        options += ["--name", name, "--local-directory", str(self._folder / name), "--memory-limit", "0"]
        worker = self._program("worker", self.address, *options)
        self._names[worker.pid] = name
        return worker

    def _program(self, name: str, *options: str) -> subprocess.Popen[bytes]:
        log = self._folder / f"{len(self._started)}-{name}.log"
        given = {"SCHEDULER__WORKER_TTL": f"{self._ttl_s}s", "SCHEDULER__ALLOWED_FAILURES": "1"}
        # Before they do anything else: the import takes seconds of a busy machine, in which their loops stand still.
        options = (*options, "--preload", f"facewarp_async.distributed.{_PRELOADED[name]}")
        if self._certificates is not None:
            options = (*options, *self._certificates.options)
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.dask_{name}", *options],
                env=os.environ | {f"DASK_DISTRIBUTED__{key}": value for key, value in given.items()},
                stdout=file,
                stderr=file,
            )
        self._started.append(process)
        return process

    def end(self) -> None:
        """Have all processes end by themselves, as what measures coverage needs it; kill those that do not."""
        for process in self._started:
            process.terminate()
        for process in self._started:
            with suppress(subprocess.TimeoutExpired):  # it is stopped, or hangs
                process.wait(_END_S)
        self.kill()

    def kill(self) -> None:
        """Kill all processes."""
        for process in self._started:
            if process.poll() is None:
                process.kill()  # also one that is stopped
        for process in self._started:
            process.wait()

    def _have(self, workers: int) -> None:
        """Kill workers that are too many, and start those that are missing."""
        self.workers = [worker for worker in self.workers if worker.poll() is None]
        while len(self.workers) > workers:
            self.workers.pop().kill()
        while len(self.workers) < workers:
            self.workers.append(self.add_worker())

    @asynccontextmanager
    async def client(self, workers: int) -> AsyncIterator[Client]:
        """Have so many workers that live, and connect to them."""
        self._have(workers)
        security = None if self._certificates is None else self._certificates.security
        async with Client(self.address, asynchronous=True, security=security) as client:  # type: ignore[no-untyped-call]  # Dask's
            with anyio.fail_after(60):
                # By name: one that ends, and that the scheduler knows no more, is not the one that it still knows.
                while set((await workers_of(client)).values()) != {self._names[worker.pid] for worker in self.workers}:
                    await anyio.sleep(0.05)
                    self._have(workers)  # one that was given up or retired may have been about to end
            yield client

    def logs(self) -> str:
        """Return what the programs have told."""
        return "".join(path.read_text() for path in sorted(self._folder.glob("*.log")))


async def workers_of(client: Client) -> dict[str, str]:
    """Return the addresses of the workers that the scheduler knows of, and their names."""
    assert client.scheduler is not None
    workers = (await client.scheduler.identity())["workers"]
    return {address: worker["name"] for address, worker in workers.items()}


async def until_workers(client: Client, condition: Callable[[dict[str, str]], bool]) -> None:
    """Wait until something holds of the workers that the scheduler knows of."""
    with anyio.fail_after(60):
        while not condition(await workers_of(client)):  # noqa: ASYNC110 - another process's doing
            await anyio.sleep(0.05)


async def give_up(client: Client, address: str) -> None:
    """Have the scheduler give up a worker as one that was silent for too long."""

    async def outlive(dask_scheduler: Any) -> None:  # not of this module: the scheduler's process does not know it
        dask_scheduler.workers[address].last_seen = 0
        await dask_scheduler.check_worker_ttl()

    await client.run_on_scheduler(outlive)  # type: ignore[no-untyped-call]  # Dask's
    await until_workers(client, lambda known: address not in known)


@contextmanager
def open_cluster(folder: Path, *, workers: int, **options: Any) -> Iterator[Cluster]:
    """Run a cluster."""
    cluster = Cluster(folder, **options)
    try:
        cluster.start(workers)
        yield cluster
    finally:
        cluster.end()
