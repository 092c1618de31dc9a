"""Memory and time of a batch as it grows: does a job cost more where there are ten times as many of them?

Runs one batch of `--jobs` jobs and one of a tenth of that, `--repeats` times in turn, each in a process of its own
against a local service in another one that swaps nothing and answers at once. Media are small files of their own, the
face is shared, jobs come from a generator and outcomes are not kept: what grows is the pipeline's own.

Before anything is printed, each batch has shown that its outcomes came in the order of the jobs, that each result has
the bytes it should have, and, by the service's ledger, that each file was uploaded once and each task created once.

Printed for both sizes are the growth of the peak memory (RSS) from before the first job to the end, and the time a
job; then the larger batch's ratios to the smaller's, median and range over the repeats. Bounded memory and linear time
are ratios near one; the memory of what is remembered on purpose (names, contents of up to 10,000 files) adds to the
first. With ``--journal`` the batch also writes a journal.

    python benchmarks/pipeline_scale.py
    python benchmarks/pipeline_scale.py --jobs 2000 --repeats 1 --journal
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
from attrs import frozen

from facewarp_async import ApiKey, Completed, FaceSwapClient, ImageSwap, Provider, SwapPipeline
from facewarp_async.server import CREATES, PUT, InstantRunner, LocalService

PNG = b"\x89PNG\r\n\x1a\n"


@frozen
class Measure:
    """What a batch took: growth of the peak memory in MiB, milliseconds a job."""

    grown_mib: float
    job_ms: float


async def serve(folder: Path) -> None:
    """Run a service until a line comes in, then tell what its ledger says."""
    async with LocalService(data_dir=folder, runner=InstantRunner()) as service:
        tell({"base_url": service.provider.base_url, "key": service.auth.key})
        await anyio.to_thread.run_sync(sys.stdin.readline)
        ledger = service.ledger
        tell(
            {
                "creates": sum(ledger.calls[call] for call in CREATES),
                "tasks": len(ledger.creations),
                "puts": ledger.calls[PUT],
                "contents": len(ledger.contents),
                "paid_twice": len(ledger.paid_twice()),
            }
        )


async def run_batch(folder: Path, count: int, base_url: str, key: str, *, journal: bool) -> None:
    """Run a batch, check it, and tell what it took."""
    face = folder / "face.png"
    jobs = (ImageSwap(folder / "in" / f"{index}.png", face) for index in range(count))
    provider = Provider("local", base_url, requests_per_second=None, typical_image_s=0.1)
    begun_kib, begun, done = peak_kib(), time.perf_counter(), 0
    async with (
        FaceSwapClient(provider, ApiKey(key)) as client,
        SwapPipeline(client, output_dir=folder / "out", journal=folder / "batch.db" if journal else None) as pipeline,
    ):
        async for outcome in pipeline.stream(jobs):
            assert isinstance(outcome, Completed), outcome
            assert outcome.job.media == folder / "in" / f"{done}.png"
            assert outcome.path == folder / "out" / f"{done}.png"
            done += 1
    took_s, grown_kib = time.perf_counter() - begun, peak_kib() - begun_kib
    assert done == count
    tell({"grown_mib": grown_kib / 1024, "job_ms": took_s / count * 1000})


def peak_kib() -> int:
    """Return the process's largest memory so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def tell(facts: dict[str, Any]) -> None:
    print(json.dumps(facts), flush=True)


def measure(count: int, *, journal: bool) -> Measure:
    """Run a batch in new processes and check what came of it."""
    with tempfile.TemporaryDirectory(prefix="facewarp-scale-") as name:
        folder = Path(name)
        (folder / "in").mkdir()
        (folder / "face.png").write_bytes(PNG + b"face")
        for index in range(count):
            (folder / "in" / f"{index}.png").write_bytes(PNG + b"%d" % index)
        with process("serve", str(folder / "service")) as service:
            hello = read(service)
            options = [str(folder), str(count), hello["base_url"], hello["key"], *(["journal"] if journal else [])]
            with process("run", *options) as batch:
                figures = read(batch)
            assert service.stdin is not None
            service.stdin.write("\n")
            service.stdin.flush()
            ledger = read(service)
        expected = {"creates": count, "tasks": count, "puts": count + 1, "contents": count + 1, "paid_twice": 0}
        assert ledger == expected, ledger
        for index in range(count):
            assert (folder / "out" / f"{index}.png").read_bytes() == PNG + b"%d" % index
    return Measure(**figures)


@contextmanager
def process(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run this file in a process of its own, and see that it ends well."""
    command = [sys.executable, __file__, *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        try:
            yield child
        except BaseException:
            child.kill()
            raise
    assert child.returncode == 0, f"{arguments[0]} ended with {child.returncode}"


def read(child: subprocess.Popen[str]) -> Any:
    assert child.stdout is not None
    return json.loads(child.stdout.readline() or "null")


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def compare(jobs: int, repeats: int, *, journal: bool) -> None:
    sizes = (jobs // 10, jobs)
    measures: dict[int, list[Measure]] = {size: [] for size in sizes}
    for _ in range(repeats):
        for size in sizes:
            measures[size].append(measure(size, journal=journal))
    print(f"{'jobs':>8}  {'memory grown, MiB':>24}  {'ms a job':>24}")
    for size in sizes:
        memory = spread([each.grown_mib for each in measures[size]])
        print(f"{size:8}  {memory:>24}  {spread([each.job_ms for each in measures[size]]):>24}")
    pairs = list(zip(measures[sizes[0]], measures[sizes[1]], strict=True))
    memory = spread([large.grown_mib / small.grown_mib for small, large in pairs])
    print(f"{'ratio':>8}  {memory:>24}  {spread([large.job_ms / small.job_ms for small, large in pairs]):>24}")


def main() -> None:
    match sys.argv[1:]:
        case ["serve", folder]:
            asyncio.run(serve(Path(folder)))
        case ["run", folder, count, base_url, key, *options]:
            asyncio.run(run_batch(Path(folder), int(count), base_url, key, journal="journal" in options))
        case _:
            parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
            parser.add_argument("--jobs", type=int, default=10_000, help="of the larger batch")
            parser.add_argument("--repeats", type=int, default=3)
            parser.add_argument("--journal", action="store_true", help="write a journal too")
            given = parser.parse_args()
            compare(given.jobs, given.repeats, journal=given.journal)


if __name__ == "__main__":
    main()
