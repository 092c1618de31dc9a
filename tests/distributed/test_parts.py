"""The coordinator's parts, without Dask and mostly without a loop."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facewarp_async.distributed import remote
from facewarp_async.distributed.flights import Flights
from facewarp_async.distributed.link import Link
from facewarp_async.distributed.publishing import own_name, publish
from facewarp_async.distributed.remote import RemotePacer
from facewarp_async.distributed.shards import Shards
from facewarp_async.distributed.slots import TaskSlots
from facewarp_async.distributed.turns import LIFE_S, HeldSpacing
from facewarp_async.errors import ClusterError, ConnectError, FaceWarpError
from facewarp_async.policy.rate import Priority
from tests.distributed.wires import Wire

pytestmark = pytest.mark.anyio


@given(
    rate=st.sampled_from([0.5, 1.0, 3.0, 20.0]),
    seed=st.integers(0, 2**32),
    late=st.floats(0, 1),
    lost=st.floats(0, 0.3),
)
def test_no_window_holds_more_calls_than_the_rate_allows_however_late_they_were_sent(
    rate: float, seed: int, late: float, lost: float
) -> None:
    """Some turns are used at once, some at any time of their life, some never, and some reports are lost."""
    draw, spacing, now, sent = random.Random(seed), HeldSpacing(rate), 100.0, list[float]()
    pending: list[tuple[float, int]] = []
    for _ in range(400):
        now += draw.choice([0.001, 0.01, 0.1, 1.0]) / rate
        for due, number in sorted(pending):
            if due <= now:
                pending.remove((due, number))
                sent.append(due)
                if draw.random() >= lost:
                    spacing.used(number, now)
        if spacing.next_at() <= now:
            spacing.take(now)
            delay_s = draw.uniform(0, LIFE_S) if draw.random() < late else 0.0
            if draw.random() < 0.1:
                spacing.lapsed(spacing.claim(now))
            else:
                pending.append((now + delay_s, spacing.claim(now)))
    calls = max(1, int(rate))
    sent.sort()
    for first, last in zip(sent, sent[calls:], strict=False):
        assert last - first >= calls / rate - 1e-9


def test_turns_that_are_used_at_once_cost_no_pace() -> None:
    spacing, now, given = HeldSpacing(10), 0.0, 0
    while now < 100:
        now = max(now, spacing.next_at())
        spacing.take(now)
        spacing.used(spacing.claim(now), now + 0.005)
        given += 1
    assert given == pytest.approx(1000 / 1.02, rel=0.01)


async def test_a_turn_that_lay_unread_while_the_worker_was_stopped_is_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It looks fresh when it is read: what counts is when the worker last said that it lives."""
    now = 50.0
    monkeypatch.setattr(remote, "steady_s", lambda: now)

    class Answering(Wire):
        async def write(self, message: list[tuple[Any, ...]]) -> None:
            nonlocal now
            await super().write(message)
            alive = {item[2]: item[3] for item in message if item[0] == 1}
            if "alive" in alive:
                now += LIFE_S + 1  # stopped here
                self.answers.put_nowait([(3, 0, (7, *alive["alive"]))])

    wire = Answering()
    link = Link(wire, None, name="coordinator")  # type: ignore[arg-type]  # it says nothing
    reading = asyncio.create_task(link.run())
    turn = await RemotePacer(link).acquire(Priority.CREATE)
    with pytest.raises(ConnectError, match="held up"):
        turn.leaves()
    await anyio.sleep(0.01)
    assert (1, 0, "lapsed", (7,)) in wire.said
    assert not any(item[2] == "used" for item in wire.said)
    reading.cancel()


async def test_a_link_that_is_lost_ends_the_calls_that_wait() -> None:
    class Lost(Wire):
        async def read(self) -> object:
            await anyio.sleep(0.01)
            raise OSError("closed")

    link = Link(Lost(), None, name="the coordinator")  # type: ignore[arg-type]  # the same
    reading = asyncio.create_task(link.run())
    with pytest.raises(ClusterError, match="the connection to the coordinator was lost"):
        await link.call("turn", 1)
    await reading
    with pytest.raises(ClusterError):
        await link.call("turn", 1)


async def test_a_place_of_the_cap_belongs_to_the_task_not_to_who_waits_for_it() -> None:
    slots, got = TaskSlots(2), list[bytes]()

    async def take(key: bytes) -> None:
        await slots.take(key)
        got.append(key)

    async with anyio.create_task_group() as group:
        await take(b"a")
        await take(b"b")
        group.start_soon(take, b"c")
        slots.keep(b"a", 60)  # its worker died
        await anyio.wait_all_tasks_blocked()
        assert got == [b"a", b"b"]
        await take(b"a")  # another goes on with the job: it has the place
        await anyio.wait_all_tasks_blocked()
        assert got == [b"a", b"b", b"a"]
        slots.free(b"a")
    assert got == [b"a", b"b", b"a", b"c"]
    slots.keep(b"b", 0.02)
    await slots.take(b"d")  # once the task cannot be under way any more
    assert len(slots) == 2
    slots.close()


async def test_who_stops_waiting_for_a_place_leaves_it_to_the_next() -> None:
    slots = TaskSlots(1)
    await slots.take(b"a")
    with anyio.move_on_after(0.01):
        await slots.take(b"b")
    slots.free(b"a")
    await slots.take(b"c")
    assert b"b" not in slots


async def test_an_upload_whose_worker_dies_is_begun_by_one_who_waits() -> None:
    flights, one, two = Flights(), object(), object()
    assert await flights.begin(b"face", one)
    async with anyio.create_task_group() as group:

        async def other() -> None:
            assert not await flights.begin(b"face", two)
            assert await flights.begin(b"face", two)

        group.start_soon(other)
        await anyio.wait_all_tasks_blocked()
        flights.end_all(one)


def test_a_job_that_asks_again_is_told_the_same_place_among_its_likes() -> None:
    shards, worker = Shards(), object()
    for number in (0, 1):
        shards.add(number, 2, b"")
    first, other = shards.begin(0, worker), shards.begin(1, worker)
    assert first is not None
    assert other is not None
    assert [shards.occurrence(first, place, b"same") for place in (0, 1)] == [0, 1]
    assert shards.occurrence(other, 0, b"same") == 2
    shards.end(first)
    again = shards.begin(0, object())
    assert again is not None
    assert [shards.occurrence(again, place, b"same") for place in (1, 0)] == [1, 0]
    assert (again.ordinal, shards.occurrence(again, 0, b"another")) == (2, 0)


def test_a_shard_whose_jobs_have_their_outcomes_is_not_gone_through_again() -> None:
    shards, worker = Shards(), object()
    shards.add(0, 1, b"")
    attempt = shards.begin(0, worker)
    assert attempt is not None
    assert shards.ended(attempt, 0)
    assert not shards.ended(attempt, 0)
    assert shards.begin(0, worker) is None
    assert shards.begin(5, worker) is None, "forgotten, or never heard of"


def test_a_result_is_published_and_leftovers_of_other_attempts_go(tmp_path: Path) -> None:
    target = tmp_path / "a.png"
    for ordinal in (1, 2):
        own_name(target, ordinal).write_bytes(b"%d" % ordinal)
    left = own_name(target, 1)
    left.with_name(f"{left.name}.part").write_bytes(b"half")
    publish(own_name(target, 2), target, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    assert target.read_bytes() == b"2"


def test_a_failure_to_publish_is_told(tmp_path: Path) -> None:
    with pytest.raises(FaceWarpError, match=r"a\.png: cannot be written: No such file"):
        publish(tmp_path / "none", tmp_path / "a.png", 1)
