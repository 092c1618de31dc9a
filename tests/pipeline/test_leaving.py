"""Ways out of a pipeline before its jobs are done: errors, breaks, and an end to one stream alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from facewarp_async import Completed, Job, Stage, StageBegun
from facewarp_async.pipeline import Event
from tests.patience import seconds
from tests.pipeline.leftovers import check_left

if TYPE_CHECKING:
    from tests.pipeline.conftest import Bench, HeldRunner, Serve

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


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


@pytest.fixture
async def told_to_loop() -> AsyncIterator[list[BaseException]]:
    """What the event loop is told of, which is what it logs."""
    told: list[BaseException] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: told.append(context["exception"]))
    yield told
    loop.set_exception_handler(None)


async def test_an_exception_that_nobody_takes_is_told_to_the_loop(
    bench: Bench, told_to_loop: list[BaseException]
) -> None:
    crash, mistake, crashed = ZeroDivisionError("a bug"), LookupError("the manifest ends here"), anyio.Event()

    def also(event: Event) -> None:
        if isinstance(event, StageBegun) and event.stage is Stage.WAIT:
            crashed.set()
            raise crash

    def source() -> Iterator[Job]:
        yield from ()
        raise mistake

    bench.events.also = also
    async with bench.pipeline() as pipeline:
        pipeline.stream(bench.swaps(3))
        pipeline.stream(source())
        await crashed.wait()
    assert told_to_loop == [crash, mistake]
    await check_left(bench)


async def test_an_exception_that_was_taken_is_not_told_again(bench: Bench, told_to_loop: list[BaseException]) -> None:
    jobs: list[Any] = ["photo.png"]
    async with bench.pipeline() as pipeline:
        with pytest.raises((AttributeError, TypeError)):
            await pipeline.collect(jobs)
    assert told_to_loop == []


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
