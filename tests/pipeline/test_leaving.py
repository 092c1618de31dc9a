"""Ways out of a pipeline before its jobs are done: errors, breaks and cancellation, at every stage."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from facewarp_async import Completed, Failed, ImageSwap, InDoubtError, Job, JobEnded, Skipped, Stage, StageBegun
from facewarp_async.pipeline import Event
from facewarp_async.server import CREATES, Fault, FaultPlan, FaultRule
from tests.heads import PNG
from tests.patience import seconds

if TYPE_CHECKING:
    from tests.pipeline.conftest import Bench, HeldRunner, Hold, Serve

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

Coro = Callable[[], Coroutine[Any, Any, None]]

BIG = PNG + bytes(3_000_000)


def tasks_in(*parts: str) -> list[str]:
    """Name the tasks in the loop whose code is in one of these places, the service's aside."""
    left = []
    for task in asyncio.all_tasks():
        code = getattr(task.get_coro(), "cr_code", None)
        path = "" if code is None else str(code.co_filename).replace(os.sep, "/")
        if any(part in path for part in parts) and "/server/" not in path:
            left.append(repr(task))
    return left


async def check_left(bench: Bench) -> None:
    """Nothing of the batch is left, and the client works."""
    assert tasks_in("/facewarp_async/") == []
    with anyio.fail_after(seconds(0.5)):
        while tasks_in("/aiohttp/client"):  # noqa: ASYNC110 - aiohttp cancels its writers and does not wait for them
            await anyio.sleep(0.001)
    gc.collect()
    files = [name for _, _, names in os.walk(bench.out) for name in names]
    assert [name for name in files if name.endswith(".part")] == []
    await bench.check_works()


# Errors


@pytest.mark.parametrize("source", ["sync", "async"])
async def test_an_error_of_the_job_source_follows_the_outcomes_before_it(bench: Bench, source: str) -> None:
    """Jobs read before it are done; then the exception itself leaves the block."""
    mistake, jobs = LookupError("the manifest ends here"), bench.swaps(5)

    def sync_source() -> Iterator[Job]:
        yield from jobs
        raise mistake

    async def async_source() -> AsyncIterator[Job]:
        for job in sync_source():
            yield job

    done = []
    with pytest.raises(LookupError) as caught:  # noqa: PT012 - it is raised in the loop
        async with bench.pipeline() as pipeline:
            async for outcome in pipeline.stream(sync_source() if source == "sync" else async_source()):
                done.append(outcome)
    assert caught.value is mistake
    assert [outcome.job for outcome in done] == jobs
    assert all(isinstance(outcome, Completed) for outcome in done)
    with pytest.raises(LookupError):
        async with bench.pipeline() as pipeline:
            await pipeline.collect(sync_source() if source == "sync" else async_source())


async def test_an_unforeseen_exception_in_a_job_leaves_as_it_was_raised(bench: Bench) -> None:
    """A bug, here in the caller's own callback, is neither swallowed nor wrapped, and ends the rest."""
    crash = ZeroDivisionError("a bug")

    def also(event: Event) -> None:
        if isinstance(event, StageBegun) and event.stage is Stage.WAIT:
            raise crash

    bench.events.also = also
    with pytest.raises(ZeroDivisionError) as caught:
        async with bench.pipeline() as pipeline:
            await pipeline.collect(bench.swaps(10))
    assert caught.value is crash
    await check_left(bench)


async def test_what_is_no_job_is_told_to_the_taker(bench: Bench) -> None:
    """The jobs before it are done."""
    jobs: list[Any] = [*bench.swaps(2), "photo.png"]
    done = []
    with pytest.raises((AttributeError, TypeError)):  # noqa: PT012 - the same
        async with bench.pipeline(in_flight=1, uploads=1, downloads=1) as pipeline:
            async for outcome in pipeline.stream(jobs):
                done.append(outcome)
    await check_left(bench)


