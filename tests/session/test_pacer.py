"""The one gate of all calls."""

from __future__ import annotations

import asyncio
import gc
import heapq
import math
import random
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, ExitStack
from pathlib import Path
from typing import Any

import anyio
import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.jumping_clock import run_on_jumping_clock
from facewarp_async.client import FaceSwapClient
from facewarp_async.config import ApiKey, Provider, Timeouts
from facewarp_async.models import Asset, TaskKind
from facewarp_async.policy.durations import Durations
from facewarp_async.policy.learning import LearntPolling
from facewarp_async.policy.polling import FixedPolling
from facewarp_async.policy.rate import Priority
from facewarp_async.server import Fault, FaultRule, InstantRunner, LocalService
from facewarp_async.server.limits import SlidingWindow
from facewarp_async.session import Pacer
from facewarp_async.wire.requests import TASK_PATH, UPLOAD_URL_PATH
from tests.patience import seconds

pytestmark = pytest.mark.anyio

MakeClient = Callable[..., FaceSwapClient]


async def test_the_most_urgent_waiter_goes_first_and_equals_in_their_order() -> None:
    pacer, left = Pacer(20, FixedPolling()), list[str]()
    await pacer.acquire(Priority.POLL)

    async def wait(priority: Priority, name: str) -> None:
        await pacer.acquire(priority)
        left.append(name)

    async with anyio.create_task_group() as group:
        for name in ("poll", "poll 2", "upload", "create", "repeat", "create 2"):
            group.start_soon(wait, Priority[name.split()[0].upper()], name)
            await anyio.lowlevel.checkpoint()
    assert left == ["repeat", "create", "create 2", "upload", "poll", "poll 2"]


async def test_a_cancelled_waiter_costs_the_others_nothing() -> None:
    pacer = Pacer(20, FixedPolling())
    await pacer.acquire(Priority.POLL)
    cancelled = [asyncio.ensure_future(pacer.acquire(Priority.CREATE)) for _ in range(50)]
    await anyio.wait_all_tasks_blocked()
    for task in cancelled:
        task.cancel()
    await asyncio.wait(cancelled)
    with anyio.fail_after(seconds(0.2)):
        await pacer.acquire(Priority.POLL)
    assert all(task.cancelled() for task in cancelled)


async def test_calls_are_spaced_and_none_leaves_early() -> None:
    pacer, loop = Pacer(100, FixedPolling()), asyncio.get_running_loop()
    left = []
    for _ in range(8):
        await pacer.acquire(Priority.POLL)
        left.append(loop.time())
    assert left[-1] - left[0] >= 7 * 0.01


async def test_a_refusal_closes_the_gate_for_all_that_wait_already() -> None:
    pacer, loop = Pacer(50, FixedPolling()), asyncio.get_running_loop()
    await pacer.acquire(Priority.POLL)
    waiting = [asyncio.ensure_future(pacer.acquire(priority)) for priority in Priority]
    await anyio.wait_all_tasks_blocked()
    closed = loop.time()
    pacer.refused(0.1)
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    assert loop.time() - closed >= 0.0999
    await asyncio.wait(waiting)


async def test_without_a_rate_calls_leave_at_once() -> None:
    pacer, loop = Pacer(None, FixedPolling()), asyncio.get_running_loop()
    begun = loop.time()
    for _ in range(1000):
        await pacer.acquire(Priority.POLL)
    assert loop.time() - begun < seconds(0.2)


@pytest.mark.slow
async def test_a_call_that_is_refused_holds_the_others_back(local: LocalService, make_client: MakeClient) -> None:
    loop, ended = asyncio.get_running_loop(), list[float]()

    async def call(client: FaceSwapClient) -> None:
        await client.request_upload("a.png")
        ended.append(loop.time())

    local.faults.add(FaultRule(Fault.RATE_LIMITED, UPLOAD_URL_PATH, nth=1, retry_after_s=0.3))
    provider = evolve(local.provider, requests_per_second=20)
    async with make_client(provider, local.auth) as client:
        begun = loop.time()
        async with anyio.create_task_group() as group:
            for _ in range(4):
                group.start_soon(call, client)
    assert min(ended) - begun >= 0.3, "the first call was refused, and all waited as long as it was told to"


@pytest.mark.slow
async def test_the_services_strict_window_refuses_at_most_one_call_in_a_hundred(make_client: MakeClient) -> None:
    async with (
        LocalService(runner=InstantRunner(), requests_per_second=20) as service,
        make_client(service.provider, service.auth) as client,
    ):
        async with anyio.create_task_group() as group:
            for _ in range(60):
                group.start_soon(client.request_upload, "a.png")
        refusals = service.ledger.refusals[UPLOAD_URL_PATH, 802]
        assert service.ledger.calls[UPLOAD_URL_PATH] == 60 + refusals
    assert refusals <= 1


@pytest.mark.slow
async def test_a_look_that_tries_a_closed_gate_can_have_its_token_renewed(
    make_client: MakeClient, make_file: Callable[..., Path]
) -> None:
    """The renewal goes through the same gate, which lets a single call through and waits for its answer."""
    timeouts = Timeouts(repeat_s=0.0001, image_task_s=5)
    async with (
        LocalService(runner=InstantRunner(), token_lifetime_s=0.9) as service,
        make_client(service.provider, service.client_credentials, timeouts=timeouts) as client,
    ):
        media, face = await client.upload(make_file()), await client.upload(make_file("face.png"))
        task_id = await client.create_image_swap(media, face)
        service.faults.add(FaultRule(Fault.RATE_LIMITED, TASK_PATH, nth=range(1, 5)))
        await client.wait_for_task(task_id)


