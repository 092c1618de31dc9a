"""Workers, order and bounds of a stream of outcomes."""

from __future__ import annotations

import itertools
import math
from collections.abc import AsyncGenerator, AsyncIterator, Iterator

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facewarp_async import ImageSwap, Job, Skipped
from facewarp_async.pipeline import OutcomeStream
from tests.pipeline.streams import Work, at_once, jobs, place, places, run, settle, take

pytestmark = pytest.mark.anyio


async def test_outcomes_come_in_the_order_of_the_jobs_though_they_finish_backwards() -> None:
    """The last job's end gives nothing out, the first's all."""
    work = Work()
    async with run(jobs(10), work) as stream:
        await settle()
        for index in reversed(range(1, 10)):
            work.let_go([index])
            await settle()
            assert not stream._ready
        work.let_go([0])
        assert await places(stream) == list(range(10))


async def test_unordered_outcomes_come_as_the_jobs_finish() -> None:
    """Finished backwards, they come backwards, and each at once."""
    work = Work()
    async with run(jobs(10), work, ordered=False) as stream:
        await settle()
        for index in reversed(range(10)):
            work.let_go([index])
            assert await take(stream) == index
        with pytest.raises(StopAsyncIteration):
            await anext(stream)


@given(st.permutations(range(12)), st.integers(1, 12), st.integers(1, 15), st.booleans())
@settings(max_examples=60, deadline=None)
def test_any_order_of_completion_gives_the_order_of_the_jobs(
    order: list[int], workers: int, read_ahead: int, step_by_step: bool
) -> None:
    """Whatever ends first, and however many may run: ordered outcomes are the jobs' order, and none is lost."""

    async def main() -> None:
        work = Work()
        taken: list[int] = []

        async def consume() -> None:
            async for outcome in stream:
                taken.append(place(outcome))
                assert len(work.begun) - len(taken) <= read_ahead

        async with (
            run(jobs(12), work, workers=workers, read_ahead=read_ahead) as stream,
            anyio.create_task_group() as group,
        ):
            group.start_soon(consume)
            for index in order:
                work.let_go([index])
                if step_by_step:
                    await settle()
            await settle()
            group.cancel_scope.cancel()
        assert taken == list(range(12))
        assert work.most_running <= min(workers, read_ahead)

    anyio.run(main)


@pytest.mark.parametrize("kind", ["list", "generator", "async generator"])
async def test_jobs_are_read_one_by_one_as_workers_get_free(kind: str) -> None:
    """Of an endless source no more is read than workers can begin."""
    read: list[int] = []

    def endless() -> Iterator[ImageSwap]:
        for index in itertools.count():
            read.append(index)
            yield ImageSwap(f"{index}.png", "face.png")

    async def endless_async() -> AsyncGenerator[ImageSwap, None]:
        for job in endless():
            yield job

    later = endless_async()
    source = {"list": jobs(1000), "generator": endless(), "async generator": later}[kind]
    work = Work()
    async with run(source, work, workers=3) as stream:
        await settle()
        assert work.begun == [0, 1, 2]
        work.let_go([0, 1])
        await settle()
        assert work.begun == [0, 1, 2, 3, 4]
        assert read in ([], [0, 1, 2, 3, 4])
        assert await take(stream) == 0
    await later.aclose()


async def test_a_slow_consumer_stops_the_reading() -> None:
    """With nothing taken, no more jobs begin than may be read ahead; each one taken lets one more begin."""
    begun: list[int] = []

    async def work(index: int, job: Job) -> Skipped:
        begun.append(index)
        return await at_once(index, job)

    async with run(jobs(100), work, read_ahead=7) as stream:
        for taken in range(20):
            await settle()
            assert len(begun) == 7 + taken
            assert await take(stream) == taken
        assert await places(stream) == list(range(20, 100))


@pytest.mark.parametrize("ordered", [True, False])
async def test_a_first_job_that_takes_longest_stops_the_reading_only_for_order(ordered: bool) -> None:
    """What is held back for the first job's sake is bounded; without order nothing waits for it."""
    work = Work()
    work.let_go(range(1, 50))
    async with run(jobs(50), work, workers=4, read_ahead=10, ordered=ordered) as stream:
        if ordered:
            await settle()
            assert work.begun == list(range(10))
            assert len(stream._held) == 9
            work.let_go([0])
            assert await places(stream) == list(range(50))
        else:
            assert [await take(stream) for _ in range(49)] == list(range(1, 50))
            work.let_go([0])
            assert await places(stream) == [0]


@pytest.mark.parametrize(("workers", "read_ahead"), [(1, 1), (1, 5), (5, 1), (3, 4)])
async def test_the_smallest_bounds_still_run_all_jobs(workers: int, read_ahead: int) -> None:
    """One worker, or one job ahead, is enough."""
    async with run(jobs(30), workers=workers, read_ahead=read_ahead) as stream:
        assert await places(stream) == list(range(30))


async def test_no_jobs_give_no_outcomes() -> None:
    """The loop ends at once, and stays ended."""
    async with run([]) as stream:
        assert await places(stream) == []
        assert await places(stream) == []


async def test_how_many_jobs_are_left_is_known_once_the_last_was_read() -> None:
    work = Work()
    async with run(jobs(3), work, workers=2) as stream:
        await settle()
        assert stream._left() == math.inf, "two workers have a job each, and nobody has asked for more"
        work.let_go([0])
        await settle()
        assert stream._left() == math.inf
        work.let_go([1])
        await settle()
        assert stream._left() == 1, "the idle worker has asked in vain"
        work.let_go([2])
        await settle()
        assert stream._left() == 0


async def test_all_that_were_not_taken_are_taken_at_once() -> None:
    async with run(jobs(5)) as stream:
        assert await take(stream) == 0
        assert [place(outcome) for outcome in await stream._all()] == [1, 2, 3, 4]


async def test_several_takers_share_the_outcomes() -> None:
    """Each outcome goes to one of them, and each of them hears of the end."""
    work = Work()
    taken: list[int] = []

    async def taker() -> None:
        async for outcome in stream:
            taken.append(place(outcome))

    with anyio.fail_after(5):
        async with run(jobs(40), work) as stream, anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(taker)
            for index in range(40):
                await settle()
                work.let_go([index])
    assert sorted(taken) == list(range(40))


async def test_a_source_that_waits_is_waited_for() -> None:
    """Jobs of an async source run while it waits for its next one."""
    more, work = anyio.Event(), Work()

    async def source() -> AsyncIterator[ImageSwap]:
        yield jobs(1)[0]
        await more.wait()
        yield jobs(2)[1]

    work.let_go([0, 1])
    async with run(source(), work) as stream:
        assert await take(stream) == 0
        more.set()
        assert await places(stream) == [1]


async def test_what_is_no_collection_of_jobs_is_refused_at_once() -> None:
    """The mistake shows where it was made."""
    with pytest.raises(TypeError):
        OutcomeStream(5, at_once, workers=1, read_ahead=1, ordered=True)  # type: ignore[arg-type]