async def test_the_callers_own_exception_leaves_as_it_was_raised(serve: Serve, held: HeldRunner) -> None:
    """No group round it, and no jobs behind it."""
    mistake = KeyError("mine")
    async with serve(runner=held) as bench:
        with pytest.raises(KeyError) as caught:  # noqa: PT012 - and here it leaves the block
            async with bench.pipeline() as pipeline:
                pipeline.stream(bench.swaps(5))
                await held.until_begun(2)
                raise mistake
        assert caught.value is mistake
        held.let_go()
        await check_left(bench)


async def test_a_pipeline_that_is_left_at_once_has_done_nothing(bench: Bench) -> None:
    """A stream that nobody gave a chance to run makes no call."""
    async with bench.pipeline() as pipeline:
        pipeline.stream(bench.swaps(5))
    assert not bench.ledger.calls
    await check_left(bench)


# Leaving the loop


async def test_breaking_out_leaves_the_jobs_to_the_pipelines_end(serve: Serve, held: HeldRunner) -> None:
    """What was begun goes on while the block lasts, and is cancelled with it, within a second."""
    async with serve(runner=held) as bench:
        async with bench.pipeline() as pipeline:
            held.let_go("0")
            async for outcome in pipeline.stream(bench.swaps(20)):
                assert isinstance(outcome, Completed)
                break
            held.let_go("1")
            await bench.events.until(lambda log: 1 in log.ended())
            left_at = time.monotonic()
        assert time.monotonic() - left_at < seconds(1)
        assert sorted(bench.events.ended()) == [0, 1]
        held.let_go()
        await check_left(bench)


async def test_aclose_ends_one_stream_and_no_other(serve: Serve, held: HeldRunner) -> None:
    """Its jobs are cancelled and their slots given back; the other stream's jobs are done."""
    async with serve(runner=held) as bench:
        jobs = bench.swaps(8)
        async with bench.pipeline(in_flight=4) as pipeline:
            closed = pipeline.stream(jobs[:4])
            await held.until_begun(4)
            other = pipeline.stream(jobs[4:])
            await closed.aclose()
            assert [outcome async for outcome in closed] == []
            await held.until_begun(8)
            held.let_go()
            outcomes = [outcome async for outcome in other]
        assert [outcome.job for outcome in outcomes] == jobs[4:]
        assert all(isinstance(outcome, Completed) for outcome in outcomes)
        await check_left(bench)


async def test_a_collection_that_is_cancelled_takes_its_jobs_with_it(serve: Serve, held: HeldRunner) -> None:
    """No job goes on whose outcome nobody can take any more; the pipeline may be used again."""
    async with serve(runner=held) as bench:
        jobs = bench.swaps(6)
        async with bench.pipeline(in_flight=2) as pipeline:
            async with anyio.create_task_group() as group:
                group.start_soon(pipeline.collect, jobs)
                await held.until_begun(2)
                group.cancel_scope.cancel()
            held.let_go()
            report = await pipeline.collect(jobs[4:])
            assert report.completed == 2
        assert len(bench.ledger.creations) == 4
        await check_left(bench)


# Cancellation


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


@pytest.mark.parametrize("stage", Stage)
async def test_cancelling_when_a_stage_begins_leaves_nothing(bench: Bench, stage: Stage) -> None:
    """Cancelled at the moment it is told of, the stage ends before it has done anything, or cleans up."""
    scope = anyio.CancelScope()

    def also(event: Event) -> None:
        if isinstance(event, StageBegun) and event.stage is stage:
            scope.cancel()

    bench.events.also = also
    with scope:
        async with bench.pipeline() as pipeline:
            await pipeline.collect(bench.swaps(6))
    assert scope.cancelled_caught
    bench.events.also = lambda _event: None
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
        scope = anyio.CancelScope()

        def also(event: Event) -> None:
            if isinstance(event, StageBegun) and event.stage is stage:
                scope.cancel()

        bench.events.also = also
        with scope:
            async with bench.pipeline(journal=journal) as pipeline:
                await pipeline.collect(jobs)
        bench.events.also = lambda _event: None
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