@pytest.mark.slow
async def test_a_call_that_is_repeated_goes_before_all_others(
    start_peer: Callable[..., AbstractAsyncContextManager[Any]], make_client: MakeClient
) -> None:
    async def answer(_request: Any, _writer: asyncio.StreamWriter) -> bytes:
        if len(peer.received) == 1:
            return bytes(peer.envelope(code=802, status="429 Too Many Requests"))
        return bytes(peer.envelope({"upload_url": "http://x", "key": "k", "task_id": 1}))

    async with start_peer(answer) as peer:
        # The refusal has to come before the next call's turn.
        provider = Provider("peer", peer.url, requests_per_second=1 / seconds(0.1))
        async with make_client(provider, ApiKey("the-api-key")) as client, anyio.create_task_group() as group:
            group.start_soon(client.request_upload, "a.png")
            await anyio.wait_all_tasks_blocked()
            for _ in range(3):
                group.start_soon(client.create_face_detection, Asset("m"))
        targets = [request.target for request in peer.received]
    assert targets == [UPLOAD_URL_PATH] * 2 + ["/v1/task/get-face"] * 3


class Story:
    """Calls and tasks that come at some time, and what the pacer made of them."""

    def __init__(self, pacer: Pacer) -> None:
        self.pacer = pacer
        self.left: list[float] = []
        self.looks: list[tuple[float, float]] = []
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
                self.looks.append((asked_at, created_at))
                await asyncio.sleep(0.05)
                self.pacer.accepted()
                done = ends_at <= asked_at
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
    """Whatever comes when: nobody starves, and tasks are not looked at as soon as they are created."""

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
        ahead = sum(asked_at < created_at + 1 for asked_at, created_at in story.looks)
        assert ahead <= len(story.looks) / 6, "only a task believed to queue, and only once in a while"

    run_on_jumping_clock(main())


def test_a_turn_that_came_and_was_not_used_keeps_no_other_call_from_a_closed_gate() -> None:
    async def main() -> None:
        pacer = Pacer(10, FixedPolling())
        for _ in range(5):
            pacer.refused(None)
        with pacer.watching(TaskKind.IMAGE_SWAP, is_fresh=False, deadline=math.inf) as watched:
            assert await pacer.look_turn(watched)
        await asyncio.wait_for(pacer.acquire(Priority.CREATE), 5)

    run_on_jumping_clock(main())


@pytest.mark.parametrize(
    ("left", "timeout_s", "expected"),
    [
        ([], math.inf, ["look", "upload", "upload"]),
        ([3], math.inf, ["upload", "upload", "look"]),
        ([3], 20, ["upload", "upload", "look"]),
        ([3], 14, ["look", "upload", "upload"]),  # nine calls later it would be too late
        ([3, 30], math.inf, ["look", "upload", "upload"]),
        ([math.inf], math.inf, ["look", "upload", "upload"]),
    ],
)
def test_near_the_end_of_a_batch_an_overdue_look_goes_after_uploads(
    left: list[float], timeout_s: float, expected: list[str]
) -> None:
    """Tasks take up to 20 s: at a call a second, twenty looks can be made while the last one is worked on."""
    went = list[str]()

    async def look(pacer: Pacer) -> None:
        deadline = asyncio.get_running_loop().time() + timeout_s
        with pacer.watching(TaskKind.IMAGE_SWAP, is_fresh=True, deadline=deadline) as watched:
            await asyncio.sleep(6)
            assert await pacer.look_turn(watched)
            went.append("look")

    async def upload(pacer: Pacer) -> None:
        await asyncio.sleep(6)
        await pacer.acquire(Priority.UPLOAD)
        went.append("upload")

    async def main() -> None:
        pacer = Pacer(1, FixedPolling(image_s=10))
        with ExitStack() as stack:
            for number in left:
                stack.enter_context(pacer.counting(lambda number=number: number))  # type: ignore[misc]
            async with asyncio.TaskGroup() as group:
                group.create_task(look(pacer))
                for _ in range(2):
                    group.create_task(upload(pacer))
        went.append("the batch is over")
        async with asyncio.TaskGroup() as group:
            group.create_task(look(pacer))
            group.create_task(upload(pacer))

    run_on_jumping_clock(main())
    assert went == [*expected, "the batch is over", "look", "upload"]


def test_ten_thousand_deadlines_need_no_timer_each() -> None:
    async def main() -> None:
        pacer, loop = Pacer(1, FixedPolling()), asyncio.get_running_loop()
        found = list[bool]()

        async def task(deadline: float) -> None:
            with pacer.watching(TaskKind.VIDEO_SWAP, is_fresh=True, deadline=deadline) as watched:
                found.append(await pacer.look_turn(watched) is not None)

        async with asyncio.TaskGroup() as group:
            for number in range(10_000):
                group.create_task(task(1 + number / 1000))
            await asyncio.sleep(0.5)
            assert len(loop._scheduled) <= 2  # type: ignore[attr-defined]  # its timers: there is no other way to see
        assert found == [False] * 10_000
        assert loop.time() == pytest.approx(11, abs=0.1)

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


def test_a_look_that_is_due_before_its_caller_asks_is_made_when_he_does() -> None:
    """A caller in another process asks a moment after the last look; the moment is not lost."""

    async def main() -> None:
        pacer, loop = Pacer(10, FixedPolling(image_s=1)), asyncio.get_running_loop()
        with pacer.watching(TaskKind.IMAGE_SWAP, is_fresh=True, deadline=loop.time() + 60) as watched:
            await asyncio.sleep(5)
            await pacer.acquire(Priority.POLL)  # the pacer looks for what is due
            assert await pacer.look_turn(watched) is not None
        assert loop.time() < 6

    run_on_jumping_clock(main())
