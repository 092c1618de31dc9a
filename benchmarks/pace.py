"""How near the pace of a batch comes to what is possible, beside the designs that users write themselves.

The pipeline and plain aiohttp clients talk to the local service's protocol front, which is a process of its own and
works on nothing: tasks take log-normal times, about 5 s an image and 80 s a video. Time is compressed: rates are
multiplied and durations divided by the factor in the table, so that about a hundred calls a second are really made.
What each client brings back is compared byte for byte before it is measured.

The lower bound of a run knows how long the service really took for every task: calls leave at the rate from the first
moment on, each shared file is uploaded once, each task is looked at once, and tasks are worked on in the order of their
creation, with no way to the service and back. Calls and lateness ("noticed") are counted too; lateness is in seconds
before compression. "End foreseen to" is the mean error of the remaining time, told when a third to two thirds of the
jobs were done.

Designs: "facewarp" is SwapPipeline as it is. "every 3 s" and the like are one semaphore of 10 over whole jobs, no
limiter (refused calls are repeated after a random, growing wait) and looks at fixed intervals. "back-off" is a limiter,
32 jobs at once, and looks after 1 s, then 1.5 times longer each, up to 15 s. Both upload the face for each job.
"""

from __future__ import annotations

import argparse
import asyncio
import heapq
import math
import multiprocessing
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import aiohttp
from attrs import Factory, define, evolve, frozen
from yarl import URL

from facewarp_async.client import FaceSwapClient
from facewarp_async.config import ApiKey, Limits, Provider, Timeouts
from facewarp_async.errors import Stage
from facewarp_async.models import ImageSwap, TaskKind, VideoSwap
from facewarp_async.pipeline import Completed, Event, JobEnded, SwapPipeline
from facewarp_async.policy.remaining import Remaining
from facewarp_async.server import API, CREATES, Fault, FaultPlan, FaultRule, InstantRunner, LocalService, Made, Work
from facewarp_async.wire.requests import CREATE_PATHS, TASK_PATH, UPLOAD_URL_PATH

IMAGE_S, VIDEO_S = 5.0, 80.0
"""The medians of the durations."""

TYPICAL_IMAGE_S, TYPICAL_VIDEO_S = 6.0, 90.0
"""What the client is told to start from: wrong, as such figures are."""

VIDEO_SHARE = 0.2


@frozen(kw_only=True)
class Regime:
    """A service and a batch.

    Attributes:
        name: For the table.
        rate: Calls a second; ``None`` for any number.
        workers: How many tasks the service works on at once.
        mixed: Whether a fifth of the jobs are videos.
        factor: By how much time is compressed.
        disturbed: Whether durations drift to three times as long, one call in twenty that creates nothing ends in
            HTTP 500, and the service refuses all calls for ten seconds.
    """

    name: str
    rate: float | None
    workers: int
    mixed: bool = False
    factor: float
    disturbed: bool = False


REGIMES = [
    Regime(name="1/s, images", rate=1, workers=8, factor=100),
    Regime(name="1/s, mixed", rate=1, workers=16, mixed=True, factor=100),
    Regime(name="5/s, images", rate=5, workers=4, factor=24),
    Regime(name="5/s, mixed", rate=5, workers=12, mixed=True, factor=60),
    Regime(name="20/s, images", rate=20, workers=16, factor=8),
    Regime(name="20/s, mixed", rate=20, workers=16, mixed=True, factor=40),
    Regime(name="any, images", rate=None, workers=8, factor=12),
    Regime(name="any, mixed", rate=None, workers=8, mixed=True, factor=60),
]
DISTURBED = [
    Regime(name="1/s, disturbed", rate=1, workers=8, factor=80, disturbed=True),
    Regime(name="5/s, disturbed", rate=5, workers=8, factor=20, disturbed=True),
    Regime(name="20/s, disturbed", rate=20, workers=16, factor=8, disturbed=True),
]
OUTAGE = (60.0, 70.0)
"""When all calls are refused, in seconds after the first."""

FAILING = 0.05


