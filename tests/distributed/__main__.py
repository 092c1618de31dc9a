"""The long run: ``python -m tests.distributed --minutes 30`` does harm to clusters at random, one batch for each seed.

Workers are killed, stopped and woken, added; the scheduler is killed with everything, and so is the program that has
started the batch. The exit code is 1 if a task was created twice, a result is missing, or the rate or the cap were
exceeded.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from attrs import Factory, define

from tests.distributed.clusters import Account, Cluster, open_account, open_cluster
from tests.killing import long_run, long_run_parser

_HARMS = ("kill a worker", "stop a worker", "add a worker", "kill the program", "interrupt the program", "kill all")
_STOPPED_S = 9.0
"""Longer than the scheduler waits for a silent worker."""


@define
class Figures:
    """What became of batches.

    Attributes:
        jobs: How many there were.
        runs: How often the program was started.
        harms: What was done, and how often.
        in_doubt: How many jobs were named in doubt at the end.
        wrong: What should not be.
    """

    jobs: int = 0
    runs: int = 0
    harms: Counter[str] = Factory(Counter)
    in_doubt: int = 0
    wrong: list[str] = Factory(list)

    def add(self, other: Figures) -> None:
        self.jobs += other.jobs
        self.runs += other.runs
        self.harms += other.harms
        self.in_doubt += other.in_doubt
        self.wrong += other.wrong


async def _wake(worker: subprocess.Popen[bytes]) -> None:
    await anyio.sleep(_STOPPED_S)
    worker.send_signal(signal.SIGCONT)


def _harm(
    harm: str, cluster: Cluster, program: subprocess.Popen[str], draw: random.Random
) -> subprocess.Popen[bytes] | None:
    """Do it; return a worker that was stopped."""
    worker = draw.choice(cluster.workers)
    match harm:
        case "kill a worker":
            worker.kill()
            cluster.workers.remove(worker)
            cluster.workers.append(cluster.add_worker())
        case "stop a worker":
            worker.send_signal(signal.SIGSTOP)
            cluster.workers.remove(worker)
            cluster.workers.append(cluster.add_worker())
            return worker
        case "add a worker":
            cluster.workers.append(cluster.add_worker())
        case "kill the program":
            program.kill()
        case "interrupt the program":
            program.send_signal(signal.SIGINT)
        case "kill all":
            cluster.kill()
            program.kill()
            cluster.start(2)
    return None


async def _run(account: Account, cluster: Cluster, draw: random.Random, figures: Figures) -> list[dict[str, Any]]:
    """Start the program until it ends by itself, and return what it told then."""
    left = 8
    async with anyio.create_task_group() as group:
        while True:
            program = account.start_program(cluster)
            figures.runs += 1
            ended = anyio.Event()
            told: list[str] = []

            async def read(
                program: subprocess.Popen[str] = program, told: list[str] = told, ended: anyio.Event = ended
            ) -> None:
                told += await anyio.to_thread.run_sync(program.communicate)
                ended.set()

            group.start_soon(read)
            while not ended.is_set():
                with anyio.move_on_after(draw.uniform(1.0, 6.0)):
                    await ended.wait()
                if left and not ended.is_set():
                    left -= 1
                    harm = draw.choice(_HARMS)
                    figures.harms[harm] += 1
                    stopped = _harm(harm, cluster, program, draw)
                    if stopped is not None:
                        group.start_soon(_wake, stopped)
            if program.returncode == 0:
                group.cancel_scope.cancel()
                return [json.loads(line) for line in told[0].splitlines() if line.startswith("{")]
            if program.returncode not in {-signal.SIGKILL, -signal.SIGINT, 130, 1}:
                raise RuntimeError(f"exit code {program.returncode}: {told[1]}")
    raise AssertionError


async def _harm_batch(folder: Path, seed: int, *, jobs: int, rate: float) -> Figures:
    draw, figures = random.Random(seed), Figures(jobs=jobs)
    (folder / "dask").mkdir()
    with open_cluster(folder / "dask", workers=2, ttl_s=_STOPPED_S / 3) as cluster:
        async with open_account(folder / "batch", jobs=jobs, seed=seed, rate=rate, cap=12, task_s=0.3) as account:
            lines = await _run(account, cluster, draw, figures)
            figures.in_doubt = sum(line.get("error") == "InDoubtError" for line in lines)
            figures.wrong = await account.wrong_records(lines)
    return figures


def main() -> int:
    parser = long_run_parser("python -m tests.distributed", __doc__)
    parser.add_argument("--jobs", type=int, default=120, help="in each batch")
    parser.add_argument("--rate", type=float, default=20.0, help="calls a second that the account allows")
    options = parser.parse_args()
    harm = partial(_harm_batch, jobs=options.jobs, rate=options.rate)
    total = anyio.run(long_run, options, Figures(), harm)
    return 1 if total.wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
