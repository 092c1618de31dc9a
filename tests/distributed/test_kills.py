"""Real processes, really killed and stopped: nothing is paid for twice, nothing is lost, rate and cap hold."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import anyio.to_thread
import pytest
from distributed import Client, Future

from facewarp_async.distributed import DistributedPipeline
from facewarp_async.distributed.worker import GRACE_S
from facewarp_async.pipeline import Outcome
from facewarp_async.server import CREATES, Fault, FaultRule
from tests.killing import heard

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


Batch = Callable[..., AbstractAsyncContextManager[tuple[Any, Client, DistributedPipeline]]]


@pytest.fixture
def batch(clusters: ModuleType, cluster: Any, tmp_path: Path) -> Batch:
    """Give an account with so many jobs, a client of a cluster with so many workers, and a pipeline for both."""

    @asynccontextmanager
    async def start(*, workers: int = 2, **options: Any) -> AsyncIterator[tuple[Any, Client, DistributedPipeline]]:
        async with (
            clusters.open_account(tmp_path, cap=12, **options) as account,
            cluster.client(workers) as dask,
            account.pipeline(dask) as pipeline,
        ):
            yield account, dask, pipeline

    return start


async def after_harm(account: Any, cluster: Any, harm: Callable[[subprocess.Popen[str]], None]) -> list[dict[str, Any]]:
    """Start the program, harm it when it has told of a job, start it again, and return what it has told then."""
    async with cluster.client(2):
        pass
    program = account.start_program(cluster)
    assert program.stdout is not None
    for _ in range(2):  # that it is ready, and a job's outcome
        await anyio.to_thread.run_sync(program.stdout.readline)
    await account.until_begun(15, program)
    harm(program)
    await anyio.to_thread.run_sync(program.communicate)
    assert program.returncode in {-signal.SIGKILL, 130}
    calls = len(account.arrivals)
    await anyio.sleep(0.5)
    assert len(account.arrivals) == calls, "nobody works on for a program that has ended"
    program = account.start_program(cluster)
    told, errors = await anyio.to_thread.run_sync(program.communicate)
    assert program.returncode == 0, errors
    return [json.loads(line) for line in told.splitlines() if line.startswith("{")]


async def test_a_worker_that_is_killed_costs_nothing_but_its_time(
    batch: Batch, clusters: ModuleType, cluster: Any
) -> None:
    outcomes: list[Outcome] = []
    async with batch(jobs=40, rate=40, task_s=0.3) as (account, _, pipeline):
        async for outcome in pipeline.stream(account.jobs()):
            outcomes.append(outcome)
            if len(outcomes) == 15:
                cluster.workers[0].kill()
        assert await account.wrongs(outcomes) == []
        assert clusters.doubted(outcomes) <= 4


async def test_a_worker_that_was_given_up_and_wakes_does_no_harm(
    batch: Batch, clusters: ModuleType, cluster: Any
) -> None:
    """It is stopped until the scheduler has given it up and its jobs have gone to the other."""
    outcomes: list[Outcome] = []
    async with batch(jobs=60, rate=15, task_s=0.3) as (account, dask, pipeline), anyio.create_task_group() as group:

        async def pause() -> None:
            pids = await dask.run(os.getpid)
            stopped = cluster.workers[0]
            (address,) = [address for address, pid in pids.items() if pid == stopped.pid]
            stopped.send_signal(signal.SIGSTOP)
            await clusters.give_up(dask, address)
            ended = len(outcomes)
            while len(outcomes) < ended + 5:  # noqa: ASYNC110 - those that the other has taken over are under way
                await anyio.sleep(0.05)
            stopped.send_signal(signal.SIGCONT)

        async for outcome in pipeline.stream(account.jobs()):
            outcomes.append(outcome)
            if len(outcomes) == 15:
                group.start_soon(pause)
        assert await account.wrongs(outcomes) == []
        assert clusters.doubted(outcomes) <= 4


async def test_a_create_whose_answer_comes_after_its_worker_was_given_up_is_known_all_the_same(
    clusters: ModuleType, cluster: Any, tmp_path: Path
) -> None:
    """It was in doubt in this run; woken, the worker tells of the task, and the next run fetches its result."""
    async with clusters.open_account(tmp_path, jobs=8, cap=12) as account, cluster.client(1) as dask:
        (worker,), (address,) = cluster.workers, await clusters.workers_of(dask)
        arrived = heard(CREATES, account.faults, number=3)
        account.faults.add(FaultRule(Fault.SLOW, CREATES, delay_s=0.5))
        async with account.pipeline(dask) as pipeline, anyio.create_task_group() as group:

            async def pause() -> None:
                await arrived.wait()
                worker.send_signal(signal.SIGSTOP)
                cluster.workers.append(cluster.add_worker())
                await clusters.give_up(dask, address)
                account.faults.clear()
                await anyio.sleep(1.0)

            group.start_soon(pause)
            outcomes = [outcome async for outcome in pipeline.stream(account.jobs())]
            assert clusters.doubted(outcomes) >= 3
            worker.send_signal(signal.SIGCONT)
            await anyio.to_thread.run_sync(worker.wait)
        async with account.pipeline(dask) as pipeline:
            report = await pipeline.collect(account.jobs())
        assert await account.wrongs(report.outcomes) == []
        assert clusters.doubted(report.outcomes) == 0


async def test_workers_come_and_go_while_a_batch_runs(batch: Batch, clusters: ModuleType, cluster: Any) -> None:
    outcomes: list[Outcome] = []
    async with batch(jobs=60, rate=40, task_s=0.2) as (account, dask, pipeline):
        account.faults.add(FaultRule(Fault.SLOW, CREATES, delay_s=0.3))  # some are on their way at any time
        cluster.workers.append(cluster.add_worker())
        async for outcome in pipeline.stream(account.jobs()):
            outcomes.append(outcome)
            if len(outcomes) == 30:
                await clusters.until_workers(dask, lambda known: len(known) == 3)
                await dask.retire_workers(list(await clusters.workers_of(dask))[:1])
        assert await account.wrongs(outcomes) == []
        # It was let go, not killed: it has waited for the answers to its creates.
        assert clusters.doubted(outcomes) == 0 or account.stalls.longest_s > GRACE_S / 4


async def test_a_shard_that_dask_runs_again_is_not_paid_again(batch: Batch, cluster: Any) -> None:
    """The workers that hold the end of shards die, and somebody still wants it: Dask runs the shards again."""
    outcomes: list[Outcome] = []
    async with batch(jobs=20) as (account, dask, pipeline):
        wanted: list[Future[Any]] = []
        async for outcome in pipeline.stream(account.jobs()):
            if not wanted:
                wanted = [Future(key, client=dask) for key in list(dask.futures)]
                assert wanted
            outcomes.append(outcome)
        for future in wanted:
            await future
        for worker in cluster.workers:
            worker.kill()
        cluster.workers = [cluster.add_worker()]
        for future in wanted:
            await future.result()
        assert await account.wrongs(outcomes) == []


async def test_everything_is_killed_and_the_same_command_goes_on(
    clusters: ModuleType, cluster: Any, tmp_path: Path
) -> None:
    """The scheduler, all workers and the program that started the batch."""

    def harm(program: subprocess.Popen[str]) -> None:
        cluster.kill()
        program.kill()
        cluster.start(2)

    async with clusters.open_account(tmp_path, jobs=40, rate=40, cap=12, task_s=0.3) as account:
        told = await after_harm(account, cluster, harm)
        assert await account.wrong_records(told) == []
        assert any(line["state"] == "done" and line["resumed"] for line in told)
        assert sum(line["state"] == "failed" for line in told) <= 12


async def test_an_interrupted_program_ends_its_workers_at_once_and_leaves_no_doubt(
    clusters: ModuleType, cluster: Any, tmp_path: Path
) -> None:
    async with clusters.open_account(tmp_path, jobs=40, rate=40, cap=12, task_s=0.3) as account:
        told = await after_harm(account, cluster, lambda program: program.send_signal(signal.SIGINT))
        assert await account.wrong_records(told) == []
        assert {line["state"] for line in told} == {"done"}
