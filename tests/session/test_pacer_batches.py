"""What the gate makes of whole batches, on a clock that jumps."""

from __future__ import annotations

import asyncio
import gc
import heapq
import math
import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.jumping_clock import run_on_jumping_clock
from facewarp_async.models import TaskKind
from facewarp_async.policy.durations import Durations
from facewarp_async.policy.learning import LearntPolling
from facewarp_async.policy.polling import FixedPolling
from facewarp_async.policy.rate import Priority
from facewarp_async.server.limits import SlidingWindow
from facewarp_async.session import Pacer


class Story:
    """Calls and tasks that come at some time, and what the pacer made of them."""

    def __init__(self, pacer: Pacer) -> None:
        self.pacer = pacer
        self.left: list[float] = []
        self.in_vain: list[tuple[float, float]] = []
        self.looks = 0
        self.served = 0

    def _leave(self) -> None:
        self.left.append(asyncio.get_running_loop().time())

    async def call(self, at: float, priority: Priority, cancelled_after: float | None) -> None:
        await asyncio.sleep(at)
        try:
            async with asyncio.timeout(cancelled_after):
                await self.pacer.acquire(priority)
        except TimeoutError:
            self.served += 1
            return
        self._leave()
        await asyncio.sleep(0.05)
        self.pacer.accepted()
        self.served += 1

    async def task(self, at: float, takes_s: float) -> None:
        await asyncio.sleep(at)
        loop = asyncio.get_running_loop()
        with self.pacer.watching(TaskKind.IMAGE_SWAP, is_fresh=True, deadline=math.inf) as watched:
            ends_at = loop.time() + takes_s
            created_at, done = loop.time(), False
            while not done and await self.pacer.look_turn(watched):
                asked_at = loop.time()
                self._leave()
                await asyncio.sleep(0.05)
                self.pacer.accepted()
                done = ends_at <= asked_at
                self.looks += 1
                self.in_vain += [] if done else [(asked_at, created_at)]
                self.pacer.looked(watched, asked_at, done=done)
        self.served += 1


calls = st.tuples(st.floats(0, 20), st.sampled_from(Priority), st.one_of(st.none(), st.floats(0.001, 3)))
tasks = st.tuples(st.floats(0, 20), st.floats(0, 30))


@pytest.mark.slow
@given(st.lists(calls, max_size=25), st.lists(tasks, max_size=25), st.sampled_from([0.5, 1.0, 5.0, 20.0]))
@settings(deadline=None, max_examples=40)
def test_every_call_is_served_and_no_second_holds_more_than_the_rate(
    calls: list[tuple[float, Priority, float | None]], tasks: list[tuple[float, float]], rate: float
) -> None:
    """Whatever comes when: nobody starves, and tasks are not looked at in vain as soon as they are created."""

    async def main() -> None:
        story = Story(Pacer(rate, LearntPolling({kind: Durations(6) for kind in TaskKind})))
        async with asyncio.TaskGroup() as group:
            for call in calls:
                group.create_task(story.call(*call))
            for task in tasks:
                group.create_task(story.task(*task))
        assert story.served == len(calls) + len(tasks)
        window_s = max(1, int(rate)) / rate
        for first, start in enumerate(story.left):
            assert sum(at < start + window_s for at in story.left[first:]) <= max(1, int(rate))
        ahead = sum(asked_at < created_at + 1 for asked_at, created_at in story.in_vain)
        assert ahead <= 1 + story.looks / 6, "only a task believed to queue, and only once in a while"

    run_on_jumping_clock(main())


class Service:
    """Works on tasks in their order, and counts calls in any second."""

    def __init__(self, rate: float | None, workers: int, draw: random.Random) -> None:
        self._window, self._free_at, self._draw = SlidingWindow(rate), [0.0] * workers, draw
        self.calls = self.refusals = 0
        self.done_at: list[float] = []

    async def call(self, pacer: Pacer) -> bool:
        """Send a call whose turn has come; ``False``: it was refused."""
        self.calls += 1
        await asyncio.sleep(0.03 * self._draw.lognormvariate(0, 0.3))
        is_admitted = self._window.admit(asyncio.get_running_loop().time())
        await asyncio.sleep(0.1 * self._draw.lognormvariate(0, 0.3))
        if is_admitted:
            pacer.accepted()
        else:
            self.refusals += 1
            pacer.refused(None)
        return is_admitted

    def create(self) -> float:
        begins_at = max(self._free_at[0], asyncio.get_running_loop().time())
        done_at = begins_at + 5 * self._draw.lognormvariate(0, 0.45)
        heapq.heapreplace(self._free_at, done_at)
        self.done_at.append(done_at)
        return done_at