class Durations:
    """Draws what tasks take: the same for each kind, one after the other, whoever asks."""

    def __init__(self, regime: Regime, jobs: int, seed: int) -> None:
        self._regime, self._jobs = regime, jobs
        self._draws = {kind: random.Random(f"{seed}{kind}") for kind in TaskKind}
        self.drawn: list[float] = []

    def __call__(self, kind: TaskKind) -> float:
        median, sigma = (VIDEO_S, 0.5) if kind.is_video else (IMAGE_S, 0.45)
        seconds = median * math.exp(self._draws[kind].gauss(0, sigma))
        seconds = min(max(seconds, median / 4), 4 * median)
        if self._regime.disturbed:
            seconds *= 1 + 2 * len(self.drawn) / self._jobs
        self.drawn.append(seconds / self._regime.factor)
        return self.drawn[-1]


class TimedRunner(InstantRunner):
    """Notes when each job's task was done; a job's number is at the end of its media."""

    def __init__(self, durations: Durations) -> None:
        super().__init__(duration_s=durations)
        self.done_at: dict[int, float] = {}
        self.took: list[float] = []
        """How long each really took, in the order in which they were begun."""

    async def run(self, work: Work) -> Made:
        """As `InstantRunner`."""
        begun, number = time.monotonic(), len(self.took)
        self.took.append(math.nan)
        made = await super().run(work)
        self.took[number] = time.monotonic() - begun
        self.done_at[int.from_bytes(work.media.read_bytes()[-4:], "big")] = time.monotonic()
        return made


@define
class Served:
    """What the service tells at the end."""

    calls: Counter[str]
    refused: int
    took: list[float]
    done_at: dict[int, float]
    paid_twice: int
    created: int


def _faults(regime: Regime) -> FaultPlan:
    if not regime.disturbed:
        return FaultPlan()
    first: list[float] = []

    def is_out(_target: str) -> bool:
        first.extend([] if first else [time.monotonic()])
        return OUTAGE[0] <= (time.monotonic() - first[0]) * regime.factor < OUTAGE[1]

    outage = FaultRule(Fault.RATE_LIMITED, API, matching=is_out, http_status=200)
    return FaultPlan([outage, FaultRule(Fault.SERVER_ERROR, API - CREATES, probability=FAILING)])


def serve(pipe: Connection, regime: Regime, jobs: int, seed: int) -> None:
    """Run a service until the other end asks for its figures."""

    async def main() -> None:
        durations = Durations(regime, jobs, seed)
        runner = TimedRunner(durations)
        rate = regime.rate and regime.rate * regime.factor
        async with LocalService(
            runner=runner, workers=regime.workers, requests_per_second=rate, faults=_faults(regime)
        ) as service:
            pipe.send((service.provider.base_url, service.auth.key))
            await asyncio.to_thread(pipe.recv)
            ledger = service.ledger
            refused = sum(number for (_, code), number in ledger.refusals.items() if code == 802)
            refused += sum(number for (_, name), number in ledger.faults.items() if name == Fault.RATE_LIMITED.name)
            pipe.send(
                Served(
                    Counter({call: number for call, number in ledger.calls.items() if call in API}),
                    refused,
                    runner.took,
                    runner.done_at,
                    len(ledger.paid_twice()),
                    len(ledger.creations),
                )
            )

    asyncio.run(main())


@define
class Batch:
    """A batch for a client: its jobs' files, and what it has found out when."""

    regime: Regime
    provider: Provider
    key: str
    face: Path
    media: Sequence[Path]
    out: Path
    noticed_at: dict[int, float] = Factory(dict)
    foreseen: list[tuple[float, float, float]] = Factory(list)
    """After each job: the share of jobs that have ended, when that was, and when the end was foreseen to be."""


