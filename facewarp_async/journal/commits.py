"""One SQLite connection in one thread, many statements to a commit, each answered only after its commit."""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from attrs import define, frozen

from facewarp_async.errors import JournalCorruptError, JournalError, JournalInUseError

_MOST_IN_A_COMMIT = 1000
_FULL = {sqlite3.SQLITE_FULL}
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_CORRUPT = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}

Rows = list[tuple[Any, ...]]


@frozen
class _Statement:
    sql: str
    values: Sequence[Any]
    answer: asyncio.Future[Rows]


@define
class _Batch:
    """Statements that share a commit, and their rows or the error of them all."""

    statements: list[_Statement]
    rows: list[Rows]
    error: JournalError | None = None


class GroupCommits:
    """Runs statements in the order they are given, as many in one transaction as have come by then.

    Args:
        path: The database file.
        prepare: Called in the thread with the new connection, before anything else.
    """

    def __init__(self, path: Path, prepare: Callable[[sqlite3.Connection], None]) -> None:
        self._path = path
        self._prepare = prepare
        self._queue: queue.SimpleQueue[_Statement | None] = queue.SimpleQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    async def open(self) -> None:
        """Open the database and start the thread.

        Raises:
            JournalInUseError: Another connection holds the file.
            JournalCorruptError: It is no database, or damaged.
            JournalError: It cannot be opened.
        """
        self._loop = asyncio.get_running_loop()
        opened: asyncio.Future[None] = self._loop.create_future()
        self._thread = threading.Thread(target=self._run, args=(opened,), name="facewarp-journal", daemon=True)
        self._thread.start()
        try:
            await opened
        except JournalError:
            await self.close()
            raise

    async def close(self) -> None:
        """Commit what was given and close. May be called twice."""
        if self._thread is not None:
            thread, self._thread = self._thread, None
            self._queue.put(None)
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(thread.join)

    async def execute(self, sql: str, values: Sequence[Any] = ()) -> Rows:
        """Run a statement and return its rows once it is durable. Cancelling does not take it back.

        Raises:
            JournalError: It could not be committed.
        """
        if self._loop is None or self._thread is None:
            raise JournalError(f"{self._path}: the journal is closed")
        answer: asyncio.Future[Rows] = self._loop.create_future()
        self._queue.put(_Statement(sql, values, answer))
        return await answer

    def _run(self, opened: asyncio.Future[None]) -> None:
        assert self._loop is not None
        connection: sqlite3.Connection | None = None
        try:
            connection = sqlite3.connect(self._path, isolation_level=None, timeout=0)
            self._prepare(connection)
        except (sqlite3.Error, JournalError) as error:
            failure = error if isinstance(error, JournalError) else _explain(error, self._path)
            self._tell(lambda: _settle(opened, failure))
        else:
            self._tell(lambda: _settle(opened, None))
            while statements := self._next():
                batch = self._commit(connection, statements)
                self._tell(lambda batch=batch: _answer(batch))  # type: ignore[misc]  # mypy: default of a lambda
        finally:
            if connection is not None:
                connection.close()

    def _tell(self, callback: Callable[[], object]) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(callback)
        except RuntimeError:  # the loop was closed without closing the journal: nobody waits any more
            return

    def _next(self) -> list[_Statement]:
        statements: list[_Statement] = []
        waiting = self._queue.get()
        while waiting is not None:
            statements.append(waiting)
            if len(statements) == _MOST_IN_A_COMMIT:
                return statements
            try:
                waiting = self._queue.get_nowait()
            except queue.Empty:
                return statements
        if statements:
            self._queue.put(None)  # the end, seen while a commit was gathered: seen again after it
        return statements

    def _commit(self, connection: sqlite3.Connection, statements: list[_Statement]) -> _Batch:
        batch = _Batch(statements, [])
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                for statement in statements:
                    batch.rows.append(connection.execute(statement.sql, statement.values).fetchall())
                connection.execute("COMMIT")
            except sqlite3.Error:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            batch.error = _explain(error, self._path)
        return batch


def _settle(opened: asyncio.Future[None], failure: JournalError | None) -> None:
    if opened.cancelled():
        return
    if failure is None:
        opened.set_result(None)
    else:
        opened.set_exception(failure)


def _answer(batch: _Batch) -> None:
    for index, statement in enumerate(batch.statements):
        if statement.answer.done():  # its caller was cancelled
            continue
        if batch.error is not None:
            statement.answer.set_exception(type(batch.error)(batch.error.message))
        else:
            statement.answer.set_result(batch.rows[index])


def _explain(error: sqlite3.Error, path: Path) -> JournalError:
    code = getattr(error, "sqlite_errorcode", None)
    primary = code & 0xFF if code is not None else None
    if primary in _BUSY:
        return JournalInUseError(f"{path}: the journal is used by another process or pipeline: wait for it or stop it")
    if primary in _CORRUPT:
        return JournalCorruptError(
            f"{path}: is no journal, or is damaged ({error}): it was left as it is; move it away"
        )
    if primary in _FULL:
        return JournalError(f"{path}: the journal cannot be written, the disk is full")
    return JournalError(f"{path}: the journal cannot be used: {error}")