async def run_batch(service: Service, pacer: Pacer, jobs: int) -> None:
    places = asyncio.Semaphore(128)

    async def call(priority: Priority) -> None:
        await pacer.acquire(priority)
        while not await service.call(pacer):
            await pacer.acquire(Priority.REPEAT)

    async def job() -> None:
        async with places:
            await call(Priority.UPLOAD)
            await call(Priority.CREATE)
            done_at, done = service.create(), False
            with pacer.watching(TaskKind.IMAGE_SWAP, is_fresh=True, deadline=math.inf) as watched:
                while not done and await pacer.look_turn(watched):
                    asked_at = asyncio.get_running_loop().time()
                    while not await service.call(pacer):
                        await pacer.acquire(Priority.REPEAT)
                        asked_at = asyncio.get_running_loop().time()
                    done = done_at <= asked_at
                    pacer.looked(watched, asked_at, done=done)

    async with asyncio.TaskGroup() as group:
        for _ in range(jobs):
            group.create_task(job())


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "workers"), [(1.0, 8), (5.0, 4), (20.0, 16), (None, 8), (None, 2)])
def test_a_batch_takes_little_more_time_and_calls_than_it_must(rate: float | None, workers: int) -> None:
    """Tasks of about 5 s that were expected to take 6, and calls that take 0.03 s to the service, give or take 0.01."""
    service, jobs = Service(rate, workers, random.Random(1)), 600

    async def main() -> None:
        pacer = Pacer(rate, LearntPolling({kind: Durations(6) for kind in TaskKind}))
        await run_batch(service, pacer, jobs)
        least_s = max(3 * jobs / (rate or math.inf), *service.done_at)
        assert asyncio.get_running_loop().time() <= 1.05 * least_s
        assert service.calls <= (1.05 if rate == 1 else 1.15) * 3 * jobs
        assert service.refusals <= 0.01 * service.calls

    run_on_jumping_clock(main())


@pytest.mark.parametrize("jobs", [50, 128])
def test_tasks_that_are_all_worked_on_at_once_are_noticed_soon(jobs: int) -> None:
    """Nobody knows that they are; were they taken to queue, the last would be noticed long after it was done."""
    service = Service(None, 1000, random.Random(1))

    async def main() -> None:
        await run_batch(service, Pacer(None, LearntPolling({kind: Durations(6) for kind in TaskKind})), jobs)
        assert asyncio.get_running_loop().time() <= 1.25 * max(service.done_at)
        assert service.calls <= 1.25 * 3 * jobs

    run_on_jumping_clock(main())


@pytest.mark.slow
@pytest.mark.parametrize("rate", [None, 10_000.0])
def test_ten_thousand_tasks_that_are_due_at_once_do_not_hold_up_the_loop(rate: float | None) -> None:
    """No turn of the loop takes longer than 20 ms of this thread's time; the collection of garbage is left out."""
    turns = list[float]()

    async def beat() -> None:
        before = time.thread_time()
        while True:
            await asyncio.sleep(0)
            now = time.thread_time()
            turns.append(now - before)
            before = now

    async def task(pacer: Pacer) -> None:
        with pacer.watching(TaskKind.IMAGE_SWAP, is_fresh=True, deadline=math.inf) as watched:
            for done in (False, True):
                assert await pacer.look_turn(watched)
                await asyncio.sleep(0)
                pacer.accepted()
                pacer.looked(watched, asyncio.get_running_loop().time(), done=done)

    async def main() -> None:
        pacer = Pacer(rate, FixedPolling(image_s=1))
        beating = asyncio.ensure_future(beat())
        async with asyncio.TaskGroup() as group:
            for number in range(10_000):
                group.create_task(task(pacer))
                if number % 100 == 0:
                    await asyncio.sleep(0)
        beating.cancel()

    gc.disable()
    try:
        asyncio.run(main())
    finally:
        gc.enable()
    assert max(turns) < 0.02
