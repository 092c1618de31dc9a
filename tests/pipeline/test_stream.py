"""Workers, order and bounds of a stream of outcomes, with coroutines in place of a service."""

from __future__ import annotations

import gc
import itertools
import math
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.abc import TaskGroup
from hypothesis import given, settings
from hypothesis import strategies as st

from facewarp_async import ImageSwap, Job, Skipped
from facewarp_async.pipeline import OutcomeStream

pytestmark = pytest.mark.anyio


def jobs(number: int) -> list[ImageSwap]:
    return [ImageSwap(f"{index}.png", "face.png") for index in range(number)]


async def settle() -> None:
    """Let all tasks go on until they wait for an event: a worker starts the next, so that takes some turns."""
    for _ in range(300):
        await anyio.lowlevel.checkpoint()


class Work:
    """Jobs end when they are let go; their outcomes carry their places."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.running = self.most_running = 0
        self.go: defaultdict[int, anyio.Event] = defaultdict(anyio.Event)
        self.errors: dict[int, BaseException] = {}

    async def __call__(self, index: int, job: Job) -> Skipped:
        self.begun.append(index)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await self.go[index].wait()
            if index in self.errors:
                raise self.errors[index]
        finally:
            self.running -= 1
        return Skipped(job=job, reason=str(index))

    def let_go(self, indexes: Iterable[int]) -> None:
        for index in indexes:
            self.go[index].set()


async def at_once(index: int, job: Job) -> Skipped:
    await anyio.lowlevel.checkpoint()
    return Skipped(job=job, reason=str(index))


@asynccontextmanager
async def run(
    source: Any,
    work: Callable[..., Any] = at_once,
    *,
    workers: int = 100,
    read_ahead: int = 1000,
    ordered: bool = True,
) -> AsyncIterator[OutcomeStream]:
    stream = OutcomeStream(source, work, workers=workers, read_ahead=read_ahead, ordered=ordered)
    group: TaskGroup
    async with anyio.create_task_group() as group:
        group.start_soon(stream._run)
        yield stream
        group.cancel_scope.cancel()


async def places(stream: OutcomeStream) -> list[int]:
    return [place(outcome) async for outcome in stream]


async def take(stream: OutcomeStream) -> int:
    return place(await anext(stream))


def place(outcome: object) -> int:
    assert isinstance(outcome, Skipped)
    return int(outcome.reason)


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


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_an_error_of_the_source_comes_where_its_next_job_would_have(asynchronous: bool) -> None:
    """All outcomes before it come first; then the exception itself, once."""
    mistake = LookupError("no more jobs")

    def source() -> Iterator[ImageSwap]:
        yield from jobs(5)
        raise mistake

    async def asynchronous_source() -> AsyncIterator[ImageSwap]:
        for job in source():
            yield job

    work = Work()
    async with run(asynchronous_source() if asynchronous else source(), work) as stream:
        await settle()
        work.let_go(reversed(range(5)))
        taken = [await take(stream) for _ in range(5)]
        assert taken == [0, 1, 2, 3, 4]
        with pytest.raises(LookupError) as caught:
            await anext(stream)
        assert caught.value is mistake
        assert await places(stream) == []


async def test_nothing_more_is_read_of_a_source_that_has_failed_though_it_could_go_on() -> None:
    """As a loop over it would end: who reads a table has no use for what follows a row that cannot be read."""
    asked = 0

    class Source(Iterator[ImageSwap]):
        def __next__(self) -> ImageSwap:
            nonlocal asked
            asked += 1
            if asked == 3:
                raise LookupError("the third row")
            return jobs(asked)[-1]

    work = Work()
    async with run(Source(), work, workers=3) as stream:
        await settle()
        work.let_go(range(10))
        assert [await take(stream), await take(stream)] == [0, 1]
        with pytest.raises(LookupError):
            await anext(stream)
        assert await places(stream) == []
    assert (asked, work.begun) == (3, [0, 1])


@pytest.mark.parametrize("ordered", [True, False])
async def test_an_unforeseen_exception_ends_the_jobs_and_is_raised_to_the_taker(ordered: bool) -> None:
    """It comes as it was raised, after the outcomes that were ready; nothing hangs or goes on."""
    work = Work()
    work.errors[2] = crash = ZeroDivisionError("a bug")
    async with run(jobs(50), work, workers=5, ordered=ordered) as stream:
        await settle()
        work.let_go([0])
        await settle()
        work.let_go([2])
        assert await take(stream) == 0
        with pytest.raises(ZeroDivisionError) as caught:
            await anext(stream)
        assert caught.value is crash
        assert await places(stream) == []
        assert work.running == 0


async def test_what_is_no_exception_is_not_kept_from_who_runs_the_jobs() -> None:
    """An interrupt is nothing that a taker of outcomes would look for."""

    class Interrupt(BaseException):
        pass

    work = Work()
    work.errors[0] = Interrupt()
    work.let_go([0])
    with pytest.raises(BaseExceptionGroup) as caught:
        async with run(jobs(3), work) as stream:
            assert await places(stream) == []
    assert caught.group_contains(Interrupt)


async def test_of_several_unforeseen_exceptions_one_is_raised_and_no_group() -> None:
    """Who takes outcomes catches what was raised, not a group of it."""
    work = Work()
    work.errors = {1: KeyError("a"), 2: KeyError("b")}
    async with run(jobs(5), work) as stream:
        await settle()
        work.let_go([1, 2])
        with pytest.raises(KeyError):
            await anext(stream)


async def test_a_group_that_a_job_raised_is_unpacked_too() -> None:
    """Only the exception inside is of use to the taker."""
    work = Work()
    work.errors[0] = ExceptionGroup("one", [ExceptionGroup("two", [OSError("inside")])])
    work.let_go([0])
    async with run(jobs(1), work) as stream:
        with pytest.raises(OSError, match="inside"):
            await anext(stream)


async def test_aclose_ends_the_jobs_and_the_outcomes() -> None:
    """What was ready may still be taken; then it is over. Closing twice changes nothing."""
    work = Work()
    async with run(jobs(50), work, workers=5) as stream:
        await settle()
        work.let_go([0])
        await settle()
        await stream.aclose()
        await stream.aclose()
        assert await places(stream) == [0]
        assert work.running == 0


async def test_aclose_before_anything_ran_begins_nothing() -> None:
    """No job is read by a stream that was closed first."""
    work = Work()
    stream = OutcomeStream(jobs(5), work, workers=5, read_ahead=5, ordered=True)
    await stream.aclose()
    await stream._run()
    assert await places(stream) == []
    assert work.begun == []


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


async def test_it_is_complete_once_all_jobs_that_there_are_have_their_outcomes() -> None:
    work = Work()
    async with run(jobs(2), work) as stream:
        await settle()
        work.let_go([0])
        await settle()
        assert not stream.is_complete
        work.let_go([1])
        await settle()
        assert stream.is_complete, "whether they were taken or not"


@pytest.mark.parametrize("end", ["closed", "a crash", "no more jobs to read"])
async def test_it_is_not_complete_where_something_has_ended_it_before(end: str) -> None:
    def source() -> Iterator[ImageSwap]:
        yield from jobs(2)
        if end == "no more jobs to read":
            raise LookupError(end)

    work = Work()
    if end == "a crash":
        work.errors[1] = ZeroDivisionError(end)
    async with run(source(), work) as stream:
        await settle()
        if end == "closed":
            await stream.aclose()
        work.let_go([0, 1])
        await settle()
        assert stream._ended
        assert not stream.is_complete


async def test_a_taker_that_gives_up_loses_no_outcome() -> None:
    """A wait for the next outcome may be cancelled and begun again."""
    work = Work()
    async with run(jobs(3), work) as stream:
        await settle()
        for _ in range(3):
            with anyio.CancelScope() as scope:
                scope.cancel()
                await anext(stream)
        work.let_go(range(3))
        assert await places(stream) == [0, 1, 2]


async def test_who_takes_all_and_gives_up_ends_the_jobs() -> None:
    work = Work()
    async with run(jobs(3), work) as stream:
        await settle()
        assert work.running == 3
        with anyio.CancelScope() as scope:
            scope.cancel()
            await stream._all()
        await settle()
        assert work.running == 0


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


async def test_a_source_that_waits_is_cancelled_with_the_stream() -> None:
    """The source's own clean-up runs, at once."""
    closed = anyio.Event()

    async def source() -> AsyncIterator[ImageSwap]:
        try:
            yield jobs(1)[0]
            await anyio.sleep_forever()
        finally:
            closed.set()

    async with run(source(), Work()) as stream:
        await settle()
        await stream.aclose()
        assert await places(stream) == []
        assert closed.is_set()


async def test_what_is_no_collection_of_jobs_is_refused_at_once() -> None:
    """The mistake shows where it was made."""
    with pytest.raises(TypeError):
        OutcomeStream(5, at_once, workers=1, read_ahead=1, ordered=True)  # type: ignore[arg-type]


async def test_a_stream_that_is_dropped_leaves_no_warning() -> None:
    """Nobody has to take all outcomes, or close a stream whose pipeline was left."""
    work = Work()
    async with run((job for job in jobs(100)), work) as stream:
        await settle()
        work.let_go(range(3))
        assert await take(stream) == 0
    del stream
    gc.collect()
