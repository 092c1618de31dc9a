"""Kills a batch at random moments until it ends by itself, and looks at what it was paid for and what it left."""

from __future__ import annotations

import json
import random
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import anyio.to_thread
from attrs import Factory, define, field

from facewarp_async.server import FaultPlan, InstantRunner, LocalService, Work
from tests.killing import first_of, heard
from tests.programs import make_media

__all__ = ["Batch", "Figures", "heard", "kill_batches", "open_batch"]

HARNESS = Path(__file__).with_name("harness.py")


@define
class Figures:
    """What became of batches.

    Attributes:
        kills: How often the program was killed.
        runs: How often it was started.
        jobs: How many jobs there were.
        in_doubt: How many of them were named in doubt at the end.
        duplicates: How many tasks were created again without being named in doubt.
        losses: What is missing or should not be there.
    """

    kills: int = 0
    runs: int = 0
    jobs: int = 0
    in_doubt: int = 0
    duplicates: int = 0
    losses: list[str] = Factory(list)

    def add(self, other: Figures) -> None:
        self.kills += other.kills
        self.runs += other.runs
        self.jobs += other.jobs
        self.in_doubt += other.in_doubt
        self.duplicates += other.duplicates
        self.losses += other.losses


@define
class Batch:
    """A folder of media, an output folder, and a service that notes the content of each task's media."""

    folder: Path
    service: LocalService
    work: list[tuple[str, bytes]]
    random: random.Random
    figures: Figures = field(factory=Figures)

    @property
    def out(self) -> Path:
        return self.folder / "out"

    @property
    def media(self) -> list[Path]:
        return sorted((self.folder / "media").glob("*.png"))

    async def start(self, *options: str) -> anyio.abc.Process:
        self.figures.runs += 1
        return await anyio.open_process(
            [
                sys.executable, str(HARNESS), str(self.folder / "media"), str(self.out),
                "--url", self.service.provider.base_url, "--key", self.service.auth.key, *options,
            ],
        )  # fmt: skip

    async def run(
        self,
        *options: str,
        after_s: float | None = None,
        at: anyio.Event | None = None,
        with_signal: signal.Signals = signal.SIGKILL,
    ) -> tuple[int, list[dict[str, Any]], str, float]:
        """Run the program, ending it so long after it is ready, or at an event, if one of them is given.

        Returns:
            Its exit code, what it told of jobs, what it wrote to stderr, and for how long it ran after the signal.
        """
        process = await self.start(*options)
        told, errors, ended_s = bytearray(), bytearray(), 0.0
        ready = anyio.Event()
        async with process, anyio.create_task_group() as group:
            group.start_soon(_read, process.stdout, told, ready)
            group.start_soon(_read, process.stderr, errors, anyio.Event())
            if after_s is not None or at is not None:
                await first_of(ready if at is None else at, process)
                with anyio.move_on_after(after_s or 0.0):
                    await process.wait()
                if process.returncode is None:
                    process.send_signal(with_signal)
                    self.figures.kills += 1
                    began = anyio.current_time()
                    await process.wait()
                    ended_s = anyio.current_time() - began
            code = await process.wait()
        lines = bytes(told).decode().splitlines()
        return code, [json.loads(line) for line in lines if line.startswith("{")], bytes(errors).decode(), ended_s

    async def kill_until_done(self, *, longest_s: float, most_kills: int) -> list[dict[str, Any]]:
        """Kill the program at random moments of its work until it ends by itself; return what it told then."""
        for _ in range(most_kills):
            code, told, errors, _ = await self.run(after_s=self.random.uniform(0, longest_s))
            if code == 0:
                return told
            if code != -signal.SIGKILL:
                raise RuntimeError(f"exit code {code}: {errors}")
        code, told, errors, _ = await self.run()
        if code != 0:
            raise RuntimeError(f"exit code {code}: {errors}")
        return told

    async def judge(self, told: Sequence[dict[str, Any]]) -> None:
        """Compare what the program told in the end with what the service did and what lies in the output folder."""
        await self.service.settled()
        figures = self.figures
        figures.jobs = len(self.media)
        doubted = {line["name"] for line in told if line.get("error") == "InDoubtError"}
        done = {line["name"] for line in told if line["state"] == "done"}
        figures.in_doubt = len(doubted)
        names = {path.read_bytes(): path.name for path in self.media}
        paid = Counter((kind, names[content]) for kind, content in self.work)
        figures.duplicates = sum(count - 1 for count in paid.values())
        figures.losses += [f"{path.name}: neither done nor in doubt" for path in self.media
                           if path.name not in done | doubted]  # fmt: skip
        figures.losses += [f"{name}: its result is missing or wrong" for name in sorted(done)
                           if not self._is_whole(name)]  # fmt: skip
        expected = done | {f"batch.db{suffix}" for suffix in ("", "-wal", "-shm")}
        figures.losses += [f"{path.name}: should not be there" for path in self.out.rglob("*")
                           if path.name not in expected]  # fmt: skip

    def _is_whole(self, name: str) -> bool:
        result = self.out / name
        return result.exists() and result.read_bytes() == (self.folder / "media" / name).read_bytes()


async def _read(stream: anyio.abc.ByteReceiveStream | None, into: bytearray, ready: anyio.Event) -> None:
    assert stream is not None
    try:
        async for chunk in stream:
            into += chunk
            if b"ready" in into:
                ready.set()
    finally:
        ready.set()


@asynccontextmanager
async def open_batch(
    folder: Path, *, jobs: int, seed: int, task_s: float = 0.1, faults: FaultPlan | None = None
) -> AsyncIterator[Batch]:
    """Make media and start a service."""
    draw = random.Random(seed)
    await anyio.to_thread.run_sync(partial(make_media, folder / "media", jobs, draw, most_bytes=60_000))
    work: list[tuple[str, bytes]] = []

    def note(task: Work) -> None:
        work.append((task.kind, task.media.read_bytes()))

    async with LocalService(runner=InstantRunner(duration_s=task_s, fail=note), faults=faults) as service:
        yield Batch(folder, service, work, draw)


async def kill_batches(folder: Path, seeds: Sequence[int], *, jobs: int, longest_s: float, most_kills: int) -> Figures:
    """Kill one batch for each seed until it is done, and return what became of them all."""
    total = Figures()
    for seed in seeds:
        async with open_batch(folder / f"{seed}", jobs=jobs, seed=seed) as batch:
            told = await batch.kill_until_done(longest_s=longest_s, most_kills=most_kills)
            await batch.judge(told)
        total.add(batch.figures)
    return total
