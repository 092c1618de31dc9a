"""A batch on a cluster, as a program of its own that can be killed: ``python -m tests.distributed.program --help``.

It runs until the batch is done, and then prints a line of JSON for each job. SIGINT and SIGTERM cancel it, which ends
it with code 130.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path

from attrs import evolve
from distributed import Client

from facewarp_async.client import FaceSwapClient
from facewarp_async.config import ApiKey, Limits, Provider, Timeouts
from facewarp_async.distributed import DistributedPipeline
from facewarp_async.policy.retry import RetryPolicy
from tests.programs import jobs_of, record, run_until_signalled


def client_of(provider: Provider, auth: ApiKey, rate: float | None) -> FaceSwapClient:
    """Return a client that does not dawdle."""
    return FaceSwapClient(
        evolve(provider, requests_per_second=rate, typical_image_s=0.1, realm="local"),
        auth,
        timeouts=Timeouts(connect_s=5, request_s=30, stall_s=5, image_task_s=20),
        retry=RetryPolicy(first_s=0.01, longest_s=0.1),
    )


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
    return asyncio.run(run_until_signalled(run(parser.parse_args())))


if __name__ == "__main__":
    raise SystemExit(main())
