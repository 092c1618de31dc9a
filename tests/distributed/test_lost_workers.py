"""What a run keeps of its workers' tasks, also of those that die, leave or come late."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
from attrs import evolve

from facewarp_async.client import ClientSettings
from facewarp_async.config import ApiKey, Limits, Provider, Timeouts
from facewarp_async.distributed import coordinator
from facewarp_async.distributed.account import Account
from facewarp_async.distributed.coordinator import ActiveRun
from facewarp_async.distributed.link import Link
from facewarp_async.distributed.run import Run
from facewarp_async.distributed.sessions import DriverSession, WorkerSession
from facewarp_async.distributed.shards import Attempt
from facewarp_async.distributed.values import RunSettings
from facewarp_async.distributed.worker import Part
from facewarp_async.errors import ClusterError
from facewarp_async.journal import JobRecord, JobState, Journal
from facewarp_async.models import Asset, TaskKind
from facewarp_async.policy.polling import FixedPolling
from facewarp_async.policy.retry import RetryPolicy
from facewarp_async.spending import SpendingLimitError
from tests.distributed.wires import Wire

pytestmark = pytest.mark.anyio

KEY = b"k" * 32

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
