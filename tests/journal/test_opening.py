"""Opening the file: whose it is, whether it is whole, which version it has, and that only one pipeline has it."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from facewarp_async.errors import FaceWarpError, JournalCorruptError, JournalError, JournalInUseError
from facewarp_async.journal import JobRecord, Journal
from facewarp_async.journal.opening import open_database
from facewarp_async.journal.schema import APPLICATION_ID, MIGRATIONS

pytestmark = pytest.mark.anyio

MakeRecord = Callable[..., JobRecord]
LATER = (*MIGRATIONS, ("ALTER TABLE jobs ADD COLUMN note TEXT", "UPDATE jobs SET note = media || '!'"))


def contents(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def fill(path: Path, jobs: int = 50, **options: object) -> None:
    with open_database(path, **options) as connection:  # type: ignore[arg-type]
        for number in range(jobs):
            connection.execute(
                "INSERT INTO jobs (key, state, kind, media, tasks, updated_at) VALUES (?, 'new', 'kind', ?, '{}', 0)",
                (number.to_bytes(32, "big"), f"{number}.png" * 20),
            )


@contextmanager
def refused(path: Path, error: type[FaceWarpError], match: str) -> Iterator[None]:
    """Expect that opening is refused, and that nothing in the folder is changed by it."""
    before = contents(path.parent)
    yield
    with pytest.raises(error, match=match), open_database(path):
        pass
    assert contents(path.parent) == before


def copy_crashed(source: Path, target: Path) -> None:
    """Copy a database with its log, as a killed program leaves them."""
    target.parent.mkdir(exist_ok=True)
    for suffix in ("", "-wal"):
        shutil.copyfile(f"{source}{suffix}", f"{target}{suffix}")


def test_a_new_file_is_a_journal_that_says_so_in_its_header_from_the_beginning(path: Path) -> None:
    with open_database(path) as connection:
        header = path.read_bytes()[:100]
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,), "FULL"
    assert int.from_bytes(header[68:72], "big") == APPLICATION_ID
    assert int.from_bytes(header[60:64], "big") == len(MIGRATIONS)


def test_an_older_journal_is_brought_up_to_date_and_keeps_its_rows(path: Path) -> None:
    fill(path, 3)
    with open_database(path, LATER) as connection:
        rows = connection.execute("SELECT note FROM jobs ORDER BY key").fetchall()
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert rows == [(f"{number}.png" * 20 + "!",) for number in range(3)]
    with open_database(path, LATER) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(LATER),)


def test_an_older_journal_that_was_killed_is_brought_up_to_date_with_what_its_log_holds(
    path: Path, tmp_path: Path
) -> None:
    crashed = tmp_path / "crashed" / path.name
    with open_database(path) as connection:
        connection.execute(
            "INSERT INTO jobs (key, state, kind, media, tasks, updated_at) VALUES (x'01', 'new', 'kind', 'a', '{}', 0)"
        )
        copy_crashed(path, crashed)
    with open_database(crashed, LATER) as connection:
        assert connection.execute("SELECT note FROM jobs").fetchall() == [("a!",)]


def test_a_migration_that_fails_changes_nothing(path: Path) -> None:
    fill(path, 3)
    broken = (*MIGRATIONS, ("ALTER TABLE jobs ADD COLUMN note TEXT", "UPDATE nowhere SET note = 1"))
    with pytest.raises(JournalError, match="no such table"), open_database(path, broken):
        pass
    with open_database(path) as connection:
        assert "note" not in [row[1] for row in connection.execute("PRAGMA table_info(jobs)")]
        assert connection.execute("SELECT count(*) FROM jobs").fetchone() == (3,)


@pytest.mark.parametrize("version", range(len(LATER)))
def test_a_migration_that_was_killed_at_its_commit_is_made_anew(path: Path, version: int) -> None:
    """The file says already that it is new, and SQLite takes that back when it is opened."""
    if version:
        fill(path, 3, migrations=LATER[:version])
    log = path.with_name(f"{path.name}-journal")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
        connection.execute("PRAGMA synchronous=OFF")  # the log is whole before the commit, not during it
        connection.execute("BEGIN IMMEDIATE")
        for statement in [statement for statements in LATER[version:] for statement in statements]:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version={len(LATER)}")
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        held_back = log.read_bytes()
        connection.execute("COMMIT")
    log.write_bytes(held_back)
    for _ in range(2):
        with open_database(path, LATER) as connection:
            assert connection.execute("PRAGMA user_version").fetchone() == (len(LATER),)
            assert connection.execute("SELECT count(note) FROM jobs").fetchone() == (3 if version else 0,)


def test_a_later_version_is_refused_and_not_changed(path: Path) -> None:
    fill(path, 3, migrations=LATER)
    with refused(path, JournalCorruptError, "later version"):
        pass


def test_a_later_version_that_was_killed_is_refused_and_not_changed(path: Path, tmp_path: Path) -> None:
    crashed = tmp_path / "crashed" / path.name
    with open_database(path, LATER) as connection:
        connection.execute("INSERT INTO assets VALUES (x'01', 'r', 'k', NULL, 0)")
        copy_crashed(path, crashed)
    with refused(crashed, JournalCorruptError, "later version"):
        assert (crashed.parent / f"{crashed.name}-wal").stat().st_size > 0


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_another_programs_database_is_refused_and_not_changed(path: Path, tmp_path: Path, mode: str) -> None:
    source = tmp_path / "source.db"
    with closing(sqlite3.connect(source, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA journal_mode={mode}")
        connection.execute("CREATE TABLE jobs (key)")
        path = tmp_path / "crashed" / "batch.db"
        if mode == "wal":
            copy_crashed(source, path)
        else:
            path.parent.mkdir()
            shutil.copyfile(source, path)
    with refused(path, JournalCorruptError, "another program"):
        pass


def test_an_empty_database_of_another_program_is_refused(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA application_id=7")
    with refused(path, JournalCorruptError, "another program"):
        pass


@pytest.mark.parametrize(
    "body",
    [b"x", b"not a database\n" * 100, b"\x89PNG\r\n\x1a\n" + bytes(5000), bytes(4096), b"SQLite format 3\x00"],
    ids=["a byte", "text", "picture", "zeroes", "the magic alone"],
)
def test_a_file_that_is_no_database_is_refused_and_not_changed(path: Path, body: bytes) -> None:
    path.write_bytes(body)
    with refused(path, JournalCorruptError, "is no journal|another program"):
        pass


def test_a_truncated_journal_is_refused_and_not_changed(path: Path) -> None:
    fill(path)
    whole = path.read_bytes()
    lengths = [*range(1, 200, 9), *range(200, len(whole), 997), len(whole) - 1]
    for length in lengths:
        path.write_bytes(whole[:length])
        with refused(path, JournalCorruptError, "damaged|is no journal"):
            pass


def test_a_damaged_journal_is_refused_or_all_there(path: Path) -> None:
    """A page's unused bytes may be anything; whatever else is wrong is told, and nothing is written."""
    fill(path)
    whole = path.read_bytes()
    found = 0
    for place in range(100, len(whole), 4096 // 16):
        path.write_bytes(whole[:place] + b"\xa5" * 16 + whole[place + 16 :])
        before = path.read_bytes()
        opened = False
        try:
            with open_database(path) as connection:
                opened = True
                assert connection.execute("SELECT count(*) FROM jobs").fetchone() == (50,)
        except JournalCorruptError:
            found += 1
            assert not opened, f"told when it is opened, not later: {place}"
            assert path.read_bytes() == before
    assert found > 0


def test_a_damaged_journal_that_was_killed_is_refused_and_its_log_is_not_taken_into_it(
    path: Path, tmp_path: Path
) -> None:
    crashed = tmp_path / "crashed" / path.name
    fill(path, 300)
    with open_database(path) as connection:
        connection.execute("INSERT INTO assets VALUES (x'01', 'r', 'k', NULL, 0)")
        copy_crashed(path, crashed)
    body = bytearray(crashed.read_bytes())
    body[5 * 4096 : 6 * 4096] = bytes(range(256)) * 16
    crashed.write_bytes(body)
    with refused(crashed, JournalCorruptError, "damaged"):
        assert (crashed.parent / f"{crashed.name}-wal").stat().st_size > 0


def test_a_page_whose_rows_cannot_be_found_is_told_when_it_is_opened(path: Path) -> None:
    fill(path)
    body = bytearray(path.read_bytes())
    leaf = next(
        page
        for page in range(len(body) - 4096, 0, -4096)
        if body[page] == 10 and int.from_bytes(body[page + 3 : page + 5], "big") >= 2
    )
    body[leaf + 8 : leaf + 12] = b"\xff" * 4  # where its first two rows begin
    path.write_bytes(body)
    with refused(path, JournalCorruptError, "damaged"):
        pass


def test_an_empty_file_is_a_new_journal_but_not_where_a_log_lies_beside_it(path: Path, tmp_path: Path) -> None:
    crashed = tmp_path / "crashed" / path.name
    path.touch()
    with open_database(path) as connection:
        connection.execute("INSERT INTO assets VALUES (x'01', 'r', 'k', NULL, 0)")
        copy_crashed(path, crashed)
    crashed.write_bytes(b"")
    with refused(crashed, JournalCorruptError, "is empty and batch.db-wal is not"):
        pass


def test_what_is_no_file_is_named(path: Path, tmp_path: Path) -> None:
    os.mkfifo(path)
    for wrong, reason in [(path, "no regular file"), (tmp_path, "Is a directory"), (tmp_path / "a\0b", "null")]:
        with pytest.raises(JournalError, match=reason), open_database(wrong):
            pass


async def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(JournalError, match="folder cannot be made"):
        async with Journal(tmp_path / "file" / "batch.db", realm="r"):
            pass


async def test_a_second_pipeline_of_the_process_is_refused(journal: Journal, path: Path) -> None:
    with pytest.raises(JournalInUseError, match=r"batch\.db: the journal is used by another"):
        async with Journal(path, realm="r"):
            pass
    assert await journal.records() == []


HOLDER = """
import sys
from pathlib import Path
from facewarp_async.errors import JournalInUseError
from facewarp_async.journal.opening import open_database
try:
    with open_database(Path(sys.argv[1])) as connection:
        connection.execute("INSERT OR REPLACE INTO assets VALUES (x'01', 'r', 'k', NULL, 0)")
        print("held", flush=True)
        sys.stdin.read()
except JournalInUseError:
    print("refused", flush=True)
"""


@contextmanager
def second_process(path: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.slow
def test_another_process_is_refused_also_after_the_file_was_opened_and_closed_here(path: Path) -> None:
    """POSIX locks end when any descriptor of the file is closed, such as that of a search for media."""
    with open_database(path):
        with second_process(path) as process:
            assert said(process) == "refused"
        path.read_bytes()
        with second_process(path) as process:
            assert said(process) == "refused"
        with pytest.raises(JournalInUseError), open_database(path):
            pass
        with second_process(path) as process:
            assert said(process) == "refused"


@pytest.mark.slow
def test_the_file_is_free_once_its_holder_was_killed_and_keeps_what_was_committed(path: Path) -> None:
    with second_process(path) as process:
        assert said(process) == "held"
        with pytest.raises(JournalInUseError), open_database(path):
            pass
        process.send_signal(signal.SIGKILL)
    with open_database(path) as connection:
        assert connection.execute("SELECT key FROM assets").fetchall() == [("k",)]


FORKER = """
import os, signal, sys
from pathlib import Path
from facewarp_async.journal.opening import open_database
path, what = Path(sys.argv[1]), sys.argv[2]
begins, begun = os.pipe()
with open_database(path):
    child = os.fork()
    if not child:
        os.write(begun, b"!")
        if what != "child ends":
            sys.stdin.read()
        os._exit(0)
    os.read(begins, 1)
    if what == "child ends":
        os.waitpid(child, 0)
        print("child ended", flush=True)
        sys.stdin.read()
    if what == "parent dies":
        os.kill(os.getpid(), signal.SIGKILL)
print("closed", flush=True)
"""


@contextmanager
def forking_process(path: Path, what: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", FORKER, str(path), what]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process


@pytest.mark.slow
@pytest.mark.parametrize("what", ["parent closes", "parent dies"])
def test_a_forked_child_does_not_hold_the_file(path: Path, what: str) -> None:
    with forking_process(path, what) as process:
        if what == "parent closes":
            assert said(process) == "closed"
        process.wait()  # the child lives on until its stdin ends
        with open_database(path):
            pass


@pytest.mark.slow
def test_a_forked_childs_end_does_not_free_the_file(path: Path) -> None:
    with forking_process(path, "child ends") as process:
        assert said(process) == "child ended"
        with pytest.raises(JournalInUseError), open_database(path):
            pass


def test_another_program_that_reads_the_file_is_named_as_its_user(path: Path) -> None:
    fill(path, 1)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN")
        other.execute("SELECT * FROM jobs").fetchall()
        with pytest.raises(JournalInUseError), open_database(path):
            pass
    with open_database(path):
        pass
