"""How a stream of outcomes ends: by errors of its source and its jobs, by those who take from it, or whole."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Iterator

import anyio
import pytest

from facewarp_async import ImageSwap
from facewarp_async.pipeline import OutcomeStream
from tests.pipeline.streams import Work, jobs, places, run, settle, take

pytestmark = pytest.mark.anyio


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


async def test_a_stream_that_is_dropped_leaves_no_warning() -> None:
    """Nobody has to take all outcomes, or close a stream whose pipeline was left."""
    work = Work()
    async with run((job for job in jobs(100)), work) as stream:
        await settle()
        work.let_go(range(3))
        assert await take(stream) == 0
    del stream
    gc.collect()