async def facewarp(batch: Batch) -> list[Path]:
    remaining = Remaining(len(batch.media), rate=batch.provider.requests_per_second)

    def note(event: Event) -> None:
        now = time.monotonic()
        if isinstance(event, JobEnded):
            remaining.ended(event.index, now)
            share = (len(batch.foreseen) + 1) / len(batch.media)
            batch.foreseen.append((share, now, now + (remaining.remaining_s(now) or 0.0)))
        elif event.stage is Stage.CHECK:
            remaining.begun(now)
        elif event.stage is Stage.CREATE:
            remaining.uploaded(now)
        elif event.stage is Stage.WAIT:
            remaining.created(event.index, now)
        elif event.stage is Stage.DOWNLOAD:
            batch.noticed_at[event.index] = now

    factor = batch.regime.factor
    provider = evolve(
        batch.provider, typical_image_s=TYPICAL_IMAGE_S / factor, typical_video_s=TYPICAL_VIDEO_S / factor
    )
    jobs = [(VideoSwap if path.suffix == ".mp4" else ImageSwap)(path, batch.face) for path in batch.media]
    async with (
        FaceSwapClient(provider, ApiKey(batch.key), timeouts=Timeouts(image_task_s=600), cache_dir=False) as client,
        SwapPipeline(client, output_dir=batch.out, limits=LIMITS, on_event=note) as pipeline,
    ):
        report = await pipeline.collect(jobs)
    assert [outcome.job for outcome in report.outcomes] == jobs
    paths = []
    for outcome in report.outcomes:
        assert isinstance(outcome, Completed), outcome
        assert outcome.path is not None
        paths.append(outcome.path)
    return paths


LIMITS = Limits(in_flight=128)


@frozen(kw_only=True)
class Polling:
    """How a plain client looks at a task, in seconds before compression."""

    first_s: float
    factor: float = 1.0
    longest_s: float = 15.0
    at_once: int = 10
    has_limiter: bool = False


class Limiter:
    """Lets calls leave evenly, in the order in which they ask."""

    def __init__(self, gap_s: float) -> None:
        self._gap_s, self._free_at = gap_s, 0.0

    async def turn(self) -> None:
        now = time.monotonic()
        self._free_at = max(now, self._free_at + self._gap_s)
        await asyncio.sleep(self._free_at - now)


class PlainClient:
    """What is written in an hour with aiohttp."""

    def __init__(self, batch: Batch, polling: Polling, http: aiohttp.ClientSession) -> None:
        self._batch, self._polling, self._http = batch, polling, http
        rate = batch.provider.requests_per_second
        self._limiter = Limiter(1.03 / rate if rate and polling.has_limiter else 0.0)

    async def _call(self, method: str, path: str, **options: Any) -> Any:
        wait_s = 1.0 / self._batch.regime.factor
        while True:
            await self._limiter.turn()
            async with self._http.request(
                method, self._batch.provider.base_url + path, headers=_bearer(self._batch.key), **options
            ) as response:
                answer = await response.json(content_type=None)
            if answer["code"] == 200:
                return answer["data"]
            assert answer["code"] in {802, 500}, answer
            await asyncio.sleep(random.random() * wait_s)
            wait_s = min(2 * wait_s, 30.0 / self._batch.regime.factor)

    async def _upload(self, path: Path) -> str:
        grant = await self._call("POST", UPLOAD_URL_PATH, json={"file_name": path.name})
        async with self._http.put(
            URL(grant["upload_url"], encoded=True), data=await asyncio.to_thread(path.read_bytes)
        ) as response:
            response.raise_for_status()
        key: str = grant["key"]
        return key

    async def swap(self, index: int, path: Path) -> None:
        kind = TaskKind.VIDEO_SWAP if path.suffix == ".mp4" else TaskKind.IMAGE_SWAP
        main_key, target_key = [await self._upload(each) for each in (path, self._batch.face)]
        body = {"main_key": main_key, "target_key": target_key}
        task = await self._call("POST", CREATE_PATHS[kind], json=body)
        wait_s = self._polling.first_s
        while True:
            await asyncio.sleep(wait_s / self._batch.regime.factor)
            data = await self._call("GET", TASK_PATH, params={"id": task["task_id"]})
            if data["status"] == 0:
                break
            wait_s = min(wait_s * self._polling.factor, self._polling.longest_s)
        self._batch.noticed_at[index] = time.monotonic()
        async with self._http.get(URL(data["additional_data"]["merge_url"], encoded=True)) as response:
            body_bytes = await response.read()
        await asyncio.to_thread((self._batch.out / path.name).write_bytes, body_bytes)


