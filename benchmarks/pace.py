"""How near the pace of a batch comes to what is possible, beside the designs that users write themselves.

The pipeline and plain aiohttp clients talk to the local service's protocol front, which is a process of its own and
works on nothing: tasks take log-normal times, about 5 s an image and 80 s a video. Time is compressed: rates are
multiplied and durations divided by the factor in the table, so that about a hundred calls a second are really made.
What each client brings back is compared byte for byte before it is measured.

The lower bound of a run knows how long the service really took for every task: calls leave at the rate from the first
moment on, each shared file is uploaded once, each task is looked at once, and tasks are worked on in the order of their
creation, with no way to the service and back. Calls and lateness ("noticed") are counted too; lateness is in seconds
before compression. "Clairvoyant" is the batch of `pace_model`: the same pipeline at a service of the same durations,
with calls of 0.13 s, told when each task is done. A bound is that of the order in which a design creates its tasks: the
pipeline begins with the videos, the others take the jobs as they come, which takes up to a tenth longer. So designs are
compared by the clairvoyant's time, which is the same for all.

"Time left off by" is by which share of the truth the time was wrong that the progress bar tells from a third to nine
tenths of a batch's time, on average: the one that it tells, or the nearer of two, where it says "2 to 5 min" and the
truth is not between them. "Good" is the share of that time in which that was at most a quarter; the width is how many
times as long the most is as the least, in the middle, or 100.

Designs: "facewarp" is SwapPipeline as it is. "every 3 s" and the like are one semaphore of 10 over whole jobs, no
limiter (refused calls are repeated after a random, growing wait) and looks at fixed intervals. "back-off" is a limiter,
32 jobs at once, and looks after 1 s, then 1.5 times longer each, up to 15 s. Both upload the face for each job.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path

from attrs import define, evolve, frozen

from benchmarks.pace_foresight import Foresight, foresight
from benchmarks.pace_model import simulate
from benchmarks.pace_plain import PLAIN, Batch, Polling, run_plain
from benchmarks.pace_regimes import (
    FAILING,
    LIMITS,
    OUTAGE,
    SETS,
    STEADY,
    TYPICAL_IMAGE_S,
    TYPICAL_VIDEO_S,
    Durations,
    Regime,
    bound,
    kinds_of,
)
from facewarp_async.client import FaceSwapClient
from facewarp_async.config import ApiKey, Provider, Timeouts
from facewarp_async.errors import Stage
from facewarp_async.models import ImageSwap, TaskKind, VideoSwap
from facewarp_async.pipeline import Completed, Event, JobEnded, StageBegun, SwapPipeline
from facewarp_async.policy.remaining import Remaining
from facewarp_async.policy.retry import RetryPolicy
from facewarp_async.server import API, CREATES, Fault, FaultPlan, FaultRule, InstantRunner, LocalService, Made, Work

_LOOK_AHEAD_S = 0.1
"""Of compressed time."""


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


def _watcher(batch: Batch, remaining: Remaining) -> Callable[[Event], None]:
    """Follow a batch as the progress bar does."""

    def note(event: Event) -> None:
        now = time.monotonic()
        if isinstance(event, JobEnded):
            remaining.ended(event.index, now)
        elif not isinstance(event, StageBegun):
            pass
        elif event.stage is Stage.CHECK:
            remaining.begun(now)
            is_video = isinstance(event.job, VideoSwap)
            remaining.expected(event.index, TaskKind.VIDEO_SWAP if is_video else TaskKind.IMAGE_SWAP)
        elif event.stage is Stage.CREATE:
            remaining.uploaded(now)
        elif event.stage is Stage.WAIT:
            remaining.created(event.index, now)
        elif event.stage is Stage.DOWNLOAD:
            batch.noticed_at[event.index] = now

    return note


async def _look_ahead(batch: Batch, remaining: Remaining) -> None:
    while True:
        await asyncio.sleep(_LOOK_AHEAD_S)
        if left := remaining.left(time.monotonic()):
            batch.told.append((time.monotonic(), left))


async def facewarp(batch: Batch) -> list[Path]:
    factor = batch.regime.factor
    provider = evolve(
        batch.provider, typical_image_s=TYPICAL_IMAGE_S / factor, typical_video_s=TYPICAL_VIDEO_S / factor
    )
    jobs = [(VideoSwap if path.suffix == ".mp4" else ImageSwap)(path, batch.face) for path in batch.media]
    timeouts, retry = Timeouts(image_task_s=600), RetryPolicy()
    retry = evolve(retry, first_s=retry.first_s / factor, longest_s=retry.longest_s / factor)
    async with FaceSwapClient(provider, ApiKey(batch.key), timeouts=timeouts, retry=retry, cache_dir=False) as client:
        remaining = Remaining(len(jobs), rate=provider.requests_per_second, foresee=client.work_left)
        on_event = _watcher(batch, remaining)
        looking = asyncio.create_task(_look_ahead(batch, remaining))
        async with SwapPipeline(client, output_dir=batch.out, limits=LIMITS, on_event=on_event) as pipeline:
            report = await pipeline.collect(jobs)
        looking.cancel()
    assert [outcome.job for outcome in report.outcomes] == jobs
    paths = []
    for outcome in report.outcomes:
        assert isinstance(outcome, Completed), outcome
        assert isinstance(outcome.path, Path)
        paths.append(outcome.path)
    return paths


Client = Callable[[Batch], Awaitable[list[Path]]]


def _plain(polling: Polling) -> Client:
    return lambda batch: run_plain(batch, polling)


DESIGNS: dict[str, Client] = {"facewarp": facewarp, **{name: _plain(polling) for name, polling in PLAIN.items()}}


@frozen(kw_only=True)
class Figures:
    """What one run has cost."""

    makespan: float
    beside_clairvoyant: float
    calls: float
    noticed_s: float
    refused: float
    foreseen: Foresight | None


def _make_files(folder: Path, regime: Regime, jobs: int, seed: int) -> tuple[Path, list[Path]]:
    media = []
    for index, kind in enumerate(kinds_of(regime, jobs, seed)):
        head = b"\x00\x00\x00\x20ftypisom" if kind.is_video else b"\x89PNG\r\n\x1a\n"
        path = folder / f"{index:05}{'.mp4' if kind.is_video else '.png'}"
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
        beside_clairvoyant=makespan_s * regime.factor / _clairvoyant_s(evolve(regime, factor=1.0), jobs, seed),
        calls=calls / least.calls,
        noticed_s=statistics.mean(late) * regime.factor,
        refused=seen.refused / calls,
        foreseen=foresight(batch.told, begun, begun + makespan_s),
    )


@cache
def _clairvoyant_s(regime: Regime, jobs: int, seed: int) -> float:
    return simulate(regime, "clairvoyant", jobs=jobs, seed=seed).makespan_s


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
        "/ clairvoyant",
        "calls / bound",
        "noticed after, s",
        "refused",
        "time left off by",
        "good",
        "width",
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
            _spread([each.beside_clairvoyant for each in figures], ".3f"),
            _spread([each.calls for each in figures], ".3f"),
            _spread([each.noticed_s for each in figures], ".1f"),
            _spread([100 * each.refused for each in figures], ".1f") + " %",
            *_told(figures),
        ]
        yield f"| {' | '.join(cells)} |"


def _told(figures: list[Figures]) -> list[str]:
    told = [each.foreseen for each in figures if each.foreseen is not None]
    if not told:
        return ["-"] * 3
    return [
        _spread([100 * each.error for each in told], ".0f") + " %",
        _spread([100 * each.good for each in told], ".0f") + " %",
        _spread([each.width for each in told], ".1f"),
    ]


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
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=["steady"], help="which services")
    parser.add_argument("--quick", action="store_true", help="a look at some of it in less than a minute")
    options = parser.parse_args()
    regimes = [
        regime
        for regime in [each for name in options.sets for each in SETS[name]]
        if options.regimes is None or regime.name.startswith(tuple(options.regimes))
    ]
    if options.quick:
        regimes, options.jobs, options.rounds = [STEADY[0], STEADY[6]], [30], 1
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
