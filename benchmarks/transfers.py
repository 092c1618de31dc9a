"""Uploads and downloads, against curl and other clients: throughput, CPU, memory, pauses of the event loop.

    python -m benchmarks transfers                     everything
    python -m benchmarks transfers upload --rounds 7   one large file
    python -m benchmarks transfers eight               eight large files at once
    python -m benchmarks transfers many --install
    python -m benchmarks transfers download

Every run is a process of its own against the sink in C (`sink.c`). Ratios are those of a round to curl's, or to the
contestant that is named. For `many`, `--install` brings httpx and boto3, in an environment of their own.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import aiohttp
import anyio

from benchmarks.harness import Contest, Cost, interval_of_median, print_table, run_module, run_program, spread, verdict
from benchmarks.others import python_with_others
from benchmarks.sinks import Sink, Workshop

MIB = 1024 * 1024
PNG = b"\x89PNG\r\n\x1a\n"
CURL = ["curl", "-sS", "--noproxy", "*", "-H", "Expect:"]
SMALL_BYTES = 200_000


def make_file(path: Path, size: int) -> Path:
    """Make a file that the service would take and that does not compress, in the page cache.

    A large one is on the disk too: pages that are being written there could not be read at once.
    """
    piece = os.urandom(MIB)
    with path.open("wb") as file:
        file.write(PNG)
        for _ in range(size // MIB):
            file.write(piece)
        file.truncate(size)
        if size > MIB:
            file.flush()
            os.fsync(file.fileno())
    return path


def contestant(name: str, sink: Sink, *arguments: object, python: str | None = None) -> Callable[[], Cost]:
    """Return what runs a contestant of `benchmarks.contestants`."""
    module = "benchmarks.contestants" if python is None else "benchmarks.foreign"
    given = (name, sink.url, sink.ca or "-", *arguments)
    return lambda: Cost.told(run_module(module, *given, python=python or sys.executable))


def curl_base() -> Cost:
    """Return what curl takes for nothing, which is not what is compared."""
    costs = [run_program([*CURL, "--version"])[1] for _ in range(5)]
    return Cost(**{name: statistics.median(getattr(cost, name) for cost in costs) for name in ("wall_s", "cpu_s")})


def run_curl(base: Cost, sink: Sink, *arguments: object) -> Cost:
    """Run curl; of one transfer it tells the time itself."""
    trust = [] if sink.ca is None else ["--cacert", str(sink.ca)]
    told, cost = run_program([*CURL, *trust, "-w", "%{time_total}\n", *map(str, arguments)])
    times = told.split()
    wall_s = float(times[0]) if len(times) == 1 else cost.wall_s - base.wall_s
    return Cost(wall_s=wall_s, cpu_s=cost.cpu_s - base.cpu_s)


def compare(title: str, contest: Contest, base: str, unit_bytes: int, count: int = 1) -> None:
    """Print all contestants of a contest beside their base."""
    rows = []
    for name, costs in contest.costs.items():
        faster = contest.ratios(base, name, lambda cost: cost.wall_s)
        cpu = contest.ratios(name, base, lambda cost: cost.cpu_s)
        rate = statistics.median(unit_bytes * count / MIB / cost.wall_s for cost in costs)
        each = statistics.median(cost.cpu_s / count * 1e6 for cost in costs)
        grown = max(cost.grown_mib for cost in costs)
        rows.append([name, spread(faster), spread(cpu), f"{rate:.0f}", f"{each:.0f}", f"{grown:.1f}"])
    columns = ["", f"speed / {base}", f"CPU / {base}", "MiB/s", "CPU µs a file", "memory MiB"]
    print_table(title, columns, rows)


async def check_bytes(path: Path) -> None:
    """Assert that an upload brings the file's bytes, before any is timed, to a peer that reads in odd pieces."""
    from benchmarks.contestants import transfers_of, upload_once  # noqa: PLC0415 - it imports the package

    arrived = hashlib.sha256()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        left = int(head.lower().partition(b"content-length:")[2].split()[0])
        while left:
            chunk = await reader.read(min(left, 50_000))
            arrived.update(chunk)
            left -= len(chunk)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, aiohttp.ClientSession() as http:
        transfers = transfers_of(http)
        await upload_once(transfers, path, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x")
        transfers.close()
    expected = await anyio.to_thread.run_sync(lambda: hashlib.sha256(path.read_bytes()).hexdigest())
    assert arrived.hexdigest() == expected


def upload(shop: Workshop, ways: list[bool], *, rounds: int, size: int) -> None:
    """One large file over TLS and over plain HTTP."""
    path, base = make_file(shop.folder / "large.png", size), curl_base()
    asyncio.run(check_bytes(path))
    for tls in ways:
        with shop.sink(tls=tls, unread=tls) as sink:
            contest = Contest(
                {
                    "curl": partial(run_curl, base, sink, "-o", "/dev/null", "-T", path, f"{sink.url}/x"),
                    "facewarp": contestant("upload", sink, path),
                    "aiohttp, data=open()": contestant("upload-open", sink, path),
                }
            ).run(rounds)
            watched = Contest({"facewarp": contestant("upload:lag", sink, path)}).run(rounds)
            runs = rounds * (len(contest.contestants) + 1)
            assert sink.counts()[2] == runs * size, "each byte arrived"
            progress(sink, make_file(shop.folder / "part.png", size // 8), pairs=20 * rounds)
        way = "TLS" if tls else "http"
        compare(f"One upload of {size // MIB} MiB over {way}, {rounds} rounds", contest, "curl", size)
        speed = statistics.median(contest.ratios("curl", "facewarp", lambda cost: cost.wall_s))
        cpu = statistics.median(contest.ratios("facewarp", "curl", lambda cost: cost.cpu_s))
        least, most = (1.25, 0.85) if tls else (1.1, 1.0)
        verdict(f"{way}: {speed:.2f} times curl's speed, at least {least}", met=speed >= least)
        verdict(f"{way}: {cpu:.2f} of curl's CPU, at most {most}", met=cpu <= most)
        grown = max(cost.grown_mib for cost in contest.costs["facewarp"])
        verdict(f"{way}: memory grows by {grown:.1f} MiB, at most 8", met=grown <= 8)
        judge_lag(way, watched)


def judge_lag(way: str, contest: Contest) -> None:
    costs = contest.costs["facewarp"]
    for of, what in (("lag_ms", "by the clock, with all that others did"), ("work_ms", "by its own work")):
        held_up = [getattr(cost, of) for cost in costs]
        told = f"{way}: the loop is held up for {spread(held_up, 1)} ms {what}, at most 10"
        verdict(told, met=statistics.median(held_up) <= 10)


def progress(sink: Sink, path: Path, *, pairs: int) -> None:
    """What progress callbacks cost: what they take themselves, and uploads with them beside uploads without."""
    given = ("progress", sink.url, sink.ca or "-", path, pairs)
    told = json.loads(run_module("benchmarks.contestants", *given))
    without_s = statistics.median(told["without"])
    share = told["calls"] * told["each_s"] / without_s
    ratios = [more / less for more, less in zip(told["with"], told["without"], strict=True)]
    middle, (least, most) = statistics.median(ratios), interval_of_median(ratios)
    print(
        f"\n{pairs} uploads of {path.stat().st_size // MIB} MiB with a progress callback, and {pairs} without: "
        f"CPU {middle:.4f} ({least:.4f}-{most:.4f} with 95 % confidence)"
    )
    what = f"{told['calls']:.0f} callbacks an upload, {told['each_s'] * 1e6:.2f} µs each"
    verdict(f"{what}: {share:.2%} of the upload's CPU, less than 1 %", met=share < 0.01)


def eight(shop: Workshop, ways: list[bool], *, rounds: int, size: int) -> None:
    """Eight large files at once."""
    path = make_file(shop.folder / "large.png", size)
    for tls in ways:
        with shop.sink(tls=tls) as sink:
            contest = Contest({"facewarp": contestant("eight:lag", sink, path)}).run(rounds)
            connections, _, taken = sink.counts()
            assert taken == rounds * 8 * size
            assert connections == rounds * 8, "the connections that stood already"
        way, grown = "TLS" if tls else "http", max(cost.grown_mib for cost in contest.costs["facewarp"])
        print(f"\nEight uploads of {size // MIB} MiB at once over {way}, {rounds} rounds")
        verdict(f"{way}: memory grows by {grown:.1f} MiB, at most 64", met=grown <= 64)
        judge_lag(way, contest)


def many(
    shop: Workshop, ways: list[bool], *, rounds: int, count: int, concurrencies: list[int], foreign: str | None
) -> None:
    """Many small files."""
    folder, base = shop.folder / "small", curl_base()
    folder.mkdir()
    for number in range(count):
        make_file(folder / f"{number:05}.png", SMALL_BYTES)
    for tls in ways:
        for concurrency in concurrencies:
            with shop.sink(tls=tls) as sink:
                contestants: dict[str, Callable[[], Cost]] = {
                    "curl -Z": partial(run_curl_many, base, sink, folder, concurrency),
                    "facewarp": contestant("many", sink, folder, concurrency),
                    "aiohttp, data=open()": contestant("many-open", sink, folder, concurrency),
                }
                if foreign is not None:
                    for name in ("httpx", "boto3"):
                        contestants[name] = contestant(name, sink, folder, concurrency, python=foreign)
                Contest({"facewarp": contestants["facewarp"]}).run(1)
                connections, requests, taken = sink.counts()
                assert (requests - 1, taken) == (count, count * SMALL_BYTES), "each file arrived whole, once"
                assert connections <= concurrency, "connections are used again"
                contest = Contest(contestants).run(rounds)
            way = "TLS" if tls else "http"
            title = f"{count} uploads of {SMALL_BYTES // 1000} KB over {way}, {concurrency} at once, {rounds} rounds"
            compare(title, contest, "curl -Z", SMALL_BYTES, count)
            cpu = statistics.median(contest.ratios("facewarp", "curl -Z", lambda cost: cost.cpu_s))
            if tls:
                verdict(f"{cpu:.2f} of curl's CPU a file, at most 1.5", met=cpu <= 1.5)
            for name in list(contestants)[2:]:
                faster = statistics.median(contest.ratios(name, "facewarp", lambda cost: cost.wall_s))
                less = statistics.median(contest.ratios(name, "facewarp", lambda cost: cost.cpu_s))
                verdict(f"{faster:.2f} times as fast as {name}, which takes {less:.2f} of the CPU", met=faster > 1)


def run_curl_many(base: Cost, sink: Sink, folder: Path, concurrency: int) -> Cost:
    """Upload a folder with one curl."""
    listed = folder.with_name("curl.txt")
    listed.write_text(
        "".join(
            f'url="{sink.url}/{path.name}"\nupload-file="{path}"\noutput=/dev/null\n'
            for path in sorted(folder.iterdir())
        )
    )
    return run_curl(base, sink, "-Z", "--parallel-max", concurrency, "-K", listed)


def download(shop: Workshop, ways: list[bool], *, rounds: int, size: int, count: int, disk: Path) -> None:
    """One large file to memory, where only the work counts; many small ones to a disk, where their syncing does."""
    base = curl_base()
    for tls in ways:
        with shop.sink(tls=tls) as sink, folder_in_memory() as memory:
            url, target = f"{sink.url}/bytes/{size}", memory / "curl.bin"

            def run(sink: Sink = sink, url: str = url, target: Path = target) -> Cost:
                cost = run_curl(base, sink, "-o", target, url)
                assert target.stat().st_size == size
                target.unlink()
                return cost

            contest = Contest(
                {
                    "curl": run,
                    "facewarp": contestant("download", sink, memory, size),
                    "aiohttp, chunks of 64 KiB": contestant("download-chunks", sink, memory, size),
                }
            ).run(rounds)
        way = "TLS" if tls else "http"
        compare(f"One download of {size // MIB} MiB over {way} to memory, {rounds} rounds", contest, "curl", size)
        speed = statistics.median(contest.ratios("curl", "facewarp", lambda cost: cost.wall_s))
        cpu = statistics.median(contest.ratios("facewarp", "curl", lambda cost: cost.cpu_s))
        verdict(f"{way}: {speed:.2f} times curl's speed, at least 0.9", met=speed >= 0.9)
        verdict(f"{way}: {cpu:.2f} of curl's CPU, at most 1.35", met=cpu <= 1.35)
    with shop.sink() as sink, tempfile.TemporaryDirectory(dir=disk, prefix="facewarp-bench-") as name:
        contest = Contest(
            {
                "facewarp": contestant("download-many", sink, name, count),
                "one at a time": contestant("download-serial", sink, name, count),
            }
        ).run(rounds)
    title = f"{count} downloads of {SMALL_BYTES // 1000} KB, 8 at once, synced to {disk}, {rounds} rounds"
    compare(title, contest, "one at a time", SMALL_BYTES, count)


@contextmanager
def folder_in_memory() -> Iterator[Path]:
    """Make a folder on a file system in memory, where there is one."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None, prefix="facewarp-bench-") as name:
        yield Path(name)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks transfers", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("part", nargs="?", choices=["all", "upload", "eight", "many", "download"], default="all")
    parser.add_argument("--ways", nargs="+", choices=["tls", "http"], default=["tls", "http"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--megabytes", type=int, default=500, help="size of the large file, in MiB")
    parser.add_argument("--files", type=int, default=2000, help="how many small ones")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[8, 32, 64])
    parser.add_argument("--install", action="store_true", help="have httpx and boto3 in an environment of their own")
    parser.add_argument("--foreign", help="a Python that has httpx and boto3")
    parser.add_argument("--disk", type=Path, default=Path(tempfile.gettempdir()), help="where syncing is measured")
    parser.add_argument("--quick", action="store_true", help="so little that the figures mean nothing")
    given = parser.parse_args()
    if shutil.which("curl") is None:
        parser.error("curl is not installed")
    if given.quick:
        given.rounds, given.megabytes, given.files, given.concurrency, given.ways = 1, 8, 20, [4], ["tls"]
    size, ways = given.megabytes * MIB, [way == "tls" for way in given.ways]
    with Workshop.opened() as shop:
        if given.part in {"all", "upload"}:
            upload(shop, ways, rounds=given.rounds, size=size)
        if given.part in {"all", "eight"}:
            eight(shop, ways, rounds=max(1, given.rounds // 2), size=size)
        if given.part in {"all", "many"}:
            many(
                shop,
                ways,
                rounds=given.rounds,
                count=given.files,
                concurrencies=given.concurrency,
                foreign=python_with_others() if given.install else given.foreign,
            )
        if given.part in {"all", "download"}:
            download(shop, ways, rounds=given.rounds, size=size, count=max(20, given.files // 10), disk=given.disk)


if __name__ == "__main__":
    main()
