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
)
"""For each version the statements that lead to it from the one before; the first leads from an empty file."""
