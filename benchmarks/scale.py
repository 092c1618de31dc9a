"""Memory and CPU of a batch as it grows: does a job cost more where there are a hundred times as many of them?

    python -m benchmarks scale                                  1,000 jobs and 20,000, with a journal
    python -m benchmarks scale --jobs 1000 100000 --rounds 1    the whole of it, which takes a while
    python -m benchmarks scale --service local                  against the local service, which checks every call

Each batch runs in a process of its own against a stand-in in another, which speaks the protocol and ends every task
at once. Jobs come from a generator, media are files of their own, the face is shared, and outcomes are not kept: what
grows is the pipeline's own. Each batch has shown that its outcomes came in the order of the jobs, and by the
service's counts that each file was uploaded once and each task created once.

Then two batches that would fill a memory without bounds: one whose outcomes are taken slowly, and one whose first job
takes longest. Counted is how many jobs were begun before the first outcomes were taken.

At last many tasks that are all waited for at once, and then all done at once: for how long the event loop is held up.
Python's collector of garbage goes through all objects of a process now and then, in one go; how long that takes grows
with whatever waits. So there are two runs: as the pipeline sets the collector for so many, and with it as it comes.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.harness import Cost, LagWatch, Meter, print_table, run_module, spread, verdict
from benchmarks.standin import standin
from facewarp_async import ApiKey, Completed, FaceSwapClient, ImageSwap, Limits, Provider, SwapPipeline
from facewarp_async.errors import Stage
from facewarp_async.models import Job
from facewarp_async.pipeline import Event, StageBegun

PNG = b"\x89PNG\r\n\x1a\n"
RESULT_BYTES = 2000
KEY = "0123456789abcdef"


def pipeline_of(client: FaceSwapClient, folder: Path, *, journal: bool) -> SwapPipeline:
    return SwapPipeline(client, output_dir=folder / "out", journal=folder / "batch.db" if journal else None)


def jobs_in(folder: Path, count: int) -> Iterator[Job]:
    """Make jobs one at a time. A file is made when its job is, and goes when its outcome has come."""
    for number in range(count):
        media = folder / "in" / f"{number}.png"
        media.write_bytes(PNG + b"%d" % number)
        yield ImageSwap(media, folder / "face.png")


async def run_batch(name: str, count: int, url: str, key: str, *, journal: bool) -> None:
    """Run a batch, check its outcomes, and tell what it took."""
    folder, done = Path(name), 0
    provider = Provider("stand-in", url, requests_per_second=None, typical_image_s=0.01)
    async with (
        FaceSwapClient(provider, ApiKey(key), cache_dir=False) as client,
        pipeline_of(client, folder, journal=journal) as pipeline,
    ):
        with Meter() as meter:
            async for outcome in pipeline.stream(jobs_in(folder, count)):
                assert isinstance(outcome, Completed), outcome
                assert outcome.job.media == folder / "in" / f"{done}.png"
                assert outcome.path == folder / "out" / f"{done}.png"
                outcome.path.unlink()
                done += 1
    assert done == count
    meter.tell()


@contextmanager
def local_service(folder: Path) -> Iterator[tuple[str, str]]:
    """Run the local service, which works on nothing, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.scale", "serve", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]) as child:
        try:
            assert child.stdout is not None
            url, key = json.loads(child.stdout.readline())
            yield url, key
        finally:
            child.kill()


async def serve(folder: str) -> None:
    from facewarp_async.server import InstantRunner, LocalService  # noqa: PLC0415 - only here

    async with LocalService(data_dir=folder, runner=InstantRunner()) as service:
        print(json.dumps([service.provider.base_url, service.auth.key]), flush=True)
        await asyncio.Event().wait()


def measure(count: int, *, journal: bool, service: str) -> Cost:
    """Run a batch in new processes and check what came of it."""
    with tempfile.TemporaryDirectory(prefix="facewarp-scale-") as name:
        folder = Path(name)
        (folder / "in").mkdir()
        (folder / "face.png").write_bytes(PNG + b"face")
        options = ["journal"] if journal else []
        if service == "local":
            with local_service(folder / "service") as (url, key):
                return Cost.told(run_module("benchmarks.scale", "run", folder, count, url, key, *options))
        with standin(task_s=0, result_bytes=RESULT_BYTES) as service_:
            cost = Cost.told(run_module("benchmarks.scale", "run", folder, count, service_.url, KEY, *options))
            counts = service_.counts()
        assert (counts["tasks"], counts["files"], counts["results"]) == (count, count + 1, count), counts
    return cost


def compare(sizes: list[int], rounds: int, *, journal: bool, service: str) -> None:
    costs: dict[int, list[Cost]] = {size: [] for size in sizes}
    for _ in range(rounds):
        for size in sizes:
            costs[size].append(measure(size, journal=journal, service=service))
    rows = []
    for size in sizes:
        grown = spread([cost.grown_mib for cost in costs[size]], 1)
        cpu = spread([cost.cpu_s / size * 1000 for cost in costs[size]])
        rows.append([size, grown, cpu, spread([cost.wall_s / size * 1000 for cost in costs[size]])])
    title = f"Batches {'with' if journal else 'without'} a journal, {rounds} rounds"
    print_table(title, ["jobs", "memory grown, MiB", "CPU ms a job", "ms a job"], rows)
    small, large = sizes[0], sizes[-1]
    pairs = list(zip(costs[small], costs[large], strict=True))
    more = statistics.median(after.grown_mib - before.grown_mib for before, after in pairs)
    ratio = statistics.median((after.cpu_s / large) / (before.cpu_s / small) for before, after in pairs)
    verdict(f"{large} jobs take {more:.1f} MiB more than {small}, at most 40", met=more <= 40)
    verdict(f"a job of {large} takes {ratio:.2f} of the CPU of one of {small}, at most 1.1", met=ratio <= 1.1)


