"""A batch with a journal, as a program of its own that can be killed: ``python harness.py --help``.

It runs until the batch is done, and then prints a line of JSON for each job. SIGINT and SIGTERM cancel it, which ends
it with code 130.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import sys
from pathlib import Path

from attrs import evolve

from facewarp_async import swaps
from facewarp_async.client import FaceSwapClient
from facewarp_async.config import ApiKey, Limits, Provider, Timeouts
from facewarp_async.pipeline import SwapPipeline
from facewarp_async.policy.retry import RetryPolicy

sys.path.append(str(Path(__file__).parents[2]))  # last: what runs is the package that is installed

from tests.programs import jobs_of, record, run_until_signalled


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
        return asyncio.run(run_until_signalled(run(options)))
    finally:  # what measures the tests writes a file of its own at the end
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)


if __name__ == "__main__":
    raise SystemExit(main())
