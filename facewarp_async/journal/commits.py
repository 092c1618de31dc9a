"""One SQLite connection in one thread, many statements to a commit, each answered only after its commit."""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from attrs import define

from facewarp_async.errors import JournalError
from facewarp_async.journal.opening import explain

_MOST_IN_A_COMMIT = 1000

Rows = list[tuple[Any, ...]]


@define
class _Statement:
    sql: str
    values: Sequence[Any]
    answer: asyncio.Future[Rows] | None


@define
class _Batch:
    """Statements that share a commit, and their rows or the error of them all."""

    statements: list[_Statement]
    rows: list[Rows]
    error: JournalError | None = None


_Queue = queue.SimpleQueue[_Statement | None]


class GroupCommits:
    """Runs statements in the order they are given, as many in one transaction as have come by then.

    Args:
        path: The database file, for messages.
        connect: Opens it, in the thread.
    """

    def __init__(self, path: Path, connect: Callable[[], AbstractContextManager[sqlite3.Connection]]) -> None:
        self._path = path
        self._connect = connect
        self._queue: _Queue | None = None
        self._thread: threading.Thread | None = None

    async def open(self) -> None:
        """Start the thread and open the database. It may be opened again after it was closed, or could not be opened.

        Raises:
            JournalInUseError: Another connection holds the file.
            JournalCorruptError: It is no database, or damaged.
            JournalError: It cannot be opened.
        """
        loop = asyncio.get_running_loop()
        self._queue = queue.SimpleQueue()
        opened: asyncio.Future[None] = loop.create_future()
        self._thread = threading.Thread(
            target=self._run, args=(loop, self._queue, opened), name="facewarp-journal", daemon=True
        )
        self._thread.start()
        try:
            await opened
        except BaseException:  # also where the caller is cancelled: nobody else would close it
            await self.close()
            raise

    async def close(self) -> None:
        """Commit what was given and close. May be called twice."""
        if self._queue is not None and self._thread is not None:
            waiting, self._queue = self._queue, None
            waiting.put(None)
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self._thread.join)

    async def execute(self, sql: str, values: Sequence[Any] = ()) -> Rows:
        """Run a statement and return its rows once it is durable. Cancelling does not take it back.

        Raises:
            JournalError: It could not be committed.
        """
        if self._queue is None:
            raise JournalError(f"{self._path}: the journal is closed")
        answer: asyncio.Future[Rows] = asyncio.get_running_loop().create_future()
        self._queue.put(_Statement(sql, values, answer))
        return await answer

    def post(self, sql: str, values: Sequence[Any] = ()) -> None:
        """Run a statement with the next commit, and do not wait for it. It is lost where that commit fails."""
        if self._queue is not None:
            self._queue.put(_Statement(sql, values, None))

    def _run(self, loop: asyncio.AbstractEventLoop, waiting: _Queue, opened: asyncio.Future[None]) -> None:
        try:
            with self._connect() as connection:
                is_heard = _tell(loop, lambda: _settle(opened, None))
                while is_heard and (statements := _next(waiting)):
                    batch = self._commit(connection, statements)
                    is_heard = _tell(loop, lambda batch=batch: _answer(batch))  # type: ignore[misc]  # a default
        except Exception as error:
            failure = error if isinstance(error, JournalError) else JournalError(f"{self._path}: {error}")
            _tell(loop, lambda: _settle(opened, failure))

    def _commit(self, connection: sqlite3.Connection, statements: list[_Statement]) -> _Batch:
        batch = _Batch(statements, [])
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                batch.rows = _execute(connection, statements)
                connection.execute("COMMIT")
            except Exception:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            batch.error = explain(error, self._path)
        except Exception as error:  # a value that SQLite cannot hold: whatever it is, somebody waits for an answer
            batch.error = JournalError(f"{self._path}: cannot be written down: {error}")
        return batch


def _execute(connection: sqlite3.Connection, statements: list[_Statement]) -> list[Rows]:
    """Run statements in their order, and return the rows of each; changes of one kind in a row are given as one."""
    rows: list[Rows] = []
    for sql, group in groupby(statements, key=attrgetter("sql")):
        values = [statement.values for statement in group]
        if sql.startswith("SELECT"):
            rows += [connection.execute(sql, each).fetchall() for each in values]
        else:
            connection.executemany(sql, values)
            rows += [[]] * len(values)
    return rows


def _next(waiting: _Queue) -> list[_Statement]:
    """Wait for statements; none mean the end."""
    statements: list[_Statement] = []
    statement = waiting.get()
    while statement is not None:
        statements.append(statement)
        if len(statements) == _MOST_IN_A_COMMIT:
            return statements
        try:
            statement = waiting.get_nowait()
        except queue.Empty:
            return statements
    if statements:
        waiting.put(None)  # the end, seen while a commit was gathered: seen again after it
    return statements


def _tell(loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> bool:
    """Call back in the loop; ``False`` where it was closed without closing the journal: nobody waits any more."""
    try:
        loop.call_soon_threadsafe(callback)
    except RuntimeError:
        return False
    return True


def _settle(opened: asyncio.Future[None], failure: JournalError | None) -> None:
    if opened.done():  # its caller was cancelled, or the failure came at the end
        return
    if failure is None:
        opened.set_result(None)
    else:
        opened.set_exception(failure)


def _answer(batch: _Batch) -> None:
    for index, statement in enumerate(batch.statements):
        if statement.answer is None or statement.answer.done():  # nobody waits, or its caller was cancelled
            continue
        if batch.error is not None:
            statement.answer.set_exception(type(batch.error)(batch.error.message))
        else:
            statement.answer.set_result(batch.rows[index])