def _bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


Client = Callable[[Batch], Awaitable[list[Path]]]


def plain(polling: Polling) -> Client:
    async def run(batch: Batch) -> list[Path]:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
            client, waiting = PlainClient(batch, polling, http), asyncio.Semaphore(polling.at_once)

            async def job(index: int, path: Path) -> None:
                async with waiting:
                    await client.swap(index, path)

            async with asyncio.TaskGroup() as group:
                for index, path in enumerate(batch.media):
                    group.create_task(job(index, path))
        return [batch.out / path.name for path in batch.media]

    return run


DESIGNS: dict[str, Client] = {
    "facewarp": facewarp,
    "every 0.5 s": plain(Polling(first_s=0.5)),
    "every 1 s": plain(Polling(first_s=1.0)),
    "every 3 s": plain(Polling(first_s=3.0)),
    "back-off": plain(Polling(first_s=1.0, factor=1.5, at_once=32, has_limiter=True)),
}


@frozen(kw_only=True)
class Bound:
    """What no client can do better: seconds until the last task is done, and calls."""

    makespan_s: float
    calls: float


def bound(regime: Regime, took: Sequence[float]) -> Bound:
    """Work a batch off with every duration known, all calls leaving as early as the rate allows."""
    jobs = len(took)
    sendings = 1 / (1 - FAILING) if regime.disturbed else 1.0

    def leaves_at(call: float) -> float:
        if regime.rate is None:
            return 0.0
        at = max(0.0, (call - max(1, int(regime.rate))) / regime.rate)
        return (at + OUTAGE[1] - OUTAGE[0] if regime.disturbed and at >= OUTAGE[0] else at) / regime.factor

    calls = (2 * jobs + 1) * sendings + jobs
    end, free_at = leaves_at(calls), [0.0] * regime.workers
    for number, seconds in enumerate(took, 1):
        done_at = max(free_at[0], leaves_at((number + 1) * sendings + number)) + seconds
        heapq.heapreplace(free_at, done_at)
        end = max(end, done_at)
    return Bound(makespan_s=end, calls=calls)


@frozen(kw_only=True)
class Figures:
    """What one run has cost."""

    makespan: float
    calls: float
    noticed_s: float
    refused: float
    foreseen: float


def _make_files(folder: Path, regime: Regime, jobs: int, seed: int) -> tuple[Path, list[Path]]:
    draw, media = random.Random(seed), []
    for index in range(jobs):
        is_video = regime.mixed and draw.random() < VIDEO_SHARE
        head = b"\x00\x00\x00\x20ftypisom" if is_video else b"\x89PNG\r\n\x1a\n"
        path = folder / f"{index:05}{'.mp4' if is_video else '.png'}"
        path.write_bytes(head + bytes(200) + index.to_bytes(4, "big"))
        media.append(path)
    face = folder / "face.png"
    face.write_bytes(b"\x89PNG\r\n\x1a\nface")
    return face, media


@contextmanager
def served(regime: Regime, jobs: int, seed: int) -> Iterator[tuple[Connection, Provider, str]]:
    """Run a service in a process of its own."""
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, regime, jobs, seed))
    process.start()
    try:
        url, key = mine.recv()
        rate = regime.rate and regime.rate * regime.factor
        yield mine, Provider("benchmark", url, requests_per_second=rate), key
    finally:
        process.join(10)
        process.kill()


def run(regime: Regime, design: str, *, jobs: int, seed: int) -> Figures:
    """Run one batch with one design, and see that its results are right."""
    with tempfile.TemporaryDirectory() as name, served(regime, jobs, seed) as (pipe, provider, key):
        folder, out = Path(name) / "media", Path(name) / "out"
        folder.mkdir()
        out.mkdir()
        face, media = _make_files(folder, regime, jobs, seed)
        batch = Batch(regime, provider, key, face, media, out)
        begun = time.monotonic()
        paths = asyncio.run(_complete(DESIGNS[design], batch))
        makespan_s = time.monotonic() - begun
        pipe.send("that was all")
        seen: Served = pipe.recv()
        for path, made in zip(media, paths, strict=True):
            assert path.read_bytes() == made.read_bytes(), f"{design}: the result of {path.name} is wrong"
    assert (seen.created, seen.paid_twice, len(seen.took)) == (jobs, 0, jobs), f"{design}: tasks were paid for twice"
    least, calls = bound(regime, seen.took), seen.calls.total()
    late = [batch.noticed_at[index] - seen.done_at[index] for index in range(jobs)]
    return Figures(
        makespan=makespan_s / least.makespan_s,
        calls=calls / least.calls,
        noticed_s=statistics.mean(late) * regime.factor,
        refused=seen.refused / calls,
        foreseen=_error(batch.foreseen, begun + makespan_s),
    )