async def begun_before(count: int, *, slow_taker: bool) -> tuple[int, int]:
    """Return how many jobs were begun before the first outcome could be given out, and how many may have been.

    Args:
        count: How many jobs there are.
        slow_taker: Whether nobody takes outcomes; or else the first job's does not come.
    """
    begun, limits = 0, Limits(read_ahead=200)
    with tempfile.TemporaryDirectory(prefix="facewarp-scale-") as name, standin(task_s=0, result_bytes=100) as service:
        folder = Path(name)
        (folder / "in").mkdir()
        (folder / "face.png").write_bytes(PNG)

        def counted() -> Iterator[Job]:
            nonlocal begun
            for job in jobs_in(folder, count):
                begun += 1
                yield job

        provider = Provider("stand-in", service.url, requests_per_second=None, typical_image_s=0.01)
        async with (
            FaceSwapClient(provider, ApiKey(KEY), cache_dir=False) as client,
            SwapPipeline(client, limits=limits) as pipeline,
        ):
            if not slow_taker:
                hold_first(client)
            stream = pipeline.stream(counted())
            first = asyncio.ensure_future(anext(stream)) if not slow_taker else None
            last = -1
            while begun != last:  # until nothing more is begun
                last = begun
                await asyncio.sleep(0.5)
            if first is not None:
                first.cancel()
                await asyncio.wait([first])
            await stream.aclose()
    return begun, limits.read_ahead


async def wait_for_many(name: str, count: int, url: str, key: str, *, as_it_comes: bool) -> None:
    """Wait for many tasks at once, and tell for how long the loop was held up."""
    folder, waiting, most = Path(name), 0, 0

    def note(event: Event) -> None:
        nonlocal waiting, most
        if isinstance(event, StageBegun):
            waiting += (event.stage is Stage.WAIT) - (event.stage is Stage.DOWNLOAD)
            most = max(most, waiting)

    before = gc.get_threshold()
    provider = Provider("stand-in", url, requests_per_second=None, typical_image_s=_waited_s(count))
    limits = Limits(in_flight=count, read_ahead=count)
    async with (
        FaceSwapClient(provider, ApiKey(key), cache_dir=False) as client,
        SwapPipeline(client, limits=limits, output_dir=folder / "out", on_event=note) as pipeline,
        LagWatch() as watch,
    ):
        if as_it_comes:
            gc.set_threshold(*before)
        with Meter() as meter:
            report = await pipeline.collect(jobs_in(folder, count))
    assert (report.completed, most) == (count, count), (report.completed, most)
    meter.tell(longest_ms=watch.longest_ms, most_work_ms=watch.most_work_ms)


def _waited_s(count: int) -> float:
    """For how long tasks take, so that the last is created before the first is done."""
    return 0.5 + count / 200


def compare_waiting(count: int) -> None:
    for as_it_comes in (False, True):
        with (
            tempfile.TemporaryDirectory(prefix="facewarp-scale-") as name,
            standin(task_s=_waited_s(count), result_bytes=RESULT_BYTES) as service,
        ):
            (Path(name) / "in").mkdir()
            (Path(name) / "face.png").write_bytes(PNG + b"face")
            options = ["as it comes"] if as_it_comes else []
            told = json.loads(run_module("benchmarks.scale", "wait", name, count, service.url, KEY, *options))
        what = f"{count} tasks waited for at once{', the collector as it comes' if as_it_comes else ''}"
        held_up = f"the loop is held up for {told['longest_ms']:.0f} ms, {told['most_work_ms']:.0f} by its own work"
        if not as_it_comes:
            verdict(f"{what}: {held_up}, at most 20", met=told["longest_ms"] <= 20)
        else:
            print(f"  {what}: {held_up}")


def hold_first(client: FaceSwapClient) -> None:
    """Let the first job never get beyond its upload."""
    upload, is_first = client.shared_uploads.asset, True

    async def held(*arguments: object, **options: object) -> object:
        nonlocal is_first
        if is_first:
            is_first = False
            await asyncio.Event().wait()
        return await upload(*arguments, **options)  # type: ignore[arg-type]  # as they came

    client.shared_uploads.asset = held  # type: ignore[assignment,method-assign]  # a hand on the first job


def main() -> None:
    match sys.argv[1:]:
        case ["serve", folder]:
            asyncio.run(serve(folder))
            return
        case ["wait", folder, count, url, key, *options]:
            asyncio.run(wait_for_many(folder, int(count), url, key, as_it_comes="as it comes" in options))
            return
        case ["run", folder, count, url, key, *options]:
            asyncio.run(run_batch(folder, int(count), url, key, journal="journal" in options))
            return
    parser = argparse.ArgumentParser(prog="python -m benchmarks scale", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--jobs", type=int, nargs="+", default=[1000, 20_000], help="sizes of batches")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-journal", action="store_true")
    parser.add_argument("--waiting", type=int, default=10_000, help="how many tasks are waited for at once")
    parser.add_argument("--service", choices=["stand-in", "local"], default="stand-in")
    parser.add_argument("--quick", action="store_true", help="so little that the figures mean nothing")
    given = parser.parse_args()
    if given.quick:
        given.jobs, given.rounds, given.waiting = [20, 60], 1, 50
    compare(given.jobs, given.rounds, journal=not given.no_journal, service=given.service)
    for slow_taker, what in ((True, "nobody takes outcomes"), (False, "the first job never ends")):
        begun, most = asyncio.run(begun_before(1000, slow_taker=slow_taker))
        verdict(f"{what}: {begun} of 1000 jobs are begun, at most {most}", met=begun <= most + 1)
    compare_waiting(given.waiting)


if __name__ == "__main__":
    main()
