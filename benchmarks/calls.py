"""What a call costs beside a bare aiohttp call that sends and reads the same JSON, and what jobs that wait cost.

    python -m benchmarks calls [--rounds 40] [--calls 500]

A call of the client's is everything that it does for one: the request is built, authorised, let go by the pacer, and
answered by the sink in C; its answer is checked, and made a value. The bare call posts the same JSON with the same
header and decodes the answer with the standard library. Both take turns within one process, a few hundred calls each
time, so that they have the same loop, the same heap and the same neighbours on the machine; the ratios are those of
two turns that followed each other. uvloop and orjson, the extra `speed`, have processes of their own: for what they
bring, the CPU of a call there is set beside that of a call without them.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib
import json
import statistics
import sys
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import aiohttp
import anyio.to_thread

from benchmarks.harness import interval_of_median, print_table, run_module, spread, verdict
from benchmarks.sinks import Workshop

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


@asynccontextmanager
async def bare_call(url: str) -> AsyncIterator[Callable[[], Awaitable[object]]]:
    headers = {"Authorization": f"Bearer {KEY}", "Accept": "application/json"}
    async with aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(limit=0)) as http:

        async def call() -> None:
            async with http.post(f"{url}/v1/source/upload-url", json={"file_name": "a.png"}) as response:
                document = await response.json()
            assert document["data"] == GRANT

        yield call


@asynccontextmanager
async def client_call(url: str) -> AsyncIterator[Callable[[], Awaitable[object]]]:
    from facewarp_async import ApiKey, FaceSwapClient, Provider  # noqa: PLC0415 - after orjson was hidden

    provider = Provider("sink", url, requests_per_second=None)
    async with FaceSwapClient(provider, ApiKey(KEY), cache_dir=False) as client:

        async def call() -> None:
            grant = await client.request_upload("a.png")
            assert grant.url == GRANT_URL

        yield call


async def take_turns(url: str, rounds: int, count: int) -> None:
    """Measure both, in turns, and tell the CPU of a call in each, in microseconds."""
    took: dict[str, list[float]] = {"bare": [], "client": []}
    async with bare_call(url) as bare, client_call(url) as client:
        calls = {"bare": bare, "client": client}
        for number in range(rounds + 1):
            for name in calls if number % 2 else reversed(calls):
                gc.collect()
                begun = time.process_time()
                await pool(count, calls[name])
                if number:  # the first opens connections
                    took[name].append((time.process_time() - begun) / count * 1e6)
    print(json.dumps(took))


def run_here(url: str, rounds: str, count: str, *extras: str) -> None:
    """Measure both in this process."""
    if "orjson" not in extras:
        sys.modules["orjson"] = None  # type: ignore[assignment]  # so that importing it fails
    loop_factory: Any = importlib.import_module("uvloop").new_event_loop if "uvloop" in extras else None
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(take_turns(url, int(rounds), int(count)))


def compare(rounds: int, count: int) -> None:
    extras = [name for name in ("orjson", "uvloop") if find_spec(name) is not None]
    sets = [extras[:number] for number in range(len(extras) + 1)]
    took: list[dict[str, list[float]]] = []
    with Workshop.opened() as shop, shop.sink(answer=ANSWER) as sink:
        for chosen in sets:
            told = run_module("benchmarks.calls", "run", sink.url, rounds, count, *chosen)
            took.append(json.loads(told))
    rows, without = [], statistics.median(took[0]["client"])
    for chosen, each in zip(sets, took, strict=True):
        ratios = [mine / bare for mine, bare in zip(each["client"], each["bare"], strict=True)]
        middle, (least, most) = statistics.median(ratios), interval_of_median(ratios)
        rows.append(
            [
                ", ".join(["client", *chosen]),
                f"{middle:.2f} ({least:.2f}-{most:.2f})",
                spread(each["client"], 0),
                spread(each["bare"], 0),
                f"{statistics.median(each['client']) / without:.2f}",
            ]
        )
    title = f"{rounds} turns of {count} calls, {CONCURRENCY} at once; of the ratio, between what its median lies"
    columns = ["", "CPU / bare aiohttp", "CPU µs a call", "bare µs a call", "CPU / without extras"]
    print_table(f"{title} with 95 % confidence", columns, rows)
    for name, ratio, *_ in rows:
        middle = float(ratio.partition(" ")[0])
        verdict(f"{name}: {middle:.2f} of a bare call's CPU, at most 1.3", met=middle <= 1.3)


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
    running = asyncio.ensure_future(stream._run())
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
    parser.add_argument("--rounds", type=int, default=40, help="turns of each")
    parser.add_argument("--calls", type=int, default=500, help="how many in a turn")
    parser.add_argument("--jobs", type=int, default=100_000, help="how many wait")
    parser.add_argument("--quick", action="store_true", help="so little that the figures mean nothing")
    given = parser.parse_args()
    if given.quick:
        given.rounds, given.calls, given.jobs = 2, 100, 1000
    compare(given.rounds, given.calls)
    grown = asyncio.run(queue_jobs(given.jobs))
    print(f"\n{given.jobs} jobs that wait, handed over as a list")
    verdict(f"{grown:.2f} MiB beyond the list, at most 5", met=grown <= 5)


if __name__ == "__main__":
    main()
