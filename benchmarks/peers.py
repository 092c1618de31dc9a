"""A batch and two large uploads, beside the clients of other services that somebody might pick instead.

    python -m benchmarks peers --install

That installs them from PyPI into an environment of their own, or uses the one that was made before.

Each client talks to a stand-in of its own service (`standin.py`), which takes the same time for a task and sends
results of the same length; one process serves all protocols. All jobs are begun at once, with the same stages: media
and face are uploaded, a task is created and waited for, its result is written to a file. magic_hour and replicate are
used through their async clients, which look every half second; wavespeed has none, so that it gets a thread for each
job. Nothing of theirs is changed.

This project is run three times: as somebody's first batch, of which nothing is known but that pictures may take six
seconds; as the second, for which it has kept what it learnt in the first; and looking every half second, as magic_hour
and replicate do. The service has no limit of calls, else there would be nothing to compare: the others know none.

Before anything is printed, each run has shown that all results are there and of the right length, and by the stand-
in's counts that as many tasks were created as there are jobs. Printed are medians over the rounds, which are
interleaved: the time of the batch, requests a job, the longest time that the event loop was held up, and by how much
memory grew while two large files were uploaded at once, in a process that has uploaded a small one before.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import statistics
import sys
import tempfile
import urllib.request
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from attrs import frozen

from benchmarks.harness import Cost, LagWatch, Meter, print_table, run_module, spread, verdict
from benchmarks.others import python_with_others
from benchmarks.standin import standin

PNG = b"\x89PNG\r\n\x1a\n"
MEDIA_BYTES = 1_000_000
OWN = "facewarp"

PEERS = ("magic_hour", "replicate", "wavespeed")


@frozen(kw_only=True)
class Run:
    """What one client took.

    Attributes:
        wall_s: The batch, in seconds.
        calls: Requests a job, those for files included.
        looks: How often a task was looked at.
        lag_ms: The longest time that the event loop was held up, in both parts; ``None`` where the client has none.
        grown_mib: By how much memory peaked above its beginning during two large uploads.
    """

    wall_s: float
    calls: float
    looks: float
    lag_ms: float | None
    grown_mib: float


@frozen(kw_only=True)
class Work:
    """What one process does: a part, ``batch`` or ``large``, against the service at a URL, with files in a folder."""

    part: str
    url: str
    folder: Path
    out: Path

    @property
    def media(self) -> list[Path]:
        return sorted((self.folder / "media").iterdir())

    @property
    def face(self) -> Path:
        return self.folder / "face.png"

    async def measure(
        self, batch: Callable[[], Awaitable[object]], uploads: Callable[[list[Path]], Awaitable[object]]
    ) -> None:
        """Run the batch, or uploads after one that warms up, and tell what that took."""
        large = sorted((self.folder / "large").iterdir())
        if self.part == "large":
            await uploads([self.face])
        async with LagWatch() as watch:
            with Meter() as meter:
                await (batch() if self.part == "batch" else uploads(large))
        meter.tell(lag_ms=watch.longest_ms)


async def run_facewarp(work: Work) -> None:
    from facewarp_async import (  # noqa: PLC0415 - the peers' Python has it not
        ApiKey,
        Completed,
        FaceSwapClient,
        ImageSwap,
        Limits,
        Provider,
        SwapPipeline,
    )

    provider = Provider("stand-in", work.url, requests_per_second=None)
    jobs = [ImageSwap(path, work.face) for path in work.media]
    limits = Limits(uploads=len(jobs), in_flight=len(jobs), downloads=len(jobs))
    async with FaceSwapClient(provider, ApiKey("0123456789abcdef")) as client:

        async def batch() -> None:
            async with SwapPipeline(client, output_dir=work.out, limits=limits) as pipeline:
                report = await pipeline.collect(jobs)
            assert all(isinstance(outcome, Completed) for outcome in report.outcomes)

        await work.measure(batch, lambda files: asyncio.gather(*map(client.upload, files)))


async def run_magic_hour(work: Work) -> None:
    import magic_hour  # type: ignore[import-not-found]  # noqa: PLC0415 - in an environment of its own

    client = magic_hour.AsyncClient(base_url=work.url, token="t")

    async def job(path: Path) -> None:
        folder = work.out / path.stem
        folder.mkdir()
        await client.v1.face_swap_photo.generate(
            assets={"face_swap_mode": "all-faces", "source_file_path": str(work.face), "target_file_path": str(path)},
            name=path.name,
            download_directory=str(folder),
        )

    await work.measure(
        lambda: asyncio.gather(*map(job, work.media)),
        lambda files: asyncio.gather(*(client.v1.files.upload_file(file=str(path)) for path in files)),
    )


async def run_replicate(work: Work) -> None:
    import replicate  # type: ignore[import-not-found]  # noqa: PLC0415 - in an environment of its own

    client = replicate.Client(api_token="t", base_url=work.url)

    async def job(path: Path) -> None:
        prediction = await client.predictions.async_create(
            version="c", input={"target": path, "source": work.face}, file_encoding_strategy="url", wait=False
        )
        await prediction.async_wait()
        result = replicate.helpers.FileOutput(prediction.output, client)  # what it gives out for https
        (work.out / path.name).write_bytes(await result.aread())

    await work.measure(
        lambda: asyncio.gather(*map(job, work.media)),
        lambda files: asyncio.gather(*map(client.files.async_create, files)),
    )


async def run_wavespeed(work: Work) -> None:
    import wavespeed  # type: ignore[import-not-found]  # noqa: PLC0415 - in an environment of its own

    client = wavespeed.Client(api_key="k", base_url=work.url)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def job(path: Path) -> None:
        given = {"image": client.upload(str(path)), "face": client.upload(str(work.face))}
        done = client.run("swap", given)
        with opener.open(done["outputs"][0]) as answer:
            (work.out / path.name).write_bytes(answer.read())

    media = work.media
    with ThreadPoolExecutor(len(media)) as threads:
        loop = asyncio.get_running_loop()
        await work.measure(
            lambda: asyncio.gather(*(loop.run_in_executor(threads, job, path) for path in media)),
            lambda files: asyncio.gather(*(loop.run_in_executor(threads, client.upload, str(path)) for path in files)),
        )


def run_here(name: str, part: str, url: str, folder: Path) -> None:
    """Run one part of one client in this process and check what it brought."""
    out = folder / "out"
    out.mkdir()
    work = Work(part=part, url=url, folder=folder, out=out)
    runs: dict[str, Callable[[Work], Coroutine[Any, Any, None]]] = {
        OWN: run_facewarp,
        "magic_hour": run_magic_hour,
        "replicate": run_replicate,
        "wavespeed": run_wavespeed,
    }
    asyncio.run(runs[name](work))
    results = [path for path in out.rglob("*") if path.is_file()]
    expected = len(work.media) if part == "batch" else 0
    assert [path.stat().st_size for path in results] == [MEDIA_BYTES] * expected
    shutil.rmtree(out)


def measure(name: str, python: str, folder: Path, *, jobs: int, task_s: float) -> Run:
    """Run one client, each part in a process of its own, against a stand-in in another."""

    def run(part: str) -> Cost:
        env = {"no_proxy": "*", "MAGIC_HOUR_API_KEY": "t"}
        return Cost.told(run_module("benchmarks.peers", "run", name, part, service.url, folder, python=python, env=env))

    with standin(task_s=task_s, result_bytes=MEDIA_BYTES) as service:
        batch = run("batch")
        counts = service.counts()
        assert counts["tasks"] == jobs, counts
        large = run("large")
    return Run(
        wall_s=batch.wall_s,
        calls=counts["requests"] / jobs,
        looks=counts["looks"] / jobs,
        lag_ms=None if name == "wavespeed" else max(batch.lag_ms, large.lag_ms),
        grown_mib=large.grown_mib,
    )


def compare(names: list[str], python: str | None, *, rounds: int, jobs: int, task_s: float, large_mb: int) -> None:
    runs: dict[str, list[Run]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory(prefix="facewarp-peers-") as temporary:
        folder = Path(temporary)
        make_files(folder, jobs, large_mb)
        for number in range(rounds):
            for name in names if number % 2 else reversed(names):
                used = sys.executable if name == OWN or python is None else python
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
    for peer in names[1:]:
        judge(runs[OWN], runs[peer], peer)


def judge(mine: list[Run], theirs: list[Run], peer: str) -> None:
    """Say in which columns this project is ahead of a peer; of memory, a MiB more or less is the same."""
    figures: dict[str, tuple[Callable[[Run], Any], float]] = {
        "time": (lambda run: run.wall_s, 0.0),
        "requests": (lambda run: run.calls, 0.0),
        "pauses": (lambda run: run.lag_ms, 0.0),
        "memory": (lambda run: run.grown_mib, 1.0),
    }
    for what, (figure, same) in figures.items():
        if figure(theirs[0]) is None:
            continue
        ours, other = (statistics.median(figure(run) for run in runs) for runs in (mine, theirs))
        verdict(f"{what}: {OWN} {ours:.2f}, {peer} {other:.2f}", met=ours < other + same)


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
        name, part, url, folder = sys.argv[2:]
        run_here(name, part, url, Path(folder))
        return
    parser = argparse.ArgumentParser(prog="python -m benchmarks peers", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--install", action="store_true", help="have the peers in an environment of their own")
    parser.add_argument("--python", help="one that has the peers; without it or --install, only this project is run")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=50)
    parser.add_argument("--task-s", type=float, default=3.0)
    parser.add_argument("--large-mb", type=int, default=200)
    parser.add_argument("--quick", action="store_true", help="so little that the figures mean nothing")
    given = parser.parse_args()
    if given.quick:
        given.rounds, given.jobs, given.task_s, given.large_mb = 1, 3, 0.2, 2
    python = python_with_others() if given.install else given.python
    names = [OWN, *(given.peers if python else [])]
    if python is None:
        print("neither --install nor --python was given: this project alone")
    options = {"rounds": given.rounds, "jobs": given.jobs, "task_s": given.task_s, "large_mb": given.large_mb}
    compare(names, python, **options)


if __name__ == "__main__":
    main()
