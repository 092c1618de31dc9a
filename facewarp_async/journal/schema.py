"""The journal's tables, and the steps from each version of them to the next."""

from __future__ import annotations

APPLICATION_ID = 0x46574A4C
"""Marks a database as a journal of this package: ``FWJL``."""

Migrations = tuple[tuple[str, ...], ...]

MIGRATIONS: Migrations = (
    (
        """
        CREATE TABLE jobs (
            key BLOB PRIMARY KEY,
            state TEXT NOT NULL,
            kind TEXT NOT NULL,
            media TEXT NOT NULL,
            pending TEXT,
            tasks TEXT NOT NULL,
            path BLOB,
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
    (
        "ALTER TABLE jobs ADD COLUMN name BLOB",
        "ALTER TABLE jobs ADD COLUMN source BLOB",
        "ALTER TABLE jobs ADD COLUMN steps TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE jobs ADD COLUMN created INTEGER NOT NULL DEFAULT 0",
        # One task for each colon: {"face detection": 7, "multiple image swap": 8}
        "UPDATE jobs SET created = length(tasks) - length(replace(tasks, ':', ''))",
        """
        CREATE TABLE runs (
            number INTEGER PRIMARY KEY,
            provider TEXT NOT NULL,
            began_at REAL NOT NULL,
            seen_at REAL NOT NULL,
            calls TEXT NOT NULL,
            ending TEXT,
            reason TEXT NOT NULL
        )
        """,
    ),
)
"""For each version the statements that lead to it from the one before; the first leads from an empty file."""
