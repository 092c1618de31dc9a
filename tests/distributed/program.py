"""A batch on a cluster, as a program of its own that can be killed: ``python -m tests.distributed.program --help``.

It runs until the batch is done, and then prints a line of JSON for each job. SIGINT cancels it, which ends it with code
130.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
from pathlib import Path

from attrs import evolve
from distributed import Client

from facewarp_async.client import FaceSwapClient
from facewarp_async.config import ApiKey, Limits, Provider, Timeouts
from facewarp_async.distributed import DistributedPipeline
from facewarp_async.models import ImageSwap, Job, MultiFaceSwap
from facewarp_async.pipeline import Completed, Failed, Outcome
from facewarp_async.policy.retry import RetryPolicy


def jobs_of(folder: Path) -> list[Job]:
    """Return a job for each file; every fifth changes several faces, in two tasks."""
    face = folder / "face" / "face.png"
    files = sorted(folder.glob("*.png"))
    return [
        MultiFaceSwap(path, {0: face}) if number % 5 == 4 else ImageSwap(path, face)
        for number, path in enumerate(files)
    ]


def client_of(provider: Provider, auth: ApiKey, rate: float | None) -> FaceSwapClient:
    """Return a client that does not dawdle."""
    return FaceSwapClient(
        evolve(provider, requests_per_second=rate, typical_image_s=0.1, realm="local"),
        auth,
        timeouts=Timeouts(connect_s=5, request_s=30, stall_s=5, image_task_s=20),
        retry=RetryPolicy(first_s=0.01, longest_s=0.1),
    )


def record(outcome: Outcome) -> dict[str, object]:
    assert isinstance(outcome.job.media, Path)
    name = outcome.job.media.name
    if isinstance(outcome, Completed):
        return {"name": name, "state": "done", "resumed": outcome.resumed}
    if isinstance(outcome, Failed):
        return {"name": name, "state": "failed", "error": type(outcome.error).__name__, "text": str(outcome.error)}
    return {"name": name, "state": "skipped", "text": outcome.reason}


async def run(options: argparse.Namespace) -> None:
    client = client_of(Provider("local", options.url), ApiKey(options.key), options.rate)
    limits = Limits(uploads=4, in_flight=options.cap, downloads=4)
    async with (
        Client(options.scheduler, asynchronous=True) as dask,  # type: ignore[no-untyped-call]  # Dask's
        DistributedPipeline(
            client, dask, journal=options.journal, output_dir=options.out, limits=limits, shard_size=5
        ) as pipeline,
    ):
        print("ready", flush=True)
        async for outcome in pipeline.stream(jobs_of(options.folder)):
            print(json.dumps(record(outcome)), flush=True)


async def run_until_signalled(options: argparse.Namespace) -> int:
    work = asyncio.ensure_future(run(options))
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, work.cancel)
    try:
        await work
    except asyncio.CancelledError:
        return 130
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.distributed.program", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--journal", required=True)
    parser.add_argument("--scheduler", required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--rate", type=float, default=None)
    parser.add_argument("--cap", type=int, default=16)
    return asyncio.run(run_until_signalled(parser.parse_args()))


if __name__ == "__main__":
    raise SystemExit(main())
