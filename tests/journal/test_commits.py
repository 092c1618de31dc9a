"""Group commits: an answer means that it is durable, many share a commit, and nobody waits in vain."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.to_thread
import pytest

from facewarp_async.errors import JournalCorruptError, JournalError, JournalInUseError
from facewarp_async.journal import JobRecord, JobState, Journal
from facewarp_async.journal.commits import GroupCommits
from facewarp_async.journal.opening import open_database
from facewarp_async.models import Asset, MediaType, TaskKind
from tests.patience import seconds

pytestmark = pytest.mark.anyio

MakeRecord = Callable[..., JobRecord]


class Valve(sqlite3.Connection):
    """A connection that can be held up just before a commit, and counts them."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.commits: list[int] = []
        self.written = 0
        self.reached = threading.Semaphore(0)
        self.may_commit = threading.Event()
        self.may_commit.set()

    def execute(self, sql: str, *arguments: object) -> sqlite3.Cursor:
        if sql == "COMMIT":
            self.reached.release()
            assert self.may_commit.wait(10)
            self.commits.append(self.written)
            self.written = 0
        return super().execute(sql, *arguments)  # type: ignore[arg-type]

    def executemany(self, sql: str, values: Any) -> sqlite3.Cursor:
        self.written += len(values)
        return super().executemany(sql, values)


class Opened:
    """Group commits over a valve."""

    def __init__(self, path: Path) -> None:
        self.commits = GroupCommits(path, self._connect)
        self._path = path
        self.valve: Valve | None = None

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        with open_database(self._path):
            pass
        self.valve = sqlite3.connect(self._path, isolation_level=None, factory=Valve)
        try:
            yield self.valve
        finally:
            self.valve.close()

    async def write(self, number: int) -> None:
        await self.commits.execute(
            "INSERT INTO assets VALUES (?, 'realm', 'key', NULL, 0)", (number.to_bytes(4, "big"),)
        )


@asynccontextmanager
async def held_up(path: Path) -> AsyncIterator[tuple[Opened, Valve]]:
    """Open group commits over a valve that lets none pass."""
    opened = Opened(path)
    await opened.commits.open()
    assert opened.valve is not None
    opened.valve.may_commit.clear()
    yield opened, opened.valve
    await opened.commits.close()


async def reached(valve: Valve) -> None:
    assert await anyio.to_thread.run_sync(partial(valve.reached.acquire, timeout=10))


async def test_there_is_no_answer_before_the_commit(path: Path) -> None:
    async with held_up(path) as (opened, valve):
        write = asyncio.ensure_future(opened.write(1))
        await reached(valve)
        for _ in range(20):
            await asyncio.sleep(0)
        assert not write.done(), "the row was executed, and not committed"
        valve.may_commit.set()
        await write
        assert valve.commits == [1]


async def test_those_that_wait_at_once_share_a_commit(path: Path) -> None:
    async with held_up(path) as (opened, valve):
        first = asyncio.ensure_future(opened.write(0))
        await reached(valve)
        others = asyncio.gather(*(opened.write(number) for number in range(1, 257)))
        await asyncio.sleep(0)
        valve.may_commit.set()
        await first
        await others
        assert valve.commits == [1, 256]


async def test_more_than_a_thousand_are_split(path: Path) -> None:
    async with held_up(path) as (opened, valve):
        writes = asyncio.gather(*(opened.write(number) for number in range(2500)))
        await asyncio.sleep(0)
        valve.may_commit.set()
        await writes
        assert max(valve.commits) == 1000
        assert sum(valve.commits) == 2500


async def test_closing_commits_what_was_given(path: Path, make_record: MakeRecord) -> None:
    journal = Journal(path, realm="r")
    await journal.__aenter__()
    writes = [asyncio.ensure_future(journal.write(make_record(number))) for number in range(1500)]
    await asyncio.sleep(0)
    await journal.__aexit__(None, None, None)
    await asyncio.gather(*writes)
    async with Journal(path, realm="r") as again:
        assert len(await again.records()) == 1500


