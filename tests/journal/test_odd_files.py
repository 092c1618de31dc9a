"""Files that are seldom met: what is said of them, and what is left of them."""

from __future__ import annotations

import errno
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from facewarp_async.errors import JournalCorruptError, JournalError
from facewarp_async.journal import opening
from facewarp_async.journal.opening import open_database
from facewarp_async.journal.schema import MIGRATIONS


def make(path: Path) -> bytes:
    """Begin a journal, and return what its file holds."""
    with open_database(path):
        pass
    return path.read_bytes()


def test_a_new_journal_is_no_program(path: Path) -> None:
    make(path)
    assert path.stat().st_mode & 0o111 == 0


def test_a_table_whose_name_is_no_text_is_damage(path: Path) -> None:
    """SQLite names it in a message, which Python cannot read then."""
    path.write_bytes(make(path).replace(b"tablerunsruns", b"table\xff\xff\xff\xffruns"))
    with pytest.raises(JournalCorruptError, match="is no journal, or is damaged"), open_database(path):
        pass


@pytest.mark.parametrize(
    ("body", "log"),
    [(bytes(4096), b""), (b"SQLite format 3\x00", b"a log")],
    ids=["zeroes", "the magic alone"],
)
def test_what_is_no_database_is_not_called_another_programs(path: Path, body: bytes, log: bytes) -> None:
    path.write_bytes(body)
    path.with_name("batch.db-journal").write_bytes(log)
    with pytest.raises(JournalCorruptError, match="is no journal"), open_database(path):
        pass
    assert path.read_bytes() == body


@pytest.mark.parametrize("ending", ["-wal", "-journal"])
def test_an_empty_file_beside_a_log_of_any_kind_is_refused(path: Path, ending: str) -> None:
    """SQLite would drop the log, which may hold all there is."""
    path.touch()
    log = path.with_name(f"batch.db{ending}")
    log.write_bytes(b"all there is")
    with pytest.raises(JournalCorruptError, match=f"is empty and batch.db{ending} is not"), open_database(path):
        pass
    assert log.read_bytes() == b"all there is"


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_an_empty_log_hinders_nobody(path: Path, mode: str) -> None:
    """Also beside a file that says that it has none, as one does whose first use was cut short."""
    make(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA journal_mode={mode}")
    path.with_name("batch.db-wal").touch()
    with open_database(path) as connection:
        assert connection.execute("SELECT count(*) FROM jobs").fetchone() == (0,)


def test_what_is_refused_is_let_go_of(path: Path) -> None:
    os.mkfifo(path)
    with pytest.raises(JournalError, match="no regular file"), open_database(path):
        pass
    with pytest.raises(OSError, match=os.strerror(errno.ENXIO)):  # nobody has it open who could read
        os.open(path, os.O_WRONLY | os.O_NONBLOCK)


def test_what_was_closed_is_not_closed_again_in_a_fork(path: Path) -> None:
    """Its number may be another file's by then."""
    make(path)
    assert not opening._held


def test_a_file_that_was_brought_up_to_date_says_so_in_its_header_at_once(path: Path) -> None:
    """Not in the log, where an earlier version would not look before it opens the file."""
    with open_database(path, MIGRATIONS[:1]):
        pass
    with open_database(path):
        assert int.from_bytes(path.read_bytes()[60:64], "big") == len(MIGRATIONS)


def test_a_full_disk_is_named(path: Path) -> None:
    with pytest.raises(JournalError, match="cannot be written, the disk is full"), open_database(path) as connection:
        connection.executescript("PRAGMA max_page_count=1; CREATE TABLE more (key)")  # no more pages than there are
