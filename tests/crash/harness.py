"""A batch with a journal, as a program of its own that can be killed: ``python harness.py --help``.

It runs until the batch is done, and then prints a line of JSON for each job. SIGINT and SIGTERM cancel it, which ends
it with code 130.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import signal
from pathlib import Path

from attrs import evolve

from facewarp_async import swaps
from facewarp_async.client import FaceSwapClient
from facewarp_async.config import ApiKey, Limits, Provider, Timeouts
from facewarp_async.models import Asset, ImageSwap, Job, MultiFaceSwap
from facewarp_async.pipeline import Completed, Failed, Outcome, SwapPipeline
from facewarp_async.policy.retry import RetryPolicy


def jobs_of(folder: Path) -> list[Job]:
    """Return a job for each file; every fifth changes several faces, in two tasks."""
    face = folder / "face" / "face.png"
    jobs: list[Job] = []
    for number, path in enumerate(sorted(folder.glob("*.png"))):
        jobs.append(MultiFaceSwap(path, {0: face}) if number % 5 == 4 else ImageSwap(path, face))
    return jobs


def record(outcome: Outcome) -> dict[str, object]:
    media = outcome.job.media
    name = media.key if isinstance(media, Asset) else media.name
    if isinstance(outcome, Completed):
        return {"name": name, "state": "done", "path": str(outcome.path), "resumed": outcome.resumed}
    if isinstance(outcome, Failed):
        error = type(outcome.error).__name__
        return {"name": name, "state": "failed", "error": error, "text": str(outcome.error)}
    return {"name": name, "state": "skipped", "text": outcome.reason}


async def run(options: argparse.Namespace) -> None:
    provider = Provider("local", options.url, requests_per_second=None, typical_image_s=0.05)
    provider = evolve(provider, realm="local")
    client = FaceSwapClient(
        provider,
        ApiKey(options.key),
        timeouts=Timeouts(connect_s=60, request_s=60, stall_s=60, image_task_s=120),
        retry=RetryPolicy(first_s=0.01, longest_s=0.1),
    )
    limits = Limits(uploads=4, in_flight=16, downloads=4)
    async with (
        client,
        SwapPipeline(
            client, limits=limits, output_dir=options.out, journal=options.out / "batch.db", in_doubt=options.in_doubt
        ) as pipeline,
    ):
        print("ready", flush=True)
        async for outcome in pipeline.stream(jobs_of(options.folder)):
            print(json.dumps(record(outcome)), flush=True)
    if pipeline.stopped_by is not None:
        print(json.dumps({"stopped_by": str(pipeline.stopped_by)}), flush=True)


async def run_until_signalled(options: argparse.Namespace) -> int:
    work = asyncio.ensure_future(run(options))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, work.cancel)
    try:
        await work
    except asyncio.CancelledError:
        return 130
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--url", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--in-doubt", choices=["hold", "recreate"], default="hold")
    parser.add_argument("--max-file-bytes", type=int, default=None, help="how large its files may grow: a full disk")
    parser.add_argument("--grace-s", type=float, default=swaps.GRACE_S, help="how long creates may take after a signal")
    options = parser.parse_args()
    swaps.GRACE_S = options.grace_s
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    if options.max_file_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (options.max_file_bytes, unlimited[1]))
    try:
        return asyncio.run(run_until_signalled(options))
    finally:  # what measures the tests writes a file of its own at the end
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)


if __name__ == "__main__":
    raise SystemExit(main())
