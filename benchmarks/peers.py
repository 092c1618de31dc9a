"""A batch and two large uploads, beside the clients of other services that somebody might pick instead.

    python -m venv /tmp/peers && /tmp/peers/bin/pip install magic_hour replicate wavespeed aiohttp attrs
    python -m benchmarks peers --python /tmp/peers/bin/python

Each client talks to a stand-in of its own service (`standin.py`), which takes the same time for a task and sends
results of the same length; one process serves all protocols. All jobs are begun at once, with the same stages: media
and face are uploaded, a task is created and waited for, its result is written to a file. magic_hour and replicate are
used through their async clients, which look every half second; wavespeed has none, so that it gets a thread for each
job. Nothing of theirs is changed.

Before anything is printed, each run has shown that all results are there and of the right length, and by the stand-
in's counts that as many tasks were created as there are jobs. Printed are medians over the rounds, which are
interleaved: the time of the batch, requests a job, the longest time that the event loop was held up, and by how much
memory grew while two large files were uploaded at once.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import urllib.request
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from attrs import frozen

from benchmarks.harness import LagWatch, Meter, print_table, run_module, spread, verdict
from benchmarks.standin import standin

PNG = b"\x89PNG\r\n\x1a\n"
MEDIA_BYTES = 1_000_000
OWN = "facewarp"
EQUAL = "facewarp-0.5s"
"""Looks as often as magic_hour and replicate do, where the default would rather save calls."""

PEERS = ("magic_hour", "replicate", "wavespeed")


@frozen(kw_only=True)
class Run:
    """What one client took.

    Attributes:
        wall_s: The batch, in seconds.
        calls: Requests a job, those for files included.
        looks: How often a task was looked at.
        lag_ms: The longest time that the event loop was held up; ``None`` where the client has none.
        grown_mib: By how much memory peaked above its beginning during two large uploads.
    """

    wall_s: float
    calls: float
    looks: float
    lag_ms: float | None
    grown_mib: float


async def measured(batch: Callable[[], Awaitable[object]], uploads: Callable[[], Awaitable[object]]) -> None:
    """Run a batch and two uploads, and tell what they took."""
    async with LagWatch() as watch:
        with Meter() as meter:
            await batch()
    with Meter() as upload_meter:
        await uploads()
    print(
        json.dumps(
            {
                "wall_s": meter.cost.wall_s,
                "lag_ms": watch.longest_ms,
                "grown_mib": upload_meter.cost.grown_mib,
            }
        )
    )


async def run_facewarp(
    url: str, media: list[Path], face: Path, large: list[Path], out: Path, *, every_s: float | None = None
) -> None:
    from facewarp_async import (  # noqa: PLC0415 - the peers' Python has it not
        ApiKey,
        Completed,
        FaceSwapClient,
        FixedPolling,
        ImageSwap,
        Limits,
        Provider,
        SwapPipeline,
    )

    provider = Provider("stand-in", url, requests_per_second=None)
    policy: Any = "learnt"
    if every_s is not None:
        policy = FixedPolling(image_s=2 * every_s, factor=1, longest_s=every_s)
    everything = len(media)
    limits = Limits(uploads=everything, in_flight=everything, downloads=everything)
    async with FaceSwapClient(provider, ApiKey("0123456789abcdef"), poll_policy=policy, cache_dir=False) as client:

        async def batch() -> None:
            async with SwapPipeline(client, output_dir=out, limits=limits) as pipeline:
                report = await pipeline.collect(ImageSwap(path, face) for path in media)
            assert all(isinstance(outcome, Completed) for outcome in report.outcomes)

        await measured(batch, lambda: asyncio.gather(*map(client.upload, large)))


async def run_magic_hour(url: str, media: list[Path], face: Path, large: list[Path], out: Path) -> None:
    import magic_hour  # type: ignore[import-not-found]  # noqa: PLC0415 - in an environment of its own

    client = magic_hour.AsyncClient(base_url=url, token="t")

    async def job(path: Path) -> None:
        folder = out / path.stem
        folder.mkdir()
        await client.v1.face_swap_photo.generate(
            assets={"face_swap_mode": "all-faces", "source_file_path": str(face), "target_file_path": str(path)},
            name=path.name,
            download_directory=str(folder),
        )

    await measured(
        lambda: asyncio.gather(*map(job, media)),
        lambda: asyncio.gather(*(client.v1.files.upload_file(file=str(path)) for path in large)),
    )


async def run_replicate(url: str, media: list[Path], face: Path, large: list[Path], out: Path) -> None:
    import replicate  # type: ignore[import-not-found]  # noqa: PLC0415 - in an environment of its own

    client = replicate.Client(api_token="t", base_url=url)

    async def job(path: Path) -> None:
        prediction = await client.predictions.async_create(
            version="c", input={"target": path, "source": face}, file_encoding_strategy="url", wait=False
        )
        await prediction.async_wait()
        result = replicate.helpers.FileOutput(prediction.output, client)  # what it gives out for https
        (out / path.name).write_bytes(await result.aread())

    await measured(
        lambda: asyncio.gather(*map(job, media)), lambda: asyncio.gather(*map(client.files.async_create, large))
    )


async def run_wavespeed(url: str, media: list[Path], face: Path, large: list[Path], out: Path) -> None:
    import wavespeed  # type: ignore[import-not-found]  # noqa: PLC0415 - in an environment of its own

    client = wavespeed.Client(api_key="k", base_url=url)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def job(path: Path) -> None:
        given = {"image": client.upload(str(path)), "face": client.upload(str(face))}
        done = client.run("swap", given)
        with opener.open(done["outputs"][0]) as answer:
            (out / path.name).write_bytes(answer.read())

    with ThreadPoolExecutor(len(media)) as threads:
        loop = asyncio.get_running_loop()
        await measured(
            lambda: asyncio.gather(*(loop.run_in_executor(threads, job, path) for path in media)),
            lambda: asyncio.gather(*(loop.run_in_executor(threads, client.upload, str(path)) for path in large)),
        )


def run_here(name: str, url: str, folder: Path) -> None:
    """Run one client in this process and check what it brought."""
    out = folder / f"out-{name}"
    out.mkdir()
    media = sorted((folder / "media").iterdir())
    large = sorted((folder / "large").iterdir())
    runs: dict[str, Callable[..., Coroutine[Any, Any, None]]] = {
        OWN: run_facewarp,
        EQUAL: partial(run_facewarp, every_s=0.5),
        "magic_hour": run_magic_hour,
        "replicate": run_replicate,
        "wavespeed": run_wavespeed,
    }
    asyncio.run(runs[name](url, media, folder / "face.png", large, out))
    results = [path for path in out.rglob("*") if path.is_file()]
    assert [path.stat().st_size for path in results] == [MEDIA_BYTES] * len(media)
    for path in sorted(out.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    out.rmdir()


def measure(name: str, python: str, folder: Path, *, jobs: int, task_s: float) -> Run:
    """Run one client in a process of its own, against a stand-in in another."""
    with standin(task_s=task_s, result_bytes=MEDIA_BYTES) as service:
        env = {"no_proxy": "*", "MAGIC_HOUR_API_KEY": "t"}
        told = json.loads(run_module("benchmarks.peers", "run", name, service.url, folder, python=python, env=env))
        counts = service.counts()
    assert counts["tasks"] == jobs, counts
    own = counts["requests"] - 2 * (2 if name != "replicate" else 1)  # without the two large files
    lag_ms = None if name == "wavespeed" else told["lag_ms"]
    return Run(
        wall_s=told["wall_s"],
        calls=own / jobs,
        looks=counts["looks"] / jobs,
        lag_ms=lag_ms,
        grown_mib=told["grown_mib"],
    )


def compare(names: list[str], python: str | None, *, rounds: int, jobs: int, task_s: float, large_mb: int) -> None:
    runs: dict[str, list[Run]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory(prefix="facewarp-peers-") as temporary:
        folder = Path(temporary)
        make_files(folder, jobs, large_mb)
        for number in range(rounds):
            for name in names if number % 2 else reversed(names):
                used = sys.executable if name in {OWN, EQUAL} or python is None else python
                runs[name].append(measure(name, used, folder, jobs=jobs, task_s=task_s))
    rows = []
    for name in names:
        mine = runs[name]
        lags = [run.lag_ms for run in mine if run.lag_ms is not None]
        rows.append(
            [
                name,
                spread([run.wall_s for run in mine]),
                spread([run.calls for run in mine], 1),
                spread([run.looks for run in mine], 1),
                spread(lags, 0) if lags else "threads",
                spread([run.grown_mib for run in mine], 1),
            ]
        )
    columns = ["", "batch s", "requests a job", "looks a job", "loop held up ms", "memory MiB, 2 large files"]
    print_table(f"{jobs} jobs of {task_s:g} s, then two files of {large_mb} MB, {rounds} rounds", columns, rows)
    for peer in names[2:]:
        judge(runs[EQUAL], runs[peer], peer)


def judge(mine: list[Run], theirs: list[Run], peer: str) -> None:
    """Say in which columns this project is ahead of a peer."""
    figures: dict[str, Callable[[Run], Any]] = {
        "time": lambda run: run.wall_s,
        "requests": lambda run: run.calls,
        "pauses": lambda run: run.lag_ms,
        "memory": lambda run: run.grown_mib,
    }
    for what, figure in figures.items():
        if figure(theirs[0]) is None:
            continue
        ours, other = (statistics.median(figure(run) for run in runs) for runs in (mine, theirs))
        verdict(f"{what}: {ours:.2f}, {peer} {other:.2f}", met=ours < other)


def make_files(folder: Path, jobs: int, large_mb: int) -> None:
    for name in ("media", "large"):
        (folder / name).mkdir()
    for number in range(jobs):
        (folder / "media" / f"{number:03}.png").write_bytes((PNG + b"%d" % number).ljust(MEDIA_BYTES, b"m"))
    (folder / "face.png").write_bytes(PNG.ljust(MEDIA_BYTES, b"f"))
    for number in range(2):
        (folder / "large" / f"{number}.png").write_bytes((PNG + b"%d" % number).ljust(large_mb * 1_000_000, b"l"))


def main() -> None:
    if sys.argv[1:2] == ["run"]:
        run_here(sys.argv[2], sys.argv[3], Path(sys.argv[4]))
        return
    parser = argparse.ArgumentParser(prog="python -m benchmarks peers", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--python", help="one that has the peers; without it only this project is run")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=50)
    parser.add_argument("--task-s", type=float, default=3.0)
    parser.add_argument("--large-mb", type=int, default=200)
    parser.add_argument("--quick", action="store_true", help="so little that the figures mean nothing")
    given = parser.parse_args()
    if given.quick:
        given.rounds, given.jobs, given.task_s, given.large_mb = 1, 3, 0.2, 2
    names = [OWN, EQUAL, *(given.peers if given.python else [])]
    if given.python is None:
        print("no --python with the peers was given: this project alone")
    options = {"rounds": given.rounds, "jobs": given.jobs, "task_s": given.task_s, "large_mb": given.large_mb}
    compare(names, given.python, **options)


if __name__ == "__main__":
    main()
