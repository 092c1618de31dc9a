"""Opening a journal's file: for this pipeline alone, only if it is a journal and whole, and brought up to date."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from facewarp_async.errors import JournalCorruptError, JournalError, JournalInUseError
from facewarp_async.journal.schema import APPLICATION_ID, MIGRATIONS, Migrations

_MAGIC = b"SQLite format 3\x00"
_HEADER_BYTES = 100
_SECTOR_BYTES = 512
"""The smallest page that SQLite knows: all its files are whole pages."""
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_CORRUPT = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


@contextmanager
def open_database(path: Path, migrations: Migrations = MIGRATIONS) -> Iterator[sqlite3.Connection]:
    """Open a journal, or begin one where the file is missing or empty, and close it at the end.

    Raises:
        JournalInUseError: Another connection holds the file.
        JournalCorruptError: It is another program's, damaged, or of a later version. It was not changed.
        JournalError: It cannot be read or written.
    """
    with _hold(path) as descriptor:
        _check_length(descriptor, path)
        _check_header(os.pread(descriptor, _HEADER_BYTES, 0), path, len(migrations))
        try:
            _check_with_log(path)
            with closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as connection:
                connection.execute("PRAGMA locking_mode=EXCLUSIVE")
                connection.execute("BEGIN EXCLUSIVE")  # fails at once where another connection holds the file
                _check_pages(connection, path)
                connection.execute("COMMIT")
                # Not from the header that was looked at: SQLite has taken back since what a crash had left half done.
                (version,) = connection.execute("PRAGMA user_version").fetchone()
                if version < len(migrations):
                    _migrate(connection, migrations[version:], len(migrations))
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=FULL")  # NORMAL may lose commits at a power cut: paying twice
                yield connection
        except sqlite3.Error as error:
            raise explain(error, path) from error
        except UnicodeDecodeError as error:  # SQLite's own tables hold it
            raise _damaged(path, error) from error


_held: set[int] = set()
"""The descriptors whose locks are this process's."""


def _let_go() -> None:
    """Close what a fork has copied: the lock would be held for as long as the child lives."""
    while _held:
        os.close(_held.pop())


os.register_at_fork(after_in_child=_let_go)


@contextmanager
def _hold(path: Path) -> Iterator[int]:
    """Keep other pipelines from the file.

    SQLite's own locks are the process's: they would let in another pipeline of this process, and they end when anything
    in the process, such as a search for media, opens the file and closes it again.
    """
    try:
        # Not blocking: opening a named pipe would wait for its other end.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o644)
        try:
            _check_regular(descriptor, path)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException:
            os.close(descriptor)
            raise
    except BlockingIOError as error:
        raise _in_use(path) from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = error.strerror if isinstance(error, OSError) else error
        raise JournalError(f"{path}: the journal cannot be opened: {reason}") from error
    _held.add(descriptor)
    try:
        yield descriptor
    finally:
        if descriptor in _held:  # else this is a forked child, which has let go of it
            _held.remove(descriptor)
            os.close(descriptor)


def _check_regular(descriptor: int, path: Path) -> None:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise JournalError(f"{path}: is no regular file, and cannot be a journal")


def _check_length(descriptor: int, path: Path) -> None:
    """See that the file's end is where SQLite leaves it, and that an empty file is new.

    SQLite takes what is missing of the last page for zeroes, and drops the log of a file that has lost its contents.
    """
    size = os.fstat(descriptor).st_size
    logs = [path.with_name(path.name + suffix) for suffix in ("-wal", "-journal")]
    log = next((log for log in logs if log.exists() and log.stat().st_size), None)
    if not size and log is not None:
        raise JournalCorruptError(f"{path}: is empty and {log.name} is not: they were left as they are; move both away")
    if size % _SECTOR_BYTES and log is None:
        raise _damaged(path)


def _check_header(header: bytes, path: Path, newest: int) -> None:
    """See by a file's first bytes (https://sqlite.org/fileformat.html, "The Database Header") that it is a journal.

    SQLite is not let near another program's file: it would tidy up after that program's last crash.
    """
    if not header:
        return
    if len(header) < _HEADER_BYTES or not header.startswith(_MAGIC):
        raise _damaged(path)
    if int.from_bytes(header[68:72], "big") != APPLICATION_ID:
        raise JournalCorruptError(f"{path}: is another program's database, not a journal; it was not changed")
    if int.from_bytes(header[60:64], "big") > newest:
        raise JournalCorruptError(f"{path}: was written by a later version of facewarp-async; it was not changed")


def _check_with_log(path: Path) -> None:
    """Look at a file that a crash has left with a log, before a connection that writes takes the log into the file.

    Such a connection does that when it closes too, also where it was opened only to find the file damaged.
    """
    log, index = (path.with_name(path.name + suffix) for suffix in ("-wal", "-shm"))
    if not log.exists():
        return
    had_index = index.exists()
    reader = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=0)
    try:
        with closing(reader):
            _check_pages(reader, path)
    finally:
        if not had_index:
            index.unlink(missing_ok=True)  # the reader's own


def _check_pages(connection: sqlite3.Connection, path: Path) -> None:
    (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise _damaged(path, found)


def _migrate(connection: sqlite3.Connection, migrations: Migrations, newest: int) -> None:
    connection.execute("PRAGMA journal_mode=DELETE")  # not in the WAL: the file's header tells its version at all times
    connection.execute("BEGIN IMMEDIATE")
    for statements in migrations:
        for statement in statements:
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version={newest}")
    connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
    connection.execute("COMMIT")


def explain(error: sqlite3.Error, path: Path) -> JournalError:
    """Return what an error of SQLite's means for a journal."""
    code = getattr(error, "sqlite_errorcode", None)
    primary = code & 0xFF if code is not None else None
    if primary in _BUSY:
        return _in_use(path)
    if primary in _CORRUPT:
        return _damaged(path, error)
    if primary == sqlite3.SQLITE_FULL:
        return JournalError(f"{path}: the journal cannot be written, the disk is full")
    return JournalError(f"{path}: the journal cannot be used: {error}")


def _in_use(path: Path) -> JournalInUseError:
    return JournalInUseError(f"{path}: the journal is used by another process or pipeline: wait for it or stop it")


def _damaged(path: Path, how: object = "") -> JournalCorruptError:
    return JournalCorruptError(
        f"{path}: is no journal, or is damaged{f' ({how})' if how else ''}: it was left as it is; move it away"
    )
