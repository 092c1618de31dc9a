"""What a crash leaves: a log that may end anywhere. The journal opens, and holds a beginning of its history."""

from __future__ import annotations

import random
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import define

from facewarp_async.journal import JobRecord, JobState
from facewarp_async.journal.journal import PUT_JOB
from facewarp_async.journal.opening import open_database
from facewarp_async.models import TaskKind

FRAME_BYTES = 24 + 4096
LOG_HEADER_BYTES = 32
JOBS = 6

Seen = tuple[tuple[bytes, str, str | None], ...]


@define
class History:
    """A journal as files, and what it held after each of its commits, the first of which is nothing."""

    main: bytes
    log: bytes
    states: list[Seen]
    ends: list[int]
    folder: Path

    def replay(self, log: bytes) -> Seen:
        """Open the journal with another log, as after a crash."""
        path = self.folder / "batch.db"
        path.write_bytes(self.main)
        (self.folder / "batch.db-wal").write_bytes(log)
        with open_database(path) as connection:
            return look(connection)

    def committed_by(self, length: int) -> Seen:
        """Return what must be there if the log was durable up to a length."""
        return self.states[sum(1 for end in self.ends if end <= length)]


def look(connection: sqlite3.Connection) -> Seen:
    return tuple(connection.execute("SELECT key, state, pending FROM jobs ORDER BY key").fetchall())


@pytest.fixture(scope="module")
def history() -> Iterator[History]:
    """Six jobs that go through their states, each transition a commit; two commits hold several rows."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        folder = Path(name)
        path = folder / "history.db"
        log = folder / "history.db-wal"
        states, ends = [], []
        with open_database(path) as connection:
            states.append(look(connection))
            for transitions in _transitions():
                connection.execute("BEGIN IMMEDIATE")
                for record in transitions:
                    connection.execute(PUT_JOB, record.to_row())
                connection.execute("COMMIT")
                states.append(look(connection))
                ends.append(log.stat().st_size)
            replayed = folder / "replayed"
            replayed.mkdir()
            yield History(path.read_bytes(), log.read_bytes(), states, ends, replayed)


def _transitions() -> Iterator[list[JobRecord]]:
    records = [JobRecord(key=bytes([number]) * 32, kind=TaskKind.IMAGE_SWAP, media="m" * 700) for number in range(JOBS)]
    yield records
    for state, pending in [(JobState.UPLOADED, None), (JobState.INTENT, TaskKind.IMAGE_SWAP), (JobState.CREATED, None)]:
        for record in records:
            record.state, record.pending = state, pending
            yield [record]
    for record in records:
        record.state = JobState.DONE
    yield records


def test_the_whole_log_is_the_whole_history(history: History) -> None:
    assert len(history.states) == len(history.ends) + 1
    assert history.replay(history.log) == history.states[-1]
    assert history.replay(b"") == history.states[0]


@pytest.mark.slow
def test_a_log_that_ends_anywhere_is_a_beginning_of_the_history(history: History) -> None:
    """Cut at every byte near the ends of frames and of their headers, and at a stride between."""
    total = len(history.log)
    near = {
        start + offset + distance
        for start in range(LOG_HEADER_BYTES, total + 1, FRAME_BYTES)
        for offset in (0, 24)
        for distance in range(-3, 4)
    }
    cuts = near | set(range(0, 100)) | set(range(0, total, 211))
    for cut in sorted(cut for cut in cuts if 0 <= cut <= total):
        assert history.replay(history.log[:cut]) == history.committed_by(cut), f"cut at {cut}"


@pytest.mark.slow
def test_every_byte_of_the_last_commit_may_be_the_last(history: History) -> None:
    begin, end = history.ends[-3], history.ends[-2]
    assert (end - begin) % FRAME_BYTES == 0
    for cut in range(begin, end):
        assert history.replay(history.log[:cut]) == history.states[-3], f"cut at {cut}"
    assert history.replay(history.log[:end]) == history.states[-2]


@pytest.mark.slow
def test_a_log_with_a_wrong_byte_is_a_beginning_of_the_history_up_to_its_commit(history: History) -> None:
    draw = random.Random(7)
    for place in sorted(draw.sample(range(LOG_HEADER_BYTES, len(history.log)), 300)):
        log = bytearray(history.log)
        log[place] ^= 1 << draw.randrange(8)
        assert history.replay(bytes(log)) == history.committed_by(place), f"wrong at {place}"


@pytest.mark.slow
def test_the_rest_of_an_older_log_behind_the_end_is_not_taken_for_history(history: History) -> None:
    """A log is used again from its beginning after a checkpoint: what stands behind its end is older."""
    for end in history.ends[::3]:
        older = bytes(reversed(history.log[end : end + FRAME_BYTES])) + history.log[end + FRAME_BYTES :]
        assert history.replay(history.log[:end] + older) == history.committed_by(end)