async def test_a_cancelled_caller_takes_nothing_back_and_hinders_nobody(path: Path, make_record: MakeRecord) -> None:
    async with Journal(path, realm="r") as journal:
        writes = [asyncio.ensure_future(journal.write(make_record(number))) for number in range(10)]
        await asyncio.sleep(0)
        for write in writes[::2]:
            write.cancel()
        ends = await asyncio.gather(*writes, return_exceptions=True)
        assert [isinstance(end, asyncio.CancelledError) for end in ends] == [True, False] * 5
        assert len(await journal.records()) == 10


async def test_a_statement_that_fails_fails_its_commit_and_no_later_one(journal: Journal, path: Path) -> None:
    with pytest.raises(JournalError, match="no such table"):
        await journal._commits.execute("INSERT INTO nowhere VALUES (1)")
    with pytest.raises(JournalError, match="cannot be written down"):
        await journal._commits.execute("DELETE FROM jobs WHERE media = ?", ("\udcff",))
    assert await journal.records() == []


async def test_each_caller_of_a_failed_commit_has_an_error_of_its_own(path: Path) -> None:
    async with held_up(path) as (opened, valve):
        first = asyncio.ensure_future(opened.write(0))
        await reached(valve)
        twice = asyncio.gather(opened.write(1), opened.write(1), return_exceptions=True)  # the same key
        await asyncio.sleep(0)
        valve.may_commit.set()
        await first
        one, other = await twice
        assert isinstance(one, JournalError)
        assert isinstance(other, JournalError)
        assert one is not other
        assert await opened.commits.execute("SELECT count(*) FROM assets") == [(1,)], "all of a commit, or nothing"


async def test_closing_is_waited_for_where_the_caller_is_cancelled_too(path: Path) -> None:
    opened = Opened(path)
    await opened.commits.open()
    valve, thread = opened.valve, opened.commits._thread
    assert valve is not None
    assert thread is not None
    valve.may_commit.clear()
    opened.commits.post("INSERT INTO assets VALUES (x'01', 'realm', 'key', NULL, 0)")
    await reached(valve)

    async def close() -> None:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await opened.commits.close()

    closing = asyncio.ensure_future(close())
    await anyio.wait_all_tasks_blocked()
    assert not closing.done(), "the commit is still to come"
    valve.may_commit.set()
    await closing
    assert valve.commits == [1]
    assert not thread.is_alive()


async def test_a_closed_journal_says_so(path: Path, make_record: MakeRecord) -> None:
    journal = Journal(path, realm="r")
    async with journal:
        pass
    await journal.__aexit__(None, None, None)  # twice is once
    with pytest.raises(JournalError, match="is closed"):
        await journal.write(make_record())


async def test_it_may_be_opened_again_after_it_was_refused(path: Path, make_record: MakeRecord) -> None:
    second = Journal(path, realm="r")
    async with Journal(path, realm="r"):
        with pytest.raises(JournalInUseError):
            await second.__aenter__()
    async with second:
        with anyio.fail_after(5):
            await second.write(make_record())
            assert len(await second.records()) == 1
    async with second:
        assert len(await second.records()) == 1


async def test_opening_that_is_cancelled_leaves_the_file_free(path: Path) -> None:
    for _ in range(5):
        opening = asyncio.ensure_future(GroupCommits(path, partial(open_database, path)).open())
        await asyncio.sleep(0)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
    with anyio.fail_after(5):
        async with Journal(path, realm="r") as journal:
            assert await journal.records() == []


def test_a_loop_that_ends_without_closing_keeps_the_commit_and_frees_the_file(path: Path) -> None:
    opened = Opened(path)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(opened.commits.open())
    valve, thread = opened.valve, opened.commits._thread
    assert valve is not None
    assert thread is not None
    valve.may_commit.clear()
    write = loop.create_task(opened.write(1))
    loop.run_until_complete(asyncio.sleep(0))
    assert valve.reached.acquire(timeout=10)
    write.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    valve.may_commit.set()
    thread.join(10)
    assert not thread.is_alive()
    with open_database(path) as connection:
        assert connection.execute("SELECT count(*) FROM assets").fetchone() == (1,)


