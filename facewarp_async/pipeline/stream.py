"""Workers that share one lazy source of jobs, and their outcomes, given out in order and never too far ahead."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import Self

import anyio
from anyio.abc import TaskGroup

from facewarp_async.models import Job
from facewarp_async.pipeline.outcomes import Outcome

Jobs = Iterable[Job] | AsyncIterable[Job]


class OutcomeStream(AsyncIterator[Outcome]):
    """The outcomes of a batch, to be taken with ``async for``.

    A job is read only when a worker is free for it and fewer than `read_ahead` jobs were begun whose outcomes have not
    been taken. An error of the job source is raised where its next job's outcome would have come. Leaving the loop
    early leaves the jobs running until `aclose`, or the end of the pipeline, cancels them. An error that nobody has
    taken by then goes to the event loop's exception handler, which logs it.

    Args:
        jobs: Read lazily, one at a time.
        run: Makes a job's outcome; is given the job's place, from 0.
        workers: How many jobs run at once.
        read_ahead: How many jobs may be begun before the outcome of the oldest was taken.
        ordered: Whether outcomes come in the order of the jobs, or as they finish.
    """

    def __init__(
        self,
        jobs: Jobs,
        run: Callable[[int, Job], Awaitable[Outcome]],
        *,
        workers: int,
        read_ahead: int,
        ordered: bool,
    ) -> None:
        self._source = _Source(jobs)
        self._run_job = run
        self._idle_workers = workers
        self._room = anyio.Semaphore(read_ahead)
        self._ordered = ordered
        self._held: dict[int, Outcome] = {}
        self._ready: deque[Outcome] = deque()
        self._next_index = 0
        self._in_work = 0
        self._changed = anyio.Event()
        self._ended = False
        self._crash: BaseException | None = None
        self._scope = anyio.CancelScope()
        self.is_complete: bool = False
        """Whether all jobs that there are have their outcomes."""

    def _left(self) -> float:
        """Return how many jobs have no outcome yet; infinity while there may be more than have been read."""
        return self._in_work if self._source.is_exhausted else math.inf

    async def _run(self) -> None:
        """Run the jobs. An unforeseen exception ends them all and is raised to the taker of outcomes."""
        try:
            with self._scope:
                async with anyio.create_task_group() as workers:
                    self._start_worker(workers)
                self.is_complete = self._source.error is None
        except BaseExceptionGroup as group:
            crashes, rest = group.split(Exception)
            if crashes is not None:
                self._crash = _first(crashes)
            if rest is not None:
                raise rest from None
        finally:
            self._ended = True
            self._changed.set()

    def _start_worker(self, workers: TaskGroup) -> None:
        """Start one more for each job that was read, until there are enough."""
        if self._idle_workers:
            self._idle_workers -= 1
            workers.start_soon(self._work, workers)

    async def _work(self, workers: TaskGroup) -> None:
        while True:
            await self._room.acquire()
            item = await self._source.next()
            if item is None:
                self._room.release()
                return
            self._start_worker(workers)
            index, job = item
            self._in_work += 1
            self._put(index, await self._run_job(index, job))
            self._in_work -= 1

    def _put(self, index: int, outcome: Outcome) -> None:
        if not self._ordered:
            self._ready.append(outcome)
        else:
            self._held[index] = outcome
            while self._next_index in self._held:
                self._ready.append(self._held.pop(self._next_index))
                self._next_index += 1
        if self._ready:
            self._changed.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Outcome:
        while not self._ready:
            if self._ended:
                raise self._end()
            if self._changed.is_set():  # one event for all takers: replacing it under another would lose that one
                self._changed = anyio.Event()
            await self._changed.wait()
        self._room.release()
        return self._ready.popleft()

    async def _all(self) -> list[Outcome]:
        """Take all outcomes that were not taken; if that is cancelled, cancel the jobs too."""
        try:
            return [outcome async for outcome in self]
        finally:
            await self.aclose()

    @property
    def _untaken(self) -> BaseException | None:
        return self._crash or self._source.error

    def _tell_untaken(self) -> None:
        """Tell the loop of an error that nobody took, as asyncio does of a task's."""
        if (error := self._untaken) is not None:
            told = {"message": "the outcomes that this error has ended were not taken", "exception": error}
            asyncio.get_running_loop().call_exception_handler(told)

    def _end(self) -> BaseException:
        error = self._untaken
        self._crash = self._source.error = None
        return error or StopAsyncIteration()

    async def aclose(self) -> None:
        """Cancel the jobs that still run. May be called twice."""
        self._scope.cancel()


class _Source:
    """The jobs with their places; whoever asks first gets the next."""

    def __init__(self, jobs: Jobs) -> None:
        self._iterator: Iterator[Job] | AsyncIterator[Job] = (
            aiter(jobs) if isinstance(jobs, AsyncIterable) else iter(jobs)
        )
        self._lock = anyio.Lock()
        self._index = -1
        self.is_exhausted = False
        self.error: Exception | None = None

    async def next(self) -> tuple[int, Job] | None:
        async with self._lock:
            if self.is_exhausted:
                return None
            try:
                if isinstance(self._iterator, AsyncIterator):
                    job = await anext(self._iterator)
                else:
                    job = next(self._iterator)
            except (StopIteration, StopAsyncIteration):
                self.is_exhausted = True
                return None
            except Exception as error:
                self.is_exhausted = True
                self.error = error
                return None
            self._index += 1
            return self._index, job


def _first(group: BaseExceptionGroup[Exception]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
