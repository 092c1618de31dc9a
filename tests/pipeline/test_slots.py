"""The limit of uploads, and who goes first at it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facewarp_async import Completed, ImageSwap, Job, VideoSwap
from facewarp_async.models import TaskKind
from facewarp_async.pipeline.slots import UploadSlots

if TYPE_CHECKING:
    from tests.pipeline.conftest import Serve

pytestmark = pytest.mark.anyio

IMAGE, VIDEO = TaskKind.IMAGE_SWAP, TaskKind.VIDEO_SWAP


async def order_of(kinds: list[TaskKind]) -> list[int]:
    """Return in which order they go, of whom all wait for one slot."""
    slots, went = UploadSlots(1), list[int]()

    async def go(number: int, kind: TaskKind) -> None:
        async with slots.of(kind):
            went.append(number)

    async with anyio.create_task_group() as group, slots.of(IMAGE):
        for number, kind in enumerate(kinds):
            group.start_soon(go, number, kind)
        await anyio.wait_all_tasks_blocked()
    return went


async def test_of_those_that_wait_videos_go_first_and_equals_in_their_order() -> None:
    assert await order_of([IMAGE, VIDEO, IMAGE, VIDEO, VIDEO]) == [1, 3, 4, 0, 2]


async def test_no_picture_waits_for_videos_without_end() -> None:
    order = await order_of([IMAGE] + [VIDEO] * 300)
    assert order.index(0) == 127


async def test_as_many_go_at_once_as_there_are_slots() -> None:
    slots, most, now = UploadSlots(3), 0, 0

    async def go(kind: TaskKind) -> None:
        nonlocal most, now
        async with slots.of(kind):
            now += 1
            most = max(most, now)
            await anyio.lowlevel.checkpoint()
            now -= 1

    async with anyio.create_task_group() as group:
        for number in range(30):
            group.start_soon(go, VIDEO if number % 4 else IMAGE)
    assert most == 3


async def test_slots_that_were_given_back_are_as_many_as_before() -> None:
    slots = UploadSlots(2)
    with anyio.fail_after(5):
        for _ in range(3):
            async with slots.of(IMAGE), slots.of(VIDEO):
                pass
        await slots.acquire(0)
        await slots.acquire(0)
        third = asyncio.ensure_future(slots.acquire(0))
        await anyio.wait_all_tasks_blocked()
        assert not third.done(), "both are held"
        slots.release()
        await third


@pytest.mark.slow
@given(st.lists(st.sampled_from(["wait", "release", "cancel first", "cancel last", "turn"]), max_size=60))
def test_no_slot_is_lost_whoever_is_cancelled_when(steps: list[str]) -> None:
    async def main() -> None:
        slots = UploadSlots(2)
        waiting = list[asyncio.Task[None]]()
        held = 0
        for step in steps:
            held += sum(task.done() and not task.cancelled() for task in waiting)
            waiting = [task for task in waiting if not task.done()]
            if step == "wait":
                waiting.append(asyncio.ensure_future(slots.acquire(0)))
            elif step == "release" and held:
                slots.release()
                held -= 1
            elif step.startswith("cancel") and waiting:
                waiting[0 if step.endswith("first") else -1].cancel()
            elif step == "turn":
                await asyncio.sleep(0)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        held += sum(not task.cancelled() for task in waiting)
        for _ in range(held):
            slots.release()
        async with asyncio.timeout(1), slots.of(IMAGE), slots.of(VIDEO):
            pass

    asyncio.run(main())


async def test_a_slot_that_was_given_to_who_is_cancelled_in_that_moment_goes_on_to_the_next() -> None:
    slots = UploadSlots(1)
    await slots.acquire(0)
    first, second = (asyncio.ensure_future(slots.acquire(0)) for _ in range(2))
    await anyio.wait_all_tasks_blocked()
    slots.release()
    first.cancel()
    await asyncio.wait_for(second, 1)
    assert first.cancelled()


@pytest.mark.slow
async def test_a_video_at_the_end_of_a_batch_is_created_first_and_its_outcome_comes_last(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All jobs wait for the one slot, which this test holds."""
    async with serve() as bench:
        face = await bench.client.upload(bench.picture("face"))
        jobs: list[Job] = [ImageSwap(bench.picture(str(index)), face) for index in range(4)]
        jobs.append(VideoSwap(bench.video("v"), face))
        async with bench.pipeline(uploads=1, in_flight=1) as pipeline:
            slots, all_wait = pipeline._upload_slots, anyio.Event()
            acquire = slots.acquire
            await acquire(0)

            async def acquire_noted(ahead: int) -> None:
                if len(slots._waiting) == len(jobs) - 1:
                    all_wait.set()
                await acquire(ahead)

            monkeypatch.setattr(slots, "acquire", acquire_noted)
            stream = pipeline.stream(jobs)
            await all_wait.wait()
            slots.release()
            outcomes = [outcome async for outcome in stream]
        assert [outcome.job for outcome in outcomes] == jobs
        assert all(isinstance(outcome, Completed) for outcome in outcomes)
        assert [creation.kind for creation in bench.ledger.creations] == [VIDEO, IMAGE, IMAGE, IMAGE, IMAGE]
