"""Real processes, really killed and stopped: nothing is paid for twice, nothing is lost, rate and cap hold."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import anyio.to_thread
import pytest
from distributed import Future

from facewarp_async.pipeline import Outcome
from facewarp_async.server import CREATES, Fault, FaultRule
from tests.killing import heard

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


async def test_a_worker_that_is_killed_costs_nothing_but_its_time(
    clusters: ModuleType, cluster: Any, tmp_path: Path
) -> None:
    outcomes: list[Outcome] = []
    async with (
        clusters.open_account(tmp_path, jobs=40, rate=40, cap=12, task_s=0.3) as account,
        cluster.client(2) as dask,
        account.pipeline(dask) as pipeline,
    ):
        async for outcome in pipeline.stream(account.jobs()):
            outcomes.append(outcome)
            if len(outcomes) == 15:
                cluster.workers[0].kill()
        assert await account.wrongs(outcomes) == []
        assert clusters.doubted(outcomes) <= 4


async def test_a_worker_that_was_given_up_and_wakes_does_no_harm(
    clusters: ModuleType, cluster: Any, tmp_path: Path
) -> None:
    """It is stopped until the scheduler has given it up and its jobs have gone to the other."""
    outcomes: list[Outcome] = []
    async with (
        clusters.open_account(tmp_path, jobs=90, rate=15, cap=12, task_s=0.3) as account,
        cluster.client(2) as dask,
        account.pipeline(dask) as pipeline,
        anyio.create_task_group() as group,
    ):

        async def pause() -> None:
            stopped = cluster.workers[0]
            stopped.send_signal(signal.SIGSTOP)
            await clusters.until_workers(dask, lambda known: len(known) == 1)
            await anyio.sleep(1.0)
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
    outcomes: list[Outcome] = []
    async with clusters.open_account(tmp_path, jobs=8, cap=12) as account, cluster.client(1) as dask:
        (worker,), (address,) = cluster.workers, (await dask.scheduler.identity())["workers"]
        arrived = heard(CREATES, account.faults, number=3)
        account.faults.add(FaultRule(Fault.SLOW, CREATES, delay_s=0.5))
        async with account.pipeline(dask) as pipeline, anyio.create_task_group() as group:

            async def pause() -> None:
                await arrived.wait()
                worker.send_signal(signal.SIGSTOP)
                cluster.workers.append(cluster.add_worker())
                await clusters.until_workers(dask, lambda known: address not in known)
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


async def test_workers_come_and_go_while_a_batch_runs(clusters: ModuleType, cluster: Any, tmp_path: Path) -> None:
    outcomes: list[Outcome] = []
    async with (
        clusters.open_account(tmp_path, jobs=60, rate=40, cap=12, task_s=0.2) as account,
        cluster.client(2) as dask,
        account.pipeline(dask) as pipeline,
    ):
        cluster.workers.append(cluster.add_worker())
        async for outcome in pipeline.stream(account.jobs()):
            outcomes.append(outcome)
            if len(outcomes) == 30:
                await clusters.until_workers(dask, lambda known: len(known) == 3)
                await dask.retire_workers(list((await dask.scheduler.identity())["workers"])[:1])
        assert await account.wrongs(outcomes) == []
        assert clusters.doubted(outcomes) == 0, "it was let go, not killed"


async def test_a_shard_that_dask_runs_again_is_not_paid_again(
    clusters: ModuleType, cluster: Any, tmp_path: Path
) -> None:
    """The workers that hold the end of shards die, and somebody still wants it: Dask runs the shards again."""
    outcomes: list[Outcome] = []
    async with (
        clusters.open_account(tmp_path, jobs=20, cap=12) as account,
        cluster.client(2) as dask,
        account.pipeline(dask) as pipeline,
    ):
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
    async with clusters.open_account(tmp_path, jobs=40, rate=40, cap=12, task_s=0.3) as account:
        async with cluster.client(2):
            pass
        program = account.start_program(cluster)
        await account.until_begun(15, program)
        cluster.kill()
        program.kill()
        await anyio.to_thread.run_sync(program.communicate)
        cluster.start(2)
        program = account.start_program(cluster)
        told, errors = await anyio.to_thread.run_sync(program.communicate)
        lines = [json.loads(line) for line in told.splitlines() if line.startswith("{")]
        assert program.returncode == 0, errors
        assert await account.wrong_records(lines) == []
        assert any(line["state"] == "done" and line["resumed"] for line in lines)
        assert sum(line["state"] == "failed" for line in lines) <= 12


async def test_an_interrupted_program_ends_its_workers_at_once_and_leaves_no_doubt(
    clusters: ModuleType, cluster: Any, tmp_path: Path
) -> None:
    async with clusters.open_account(tmp_path, jobs=40, rate=40, cap=12, task_s=0.3) as account:
        async with cluster.client(2):
            pass
        program = account.start_program(cluster)
        await account.until_begun(15, program)
        program.send_signal(signal.SIGINT)
        interrupted_at = anyio.current_time()
        await anyio.to_thread.run_sync(program.communicate)
        assert program.returncode == 130
        assert account.arrivals[-1] - interrupted_at < 1.5
        program = account.start_program(cluster)
        told, errors = await anyio.to_thread.run_sync(program.communicate)
        lines = [json.loads(line) for line in told.splitlines() if line.startswith("{")]
        assert program.returncode == 0, errors
        assert await account.wrong_records(lines) == []
        assert {line["state"] for line in lines} == {"done"}
