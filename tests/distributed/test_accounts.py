"""A worker's part in the account of a cluster: turns, tasks, and what is left of them when it dies."""

from __future__ import annotations

import asyncio

import pytest

from facewarp_async.distributed.account import Account, Caller
from facewarp_async.distributed.slots import TaskSlots
from facewarp_async.policy.polling import FixedPolling
from facewarp_async.policy.rate import Priority

pytestmark = pytest.mark.anyio


def _now() -> float:
    return asyncio.get_running_loop().time()


async def test_what_one_worker_is_refused_holds_all_of_them_back() -> None:
    account = Account(1000.0, FixedPolling())
    one, other = Caller(account), Caller(account)
    one.used(await one.turn(Priority.CREATE))
    one.refused(0.2)
    begun = _now()
    await other.turn(Priority.CREATE)
    assert _now() - begun >= 0.19


async def test_a_turn_that_is_not_used_is_anothers_and_one_of_a_dead_worker_counts_as_used() -> None:
    account = Account(1000.0, FixedPolling())
    caller = Caller(account)
    lapsed, lost = await caller.turn(Priority.CREATE), await caller.turn(Priority.CREATE)
    caller.lapsed(lapsed)
    assert list(account.spacing._given) == [lost]
    assert account.spacing._free_again == []
    caller.end()
    assert account.spacing._given == {}
    assert len(account.spacing._free_again) == 1, "the call may have left"


async def test_a_task_is_looked_at_in_its_time_and_no_longer() -> None:
    caller = Caller(Account(1000.0, FixedPolling(image_s=0.002)))
    caller.watch(1, "image swap", True, 60.0)
    caller.watch(2, None, True, -1.0)
    assert await caller.look(1) is not None
    assert await caller.look(2) is None, "its time is over"


async def test_a_dead_workers_tasks_are_struck_off_and_late_news_of_them_is_nothing() -> None:
    account = Account(1000.0, FixedPolling(image_s=0.002))
    caller, other = Caller(account), Caller(account)
    for number in (1, 2):
        caller.watch(number, "image swap", True, 60.0)
    other.watch(1, "image swap", True, 60.0)
    caller.missed(1)
    caller.unwatch(2)
    assert len(account.pacer._book) == 2
    caller.end()
    assert len(account.pacer._book) == 1, "the other worker's"
    for number in (1, 2, 3):
        caller.looked(number, 0.0, True)
        caller.missed(number)
        caller.unwatch(number)
    assert len(account.pacer._book) == 1


async def test_a_place_that_is_given_as_its_taker_is_cancelled_goes_to_the_next() -> None:
    slots = TaskSlots(1)
    await slots.take(b"a")
    second, third = asyncio.create_task(slots.take(b"b")), asyncio.create_task(slots.take(b"c"))
    await asyncio.sleep(0)
    slots.free(b"a")
    second.cancel()  # it has the place already, and has not heard of it
    await third
    assert (b"b" in slots, b"c" in slots, len(slots)) == (False, True, 1)
    with pytest.raises(asyncio.CancelledError):
        await second


async def test_a_place_that_is_kept_for_no_time_is_free() -> None:
    slots = TaskSlots(1)
    await slots.take(b"a")
    slots.keep(b"a", 0)
    await slots.take(b"b")
    assert len(slots) == 1