def _error(foreseen: Sequence[tuple[float, float, float]], ended_at: float) -> float:
    """Return by which share the remaining time was wrong, on average, in the middle third of the jobs."""
    errors = [abs(end - ended_at) / (ended_at - now) for share, now, end in foreseen if 1 / 3 <= share <= 2 / 3]
    return statistics.mean(errors) if errors else math.nan


async def _complete(client: Client, batch: Batch) -> list[Path]:
    return await client(batch)


def table(results: dict[tuple[Regime, int, str], list[Figures]]) -> Iterator[str]:
    """Write the results down as a table of Markdown."""
    head = [
        "calls, jobs",
        "time",
        "number",
        "design",
        "makespan / bound",
        "calls / bound",
        "noticed after, s",
        "refused",
        "end foreseen to",
    ]
    yield f"| {' | '.join(head)} |"
    yield f"|{' --- |' * len(head)}"
    for (regime, jobs, design), figures in results.items():
        cells = [
            f"{regime.name}, {regime.workers} workers",
            f"1:{regime.factor:g}",
            f"{jobs}",
            design,
            _spread([each.makespan for each in figures], ".3f"),
            _spread([each.calls for each in figures], ".3f"),
            _spread([each.noticed_s for each in figures], ".1f"),
            _spread([100 * each.refused for each in figures], ".1f") + " %",
            "-"
            if math.isnan(figures[0].foreseen)
            else _spread([100 * each.foreseen for each in figures], ".0f") + " %",
        ]
        yield f"| {' | '.join(cells)} |"


def _spread(values: list[float], form: str) -> str:
    middle = f"{statistics.median(values):{form}}"
    return middle if len(values) == 1 else f"{middle} ({min(values):{form}} to {max(values):{form}})"


def _gentle(factor: float, jobs: int) -> float:
    """Compress short batches less, for they are soon over and this machine's own delays would count for more."""
    return factor if jobs >= 300 else math.ceil(factor * 0.4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, nargs="+", default=[100, 1000], help="sizes of batches")
    parser.add_argument("--rounds", type=int, default=3, help="how often each batch is run")
    parser.add_argument("--designs", nargs="+", choices=list(DESIGNS), default=list(DESIGNS))
    parser.add_argument("--regimes", nargs="+", metavar="NAME", help="only those whose names begin like this")
    parser.add_argument("--disturbed", action="store_true", help="drift, errors and an outage instead")
    parser.add_argument("--quick", action="store_true", help="a look at some of it in less than a minute")
    options = parser.parse_args()
    regimes = [
        regime
        for regime in (DISTURBED if options.disturbed else REGIMES)
        if options.regimes is None or regime.name.startswith(tuple(options.regimes))
    ]
    if options.quick:
        regimes, options.jobs, options.rounds = [REGIMES[0], REGIMES[6]], [30], 1
        options.designs = ["facewarp", "every 1 s", "back-off"]
    results: dict[tuple[Regime, int, str], list[Figures]] = {}
    for seed in range(options.rounds):
        for jobs in options.jobs:
            for regime in [evolve(each, factor=_gentle(each.factor, jobs)) for each in regimes]:
                for design in options.designs:
                    figures = run(regime, design, jobs=jobs, seed=seed)
                    print(f"{regime.name}, {jobs} jobs, {design}: {figures}", file=sys.stderr, flush=True)
                    results.setdefault((regime, jobs, design), []).append(figures)
    print(*table(results), sep="\n")


if __name__ == "__main__":
    main()
