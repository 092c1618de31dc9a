"""The one gate of all calls."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import anyio
import pytest
from attrs import evolve

from benchmarks.jumping_clock import run_on_jumping_clock
from facewarp_async.client import FaceSwapClient
from facewarp_async.config import Timeouts
from facewarp_async.models import TaskKind
from facewarp_async.policy.polling import FixedPolling
from facewarp_async.policy.rate import Priority
from facewarp_async.server import Fault, FaultRule, InstantRunner, LocalService
from facewarp_async.session import Pacer
from facewarp_async.session.pacer import Turn
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
async def test_a_service_with_a_strict_window_refuses_no_call_but_for_a_pause_of_this_machine(
    make_client: MakeClient,
) -> None:
    """A call that comes late to the service comes too close to the one that leaves 20 calls later."""
    pauses = list[float]()

    async def watch() -> None:
        loop = asyncio.get_running_loop()
        while True:
            begun = loop.time()
            await asyncio.sleep(0.001)
            pauses.append(loop.time() - begun)

    async with (
        LocalService(runner=InstantRunner(), requests_per_second=20) as service,
        make_client(service.provider, service.auth) as client,
    ):
        watching = asyncio.ensure_future(watch())
        async with anyio.create_task_group() as group:
            for _ in range(42):
                group.start_soon(client.request_upload, "a.png")
        watching.cancel()
        refusals = service.ledger.refusals[UPLOAD_URL_PATH, 802]
        assert service.ledger.calls[UPLOAD_URL_PATH] == 42 + refusals
    assert refusals <= sum(1 + pause_s * 20 for pause_s in pauses if pause_s > 0.005)


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


async def test_a_call_that_is_repeated_asks_to_go_before_all_others(
    local: LocalService, make_client: MakeClient
) -> None:
    asked = list[Priority]()

    class Noting(Pacer):
        async def acquire(self, priority: Priority) -> Turn:
            asked.append(priority)
            return await super().acquire(priority)

    local.faults.add(FaultRule(Fault.RATE_LIMITED, UPLOAD_URL_PATH, nth=1))
    async with make_client(local.provider, local.auth, pacer=Noting(None, FixedPolling())) as client:
        await client.request_upload("a.png")
    assert asked == [Priority.UPLOAD, Priority.REPEAT]


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