def test_a_program_that_does_not_close_its_journal_ends_all_the_same(path: Path) -> None:
    program = """
import asyncio, sys
from facewarp_async.journal import Journal

async def main():
    await Journal(sys.argv[1], realm="r").__aenter__()

asyncio.run(main())
"""
    subprocess.run([sys.executable, "-c", program, path], check=True, timeout=seconds(10))


async def test_a_record_comes_back_as_it_was_written(journal: Journal, make_record: MakeRecord) -> None:
    record = make_record(
        7,
        state=JobState.INTENT,
        pending=TaskKind.MULTI_VIDEO_SWAP,
        tasks={TaskKind.FACE_DETECTION: 2**62},
        path="a\udcff/b.png",
        media='q"\n\u00e9',
        size=0,
        digest=b"\x00" * 32,
    )
    await journal.write(record)
    assert await journal.records() == [record]
    assert await journal.recall(record.key, record.kind, record.media) == record


async def test_a_name_that_is_no_text_is_written_down(journal: Journal, make_record: MakeRecord) -> None:
    with anyio.fail_after(5):
        await journal.write(make_record(1, media="a\udcff.png"))
    (record,) = await journal.records()
    assert record.media == "a\\udcff.png"


async def test_an_unknown_job_is_new_and_leaves_no_row(journal: Journal) -> None:
    record = await journal.recall(b"key", TaskKind.VIDEO_SWAP, "a.mp4")
    assert (record.state, record.tasks, record.result) == (JobState.NEW, {}, None)
    assert await journal.records() == []


async def test_changes_and_questions_of_one_commit_keep_their_order(path: Path, make_record: MakeRecord) -> None:
    """What is asked after a change sees it, and what is asked before does not."""
    async with Journal(path, realm="r") as journal:
        answers = await asyncio.gather(
            journal.records(),
            journal.write(make_record(1)),
            journal.write(make_record(1, size=5)),
            journal.records(),
            journal.put(b"content", Asset("key")),
            journal.get(b"content"),
            journal.drop(b"content", Asset("key")),
            journal.get(b"content"),
        )
    assert answers == [[], None, None, [make_record(1, size=5)], None, Asset("key"), None, None]


async def test_an_upload_is_forgotten_unless_another_has_taken_its_place(journal: Journal) -> None:
    old, new = Asset("old", media_type=MediaType.PNG), Asset("new")
    await journal.put(b"content", old)
    assert await journal.get(b"content") == old
    await journal.put(b"content", new)
    await journal.drop(b"content", old)
    assert await journal.get(b"content") == new
    await journal.drop(b"content", new)
    assert await journal.get(b"content") is None


async def test_an_upload_is_believed_to_be_there_for_a_day(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000_000.0
    monkeypatch.setattr("facewarp_async.journal.journal.time", SimpleNamespace(time=lambda: now))
    await journal.put(b"content", Asset("key"))
    now += 24 * 3600 - 1
    assert await journal.get(b"content") == Asset("key")
    now += 1
    assert await journal.get(b"content") is None


@pytest.mark.parametrize(
    "damage", ["state = 'odd'", "tasks = '{'", "result = '[\"ImageResult\", {}]'", "error = 'x'", "kind = ''"]
)
async def test_a_row_that_cannot_be_read_is_named_as_damage(
    journal: Journal, make_record: MakeRecord, damage: str
) -> None:
    await journal.write(make_record(1))
    await journal._commits.execute(f"UPDATE jobs SET {damage}")
    with pytest.raises(JournalCorruptError, match=r"batch\.db: what it holds of a job cannot be read"):
        await journal.recall(make_record(1).key, TaskKind.IMAGE_SWAP, "1.png")
