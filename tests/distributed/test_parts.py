"""The coordinator's parts, without Dask and mostly without a loop."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from facewarp_async.client import ClientSettings
from facewarp_async.config import ApiKey, Limits, Provider, Timeouts
from facewarp_async.distributed import coordinator, remote
from facewarp_async.distributed.account import Account
from facewarp_async.distributed.coordinator import ActiveRun
from facewarp_async.distributed.flights import Flights
from facewarp_async.distributed.link import Link
from facewarp_async.distributed.publishing import own_name, publish
from facewarp_async.distributed.remote import RemotePacer
from facewarp_async.distributed.run import Run
from facewarp_async.distributed.sessions import DriverSession, WorkerSession
from facewarp_async.distributed.shards import Attempt, Shards
from facewarp_async.distributed.slots import TaskSlots
from facewarp_async.distributed.turns import LIFE_S, HeldSpacing
from facewarp_async.distributed.values import RunSettings
from facewarp_async.distributed.worker import Part
from facewarp_async.errors import ClusterError, ConnectError, FaceWarpError
from facewarp_async.journal import JobRecord, JobState, Journal
from facewarp_async.models import Asset, TaskKind
from facewarp_async.policy.polling import FixedPolling
from facewarp_async.policy.rate import Priority
from facewarp_async.policy.retry import RetryPolicy
from facewarp_async.spending import SpendingLimitError

pytestmark = pytest.mark.anyio

KEY = b"k" * 32


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


class Wire:
    """A comm of which comes what is put into it."""

    def __init__(self) -> None:
        self.said: list[tuple[Any, ...]] = []
        self.answers: asyncio.Queue[object] = asyncio.Queue()
        self.is_closed = False

    async def read(self) -> object:
        return await self.answers.get()

    async def write(self, message: list[tuple[Any, ...]]) -> None:
        self.said += message

    def abort(self) -> None:
        self.is_closed = True


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


SETTINGS = RunSettings(
    client=ClientSettings(
        provider=Provider("local", "http://127.0.0.1"),
        credentials=ApiKey("key"),
        timeouts=Timeouts(image_task_s=0.2),
        retry=RetryPolicy(),
        polling=FixedPolling(),
    ),
    limits=Limits(in_flight=1),
    output_dir=None,
    journal="/batch.db",
    in_doubt="hold",
    retry_failed=False,
    tells_stages=False,
)


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    async with Journal(tmp_path / "batch.db", realm="local") as journal:
        yield journal


def begin(run: Run, owner: object) -> Attempt:
    run.shards.add(0, 3, b"")
    attempt = run.begin(0, owner)
    assert attempt is not None
    return attempt


def record(state: JobState, *, task: int | None = None) -> JobRecord:
    tasks = {} if task is None else {TaskKind.IMAGE_SWAP: task}
    pending = TaskKind.IMAGE_SWAP if state is JobState.INTENT else None
    return JobRecord(key=KEY, kind=TaskKind.IMAGE_SWAP, media="a.png", state=state, pending=pending, tasks=tasks)


async def test_a_worker_that_was_given_up_changes_nothing_any_more(journal: Journal) -> None:
    run, first, second = Run(SETTINGS, journal), object(), object()
    old = begin(run, first)
    await run.recall(old, KEY, TaskKind.IMAGE_SWAP, "a.png")
    new = run.begin(0, second)
    assert new is not None
    with pytest.raises(ClusterError, match="given up"):
        run.shards.attempt(old.number, first)
    known = await run.recall(new, KEY, TaskKind.IMAGE_SWAP, "a.png")
    assert known.state is JobState.NEW
    with pytest.raises(ClusterError, match="another worker"):
        await run.write(old, record(JobState.INTENT))
    await run.write(new, record(JobState.INTENT))


async def test_a_task_of_a_worker_that_died_keeps_its_place_until_it_cannot_be_under_way(journal: Journal) -> None:
    run, worker = Run(SETTINGS, journal), object()
    attempt = begin(run, worker)
    await run.recall(attempt, KEY, TaskKind.IMAGE_SWAP, "a.png")
    await run.take_slot(attempt, KEY)
    await run.write(attempt, record(JobState.INTENT))
    run.end_all(worker)
    other = run.begin(0, object())
    assert other is not None
    await run.recall(other, b"o" * 32, TaskKind.IMAGE_SWAP, "b.png")
    began = anyio.current_time()
    await run.take_slot(other, b"o" * 32)
    assert anyio.current_time() - began >= 0.19
    run.close()


async def test_tasks_of_an_earlier_run_take_places_too(journal: Journal) -> None:
    await journal.write(record(JobState.CREATED, task=7))
    run = Run(SETTINGS, journal)
    await run.recall_tasks()
    attempt = begin(run, object())
    await run.recall(attempt, b"o" * 32, TaskKind.IMAGE_SWAP, "b.png")
    began = anyio.current_time()
    await run.take_slot(attempt, b"o" * 32)
    assert anyio.current_time() - began >= 0.1
    run.close()


@pytest.mark.parametrize(
    ("late", "is_taken"),
    [(record(JobState.CREATED, task=7), True), (record(JobState.UPLOADED), True)],
)
async def test_late_news_of_a_create_ends_its_doubt(journal: Journal, late: JobRecord, is_taken: bool) -> None:
    await journal.write(record(JobState.INTENT))
    run = Run(SETTINGS, journal)
    assert await run.write_late(late) is is_taken
    known = await journal.recall(KEY, TaskKind.IMAGE_SWAP, "")
    assert (known.state, known.pending, known.tasks) == (late.state, None, late.tasks)


async def test_late_news_does_not_undo_what_was_done_since(journal: Journal) -> None:
    await journal.write(record(JobState.CREATED, task=8))
    run = Run(SETTINGS, journal)
    assert not await run.write_late(record(JobState.CREATED, task=7))
    assert (await journal.recall(KEY, TaskKind.IMAGE_SWAP, "")).tasks == {TaskKind.IMAGE_SWAP: 8}


async def test_of_a_worker_that_died_only_creates_that_may_have_left_count_as_spent(journal: Journal) -> None:
    settings = evolve(SETTINGS, client=evolve(SETTINGS.client, most_tasks=2))
    active = ActiveRun(Run(settings, journal), journal, None)
    dead, other = (WorkerSession(active, name, Link(Wire(), None, name=name)) for name in "ab")  # type: ignore[arg-type]  # they say nothing
    attempt = begin(active.run, dead)
    await active.run.recall(attempt, KEY, TaskKind.IMAGE_SWAP, "a.png")
    for _ in range(2):
        await dead.answer("spend", ())
    await active.run.write(attempt, record(JobState.INTENT))
    dead.end()
    dead.note("spent", (False,))  # late
    await other.answer("spend", ())
    other.note("spent", (True,))
    with pytest.raises(SpendingLimitError, match="--max-credits 2 allows no more"):
        await other.answer("spend", ())


async def test_nobody_goes_on_with_the_jobs_of_a_worker_that_leaves_before_it_has_told_of_its_creates(
    journal: Journal,
) -> None:
    active, wire = ActiveRun(Run(SETTINGS, journal), journal, None), Wire()
    retired, other = (WorkerSession(active, name, Link(wire, None, name=name)) for name in "ab")  # type: ignore[arg-type]  # the same
    writing = asyncio.create_task(retired.link.run())
    active.enter(retired)
    attempt = begin(active.run, retired)
    await active.run.recall(attempt, KEY, TaskKind.IMAGE_SWAP, "a.png")
    await active.run.write(attempt, record(JobState.INTENT))
    active.give_up("a")
    active.give_up("a")
    async with anyio.create_task_group() as group:

        async def take_over() -> None:
            number = (await other.answer("begin", (0,)))[0][0]
            known = await other.answer("recall", (number, KEY, TaskKind.IMAGE_SWAP.value, "a.png"))
            assert JobRecord.from_row(known).state is JobState.CREATED

        group.start_soon(take_over)
        await anyio.wait_all_tasks_blocked()
        assert [item[2] for item in wire.said] == ["leave"]
        await retired.answer("write", (attempt.number, record(JobState.CREATED, task=7).to_row()))
        active.leave(retired)
    writing.cancel()
    assert not active._leaving


async def test_a_worker_that_is_told_to_leave_ends_its_shards_and_begins_no_other() -> None:
    part, wire = Part(), Wire()
    part.link = Link(wire, part, name="coordinator")
    shard = anyio.CancelScope()
    part._scopes.add(shard)
    part.note("leave", ())
    assert shard.cancel_called
    assert not wire.is_closed, "it may still have to tell of creates"
    await part.run_shard(1)
    assert wire.said == []


async def test_a_worker_that_leaves_and_tells_nothing_is_waited_for_no_longer_than_it_may_take(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coordinator, "LEAVING_S", 0.05)
    active, wire = ActiveRun(Run(SETTINGS, journal), journal, None), Wire()
    stopped, other = (WorkerSession(active, name, Link(wire, None, name=name)) for name in "ab")  # type: ignore[arg-type]  # the same
    active.enter(stopped)
    attempt = begin(active.run, stopped)
    active.give_up("a")
    began = anyio.current_time()
    assert await other.answer("begin", (0,)) is not None
    assert anyio.current_time() - began >= 0.04
    assert wire.is_closed
    with pytest.raises(ClusterError, match="given up"):
        await stopped.answer("check", (attempt.number,))


async def test_the_accounts_pacer_knows_how_many_jobs_are_left(journal: Journal) -> None:
    account = Account(5.0, FixedPolling())
    active = ActiveRun(Run(SETTINGS, journal), journal, account)
    (left,) = account.pacer._batches
    assert left() == math.inf
    DriverSession(active).note("left", (3,))
    assert left() == 3
    await active.close()
    assert account.pacer._batches == []


async def test_an_upload_of_another_worker_is_used_when_it_lands(journal: Journal) -> None:
    run, one, two = Run(SETTINGS, journal), object(), object()
    assert await run.begin_upload(b"face", one) is None
    found: list[Asset | None] = []
    async with anyio.create_task_group() as group:

        async def other() -> None:
            found.append(await run.begin_upload(b"face", two))

        group.start_soon(other)
        await run.put(b"face", Asset("key"))
        run.end_upload(b"face", one)
    assert found == [Asset("key")]


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
