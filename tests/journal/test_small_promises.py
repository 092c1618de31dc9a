"""A journal's folder, its new records, and what is written down without being waited for."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from facewarp_async.errors import JournalCorruptError
from facewarp_async.journal import JobRecord, JobState, Journal, RunRecord
from facewarp_async.models import TaskKind

pytestmark = pytest.mark.anyio


async def test_a_journal_makes_the_folders_on_the_way_to_it(tmp_path: Path) -> None:
    path = tmp_path / "a/b/batch.db"
    async with Journal(path, realm="r"):
        assert path.exists()


async def test_of_a_new_job_nothing_is_known_but_what_it_is(tmp_path: Path) -> None:
    async with Journal(tmp_path / "batch.db", realm="r") as journal:
        new = await journal.recall(b"k", TaskKind.VIDEO_SWAP, "a.mp4")
        assert new == JobRecord(key=b"k", kind=TaskKind.VIDEO_SWAP, media="a.mp4")
        assert (new.state, new.pending, new.tasks, new.created) == (JobState.NEW, None, {}, 0)
        assert (new.path, new.size, new.digest, new.result, new.error) == (None,) * 5
        assert (new.name, new.source, new.steps) == ("", None, "")
        assert await journal.records() == [], "it is written down with its first change"


async def test_what_is_posted_is_durable_once_the_journal_is_closed(tmp_path: Path) -> None:
    posted = [JobRecord(key=bytes([n]), kind=TaskKind.IMAGE_SWAP, media=f"{n}.png", name=str(n)) for n in range(9)]
    async with Journal(tmp_path / "batch.db", realm="r") as journal:
        for record in posted:
            journal.post(record)
    async with Journal(tmp_path / "batch.db", realm="r") as journal:
        assert await journal.records() == posted
    journal.post(posted[0])  # a journal that is closed takes nothing, and says nothing


async def test_jobs_of_which_a_task_may_be_under_way_are_told_with_when_that_was_written(tmp_path: Path) -> None:
    states, before = list(JobState), time.time()
    async with Journal(tmp_path / "batch.db", realm="r") as journal:
        for number, state in enumerate(states):
            await journal.write(JobRecord(key=bytes([number]), kind=TaskKind.VIDEO_SWAP, media="a.mp4", state=state))
        told = await journal.with_tasks()
    assert [(states[key[0]], kind) for key, kind, _ in told] == [
        (JobState.INTENT, TaskKind.VIDEO_SWAP),
        (JobState.CREATED, TaskKind.VIDEO_SWAP),
    ]
    assert all(before <= at <= time.time() for _, _, at in told)


async def test_a_run_that_cannot_be_read_is_named_as_damage(tmp_path: Path) -> None:
    async with Journal(tmp_path / "batch.db", realm="r") as journal:
        journal.begin_run(lambda: RunRecord(provider="p", began_at=1.0, seen_at=1.0))
        await journal._commits.execute("UPDATE runs SET calls = '{'")
        with pytest.raises(JournalCorruptError, match=r"batch\.db: what it holds of a run cannot be read"):
            await journal.runs()
