"""The journal's tables, and the steps from each version of them to the next."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from facewarp_async.errors import JournalCorruptError

APPLICATION_ID = 0x46574A4C
"""Marks a database as a journal of this package: ``FWJL``."""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """
        CREATE TABLE jobs (
            key BLOB PRIMARY KEY,
            state TEXT NOT NULL,
            kind TEXT NOT NULL,
            media TEXT NOT NULL,
            pending TEXT,
            tasks TEXT NOT NULL,
            path TEXT,
            size INTEGER,
            digest BLOB,
            result TEXT,
            error TEXT,
            updated_at REAL NOT NULL
        ) WITHOUT ROWID
        """,
        """
        CREATE TABLE assets (
            content BLOB NOT NULL,
            realm TEXT NOT NULL,
            key TEXT NOT NULL,
            media_type TEXT,
            uploaded_at REAL NOT NULL,
            PRIMARY KEY (content, realm)
        ) WITHOUT ROWID
        """,
    ),
)
"""For each version the statements that lead to it from the one before; the first leads from an empty file."""


def prepare(connection: sqlite3.Connection, path: Path, migrations: tuple[tuple[str, ...], ...] = MIGRATIONS) -> None:
    """Take the file for this connection alone, see that it is a journal, and bring it up to date.

    Raises:
        JournalCorruptError: It is another program's, damaged, or of a later version. It was not changed.
        sqlite3.Error: It is in use, or cannot be read or written.
    """
    connection.execute("PRAGMA locking_mode=EXCLUSIVE")
    connection.execute("BEGIN EXCLUSIVE")  # fails at once where another connection holds the file
    version = _check(connection, path, len(migrations))
    connection.execute("COMMIT")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")  # NORMAL may lose the last commits at a power cut: paying twice
    if version < len(migrations):
        connection.execute("BEGIN IMMEDIATE")
        for statements in migrations[version:]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version={len(migrations)}")
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        connection.execute("COMMIT")


def _check(connection: sqlite3.Connection, path: Path, newest: int) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if tables and application != APPLICATION_ID:
        raise JournalCorruptError(f"{path}: is another program's database, not a journal; it was not changed")
    if version > newest:
        raise JournalCorruptError(f"{path}: was written by a later version of facewarp-async; it was not changed")
    (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise JournalCorruptError(f"{path}: is damaged ({found}): it was left as it is; move it away")
    return int(version)
