"""What a call costs beside a bare aiohttp call that sends and reads the same JSON, and what jobs that wait cost.

    python -m benchmarks calls [--rounds 7] [--calls 3000]

A call of the client's is everything that it does for one: the request is built, authorised, let go by the pacer, and
answered by the sink in C; its answer is checked, and made a value. The bare call posts the same JSON with the same
header and decodes the answer with the standard library. The ratios are those of a round, CPU of the process. uvloop
and orjson, the extra `speed`, are measured one by one: for the client each, and for the bare call for comparison.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import statistics
import sys
import tracemalloc
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import aiohttp
import anyio.to_thread

from benchmarks.harness import Contest, Cost, Meter, print_table, run_module, spread, verdict
from benchmarks.sinks import Sink, Workshop

KEY = "0123456789abcdef0123456789abcdef"
CONCURRENCY = 32
GRANT_URL = f"https://storage.example/temporary/0123/a.png?X-Amz-Signature={'0' * 64}"
GRANT = {"upload_url": GRANT_URL, "key": "temporary/a.png"}
ANSWER = {"code": 200, "message": "success", "data": GRANT}


async def pool(count: int, call: Callable[[], Awaitable[object]]) -> None:
    left = iter(range(count))

    async def worker() -> None:
        for _ in left:
            await call()

    await asyncio.gather(*(worker() for _ in range(CONCURRENCY)))


async def measure(count: int, call: Callable[[], Awaitable[object]]) -> None:
    await pool(2 * CONCURRENCY, call)
    with Meter() as meter:
        await pool(count, call)
    meter.tell()


async def run_bare(url: str, count: int) -> None:
    headers = {"Authorization": f"Bearer {KEY}", "Accept": "application/json"}
    async with aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(limit=0)) as http:

        async def call() -> None:
            async with http.post(f"{url}/v1/source/upload-url", json={"file_name": "a.png"}) as response:
                document = await response.json()
            assert document["data"] == GRANT

        await measure(count, call)


async def run_client(url: str, count: int) -> None:
    from facewarp_async import ApiKey, FaceSwapClient, Provider  # noqa: PLC0415 - after orjson was hidden

    provider = Provider("sink", url, requests_per_second=None)
    async with FaceSwapClient(provider, ApiKey(KEY), cache_dir=False) as client:

        async def call() -> None:
            grant = await client.request_upload("a.png")
            assert grant.url == GRANT_URL

        await measure(count, call)


def run_here(name: str, url: str, count: str, *extras: str) -> None:
    """Run one contestant in this process."""
    if "orjson" not in extras:
        sys.modules["orjson"] = None  # type: ignore[assignment]  # so that importing it fails
    work = {"bare": run_bare, "client": run_client}[name]
    if "uvloop" in extras:
        uvloop: Any = importlib.import_module("uvloop")
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(work(url, int(count)))
    else:
        asyncio.run(work(url, int(count)))


def contestant(sink: Sink, name: str, count: int, *extras: str) -> Callable[[], Cost]:
    return lambda: Cost.told(run_module("benchmarks.calls", "run", name, sink.url, count, *extras))


def compare(rounds: int, count: int) -> None:
    with Workshop.opened() as shop, shop.sink(answer=ANSWER) as sink:
        contestants = {"bare aiohttp": contestant(sink, "bare", count), "client": contestant(sink, "client", count)}
        if find_spec("orjson") is not None:
            contestants["client, orjson"] = contestant(sink, "client", count, "orjson")
        if find_spec("uvloop") is not None:
            contestants["bare aiohttp, uvloop"] = contestant(sink, "bare", count, "uvloop")
            contestants["client, uvloop, orjson"] = contestant(sink, "client", count, "uvloop", "orjson")
        contest = Contest(contestants).run(rounds)
    rows = []
    for name, costs in contest.costs.items():
        ratio = contest.ratios(name, "bare aiohttp", lambda cost: cost.cpu_s)
        each = [cost.cpu_s / count * 1e6 for cost in costs]
        rate = statistics.median(count / cost.wall_s for cost in costs)
        rows.append([name, spread(ratio), spread(each, 0), f"{rate:.0f}"])
    print_table(
        f"{count} calls, {CONCURRENCY} at once, {rounds} rounds",
        ["", "CPU / bare aiohttp", "CPU µs a call", "calls/s"],
        rows,
    )
    for name in ("client", "client, orjson"):
        if name in contest.costs:
            median = statistics.median(contest.ratios(name, "bare aiohttp", lambda cost: cost.cpu_s))
            verdict(f"{name}: {median:.2f} of a bare call's CPU, at most 1.3", met=median <= 1.3)


async def queue_jobs(count: int) -> float:
    """Return MiB that so many jobs take while they wait in the pipeline, beyond the jobs themselves."""
    from facewarp_async import ImageSwap  # noqa: PLC0415 - as above
    from facewarp_async.models import Job  # noqa: PLC0415
    from facewarp_async.pipeline import Completed, Outcome, OutcomeStream  # noqa: PLC0415

    jobs = [ImageSwap(Path(f"/in/{number:06}.png"), Path("/in/face.png")) for number in range(count)]
    await anyio.to_thread.run_sync(lambda: None)  # what is imported late is not the jobs'
    let = asyncio.Event()

    async def run(_index: int, job: Job) -> Outcome:
        await let.wait()
        return Completed(job=job, result=None, path=None, durations_s={})  # type: ignore[arg-type]  # a stand-in

    tracemalloc.start()
    stream = OutcomeStream(jobs, run, workers=32, read_ahead=256, ordered=True)
    running = asyncio.ensure_future(stream.run())
    await asyncio.sleep(0.05)
    grown = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    let.set()
    done = 0
    async for outcome in stream:
        assert outcome.job is jobs[done]
        done += 1
    await running
    assert done == count
    return grown / 2**20


def main() -> None:
    if sys.argv[1:2] == ["run"]:
        run_here(*sys.argv[2:])
        return
    parser = argparse.ArgumentParser(prog="python -m benchmarks calls", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", type=int, default=3000)
    parser.add_argument("--jobs", type=int, default=100_000, help="how many wait")
    parser.add_argument("--quick", action="store_true", help="so little that the figures mean nothing")
    given = parser.parse_args()
    if given.quick:
        given.rounds, given.calls, given.jobs = 1, 100, 1000
    compare(given.rounds, given.calls)
    grown = asyncio.run(queue_jobs(given.jobs))
    print(f"\n{given.jobs} jobs that wait, handed over as a list")
    verdict(f"{grown:.2f} MiB beyond the list, at most 5", met=grown <= 5)


if __name__ == "__main__":
    main()
