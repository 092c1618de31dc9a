"""Cancellation, in any way and at every stage, and what the next run makes of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from facewarp_async import Completed, Failed, ImageSwap, InDoubtError, Job, JobEnded, Skipped, Stage, StageBegun
from facewarp_async.pipeline import Event
from facewarp_async.server import CREATES, Fault, FaultPlan, FaultRule
from tests.heads import PNG
from tests.patience import seconds
from tests.pipeline.leftovers import check_left

if TYPE_CHECKING:
    from tests.pipeline.conftest import Bench, HeldRunner, Hold, Serve

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

Coro = Callable[[], Coroutine[Any, Any, None]]

BIG = PNG + bytes(3_000_000)


async def by_scope(run: Coro, ready: Coro) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(run)
        await ready()
        group.cancel_scope.cancel()


async def by_task(run: Coro, ready: Coro) -> None:
    task = asyncio.ensure_future(run())
    await ready()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def by_task_twice(run: Coro, ready: Coro) -> None:
    task = asyncio.ensure_future(run())
    await ready()
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await task


async def by_asyncio_timeout(run: Coro, ready: Coro) -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):  # noqa: PT012 - the time-out is a block
            async with asyncio.timeout(None) as timeout:
                timeouts.append(timeout)
                await run()

    timeouts: list[asyncio.Timeout] = []
    task = asyncio.ensure_future(main())
    await ready()
    timeouts[0].reschedule(asyncio.get_running_loop().time())
    await task
    assert task.cancelling() == 0


async def by_deadline(run: Coro, ready: Coro) -> None:
    async def main() -> None:
        with anyio.move_on_after(60) as scope:
            scopes.append(scope)
            await run()
        assert scope.cancelled_caught

    scopes: list[anyio.CancelScope] = []
    async with anyio.create_task_group() as group:
        group.start_soon(main)
        await ready()
        scopes[0].deadline = anyio.current_time()


WAYS = [by_scope, by_task, by_task_twice, by_asyncio_timeout, by_deadline]


@asynccontextmanager
async def stuck_in(
    stage: Stage, serve: Serve, held: HeldRunner, hold: type[Hold]
) -> AsyncIterator[tuple[Bench, list[Job], Coro]]:
    """Start a service where jobs get stuck in a stage; gives a function that waits until the first is there."""
    holds: dict[Stage, str | frozenset[str]] = {Stage.UPLOAD: "put", Stage.CREATE: CREATES, Stage.DOWNLOAD: "get"}
    rules, stuck = [], None
    if stage in holds:
        # A download is held in its middle: cut first, so that half a file is there, and kept waiting for the rest.
        stuck = hold(holds[stage])
        rules = [FaultRule(Fault.CUT_GET, "get", nth=1), stuck.rule] if stage is Stage.DOWNLOAD else [stuck.rule]
    if stage is not Stage.WAIT:
        held.let_go()
    async with serve(runner=held, faults=FaultPlan(rules)) as bench:
        jobs: list[Job] = [ImageSwap(bench.file("big.png", BIG), bench.picture("face"))]
        if stage is not Stage.DOWNLOAD:
            jobs = [*bench.swaps(5)]

        async def ready() -> None:
            if stage is Stage.CHECK:
                await bench.events.until(lambda log: bool(log.begun(Stage.CHECK)))
            elif stuck is not None:
                await stuck.until_arrived()
            else:
                await held.until_begun(1)
            if stage is Stage.DOWNLOAD:
                assert (bench.out / "big.png.part").is_file()

        yield bench, jobs, ready


@pytest.mark.parametrize("cancel", WAYS)
@pytest.mark.parametrize("stage", Stage)
async def test_cancelling_ends_at_once_and_leaves_nothing(
    serve: Serve, held: HeldRunner, hold: type[Hold], stage: Stage, cancel: Callable[..., Coroutine[Any, Any, None]]
) -> None:
    """In any stage and in any way: within a second there is no task, no file half written, and the client works."""
    async with stuck_in(stage, serve, held, hold) as (bench, jobs, ready):
        cancelled_at = 0.0

        async def run() -> None:
            async with bench.pipeline() as pipeline:
                await pipeline.collect(jobs)

        async def ready_now() -> None:
            nonlocal cancelled_at
            await ready()
            cancelled_at = time.monotonic()

        await cancel(run, ready_now)
        assert time.monotonic() - cancelled_at < seconds(1)
        assert bench.events.ended() == []
        held.let_go()
        await check_left(bench)
        assert not bench.ledger.paid_twice()


@contextmanager
def cancelled_when_begun(stage: Stage, bench: Bench) -> Iterator[None]:
    """Cancel the block at the moment it is told that a stage begins."""
    scope = anyio.CancelScope()

    def also(event: Event) -> None:
        if isinstance(event, StageBegun) and event.stage is stage:
            scope.cancel()

    bench.events.also = also
    with scope:
        yield
    assert scope.cancelled_caught
    bench.events.also = lambda _event: None


@pytest.mark.parametrize("stage", Stage)
async def test_cancelling_when_a_stage_begins_leaves_nothing(bench: Bench, stage: Stage) -> None:
    """Cancelled at the moment it is told of, the stage ends before it has done anything, or cleans up."""
    with cancelled_when_begun(stage, bench):
        async with bench.pipeline() as pipeline:
            await pipeline.collect(bench.swaps(6))
    await check_left(bench)


async def test_cancelling_a_create_waits_a_moment_for_its_answer(serve: Serve, hold: type[Hold]) -> None:
    """The answer comes in time: the journal knows the task, and the next run fetches it without paying again."""
    stuck = hold(CREATES, delay_s=0.2)
    async with serve(faults=FaultPlan([stuck.rule])) as bench:
        jobs, journal = bench.swaps(1), bench.folder.parent / "batch.db"
        async with anyio.create_task_group() as group:

            async def run() -> None:
                async with bench.pipeline(journal=journal) as pipeline:
                    await pipeline.collect(jobs)

            group.start_soon(run)
            await stuck.until_arrived()
            group.cancel_scope.cancel()
        assert len(bench.ledger.creations) == 1
        outcomes = await bench.outcomes(jobs, journal=journal)
        assert isinstance(outcomes[0], Completed)
        assert len(bench.ledger.creations) == 1


async def test_a_create_that_was_cancelled_without_an_answer_is_in_doubt_in_the_next_run(
    serve: Serve, hold: type[Hold]
) -> None:
    """It may have been paid for: the next run says so, and does not create it again."""
    stuck = hold(CREATES)
    async with serve(faults=FaultPlan([stuck.rule])) as bench:
        jobs, journal = bench.swaps(1), bench.folder.parent / "batch.db"

        async def run() -> None:
            async with bench.pipeline(journal=journal) as pipeline:
                await pipeline.collect(jobs)

        await by_scope(run, stuck.until_arrived)
        bench.service.faults.clear()
        (outcome,) = await bench.outcomes(jobs, journal=journal)
        assert isinstance(outcome, Failed)
        assert isinstance(outcome.error, InDoubtError)
        assert sum(bench.ledger.calls[call] for call in CREATES) == 1


@pytest.mark.parametrize("stage", [Stage.CHECK, Stage.UPLOAD, Stage.CREATE])
async def test_jobs_that_were_cancelled_before_their_create_left_are_not_in_doubt(serve: Serve, stage: Stage) -> None:
    """Nothing was sent, so the next run does them all."""
    async with serve() as bench:
        jobs, journal = bench.swaps(6), bench.folder.parent / "batch.db"
        with cancelled_when_begun(stage, bench):
            async with bench.pipeline(journal=journal) as pipeline:
                await pipeline.collect(jobs)
        outcomes = await bench.outcomes(jobs, journal=journal)
        assert all(isinstance(outcome, Completed) for outcome in outcomes), outcomes
        assert len(bench.ledger.creations) == 6


async def test_cancelling_a_taker_cancels_no_job(serve: Serve, held: HeldRunner) -> None:
    """A time-out on the next outcome alone loses neither jobs nor outcomes."""
    async with serve(runner=held) as bench:
        jobs = bench.swaps(3)
        async with bench.pipeline() as pipeline:
            stream = pipeline.stream(jobs)
            for _ in range(3):
                with anyio.move_on_after(0.01):
                    await anext(stream)
            held.let_go()
            assert [outcome.job async for outcome in stream] == jobs
        assert not any(isinstance(event, JobEnded) and isinstance(event.outcome, Skipped) for event in bench.events.all)


async def test_an_outer_cancellation_is_not_swallowed_by_a_stopped_batch(serve: Serve, held: HeldRunner) -> None:
    """A batch that was stopped and is cancelled meanwhile ends as cancelled."""
    async with serve(runner=held, credits=1) as bench:
        async with anyio.create_task_group() as group:

            async def run() -> None:
                async with bench.pipeline(in_flight=2) as pipeline:
                    await pipeline.collect(bench.swaps(4))
                raise AssertionError

            group.start_soon(run)
            await held.until_begun(1)
            await bench.events.until(lambda log: len(log.ended()) == 3)
            group.cancel_scope.cancel()
        held.let_go()
        await bench.service.add_credits(1)
        await check_left(bench)
