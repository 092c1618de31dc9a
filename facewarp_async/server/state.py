"""What the service remembers: objects, tasks, credits and secrets, in SQLite and in memory.

There is one writer, and a change is visible only once it is committed: what a caller was told survives ``kill -9``.
"""

from __future__ import annotations

import secrets
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from attrs import evolve

from facewarp_async.errors import ConfigurationError
from facewarp_async.server.records import (
    Progress,
    StoredObject,
    StoredTask,
    dump_object,
    dump_task,
    load_object,
    load_task,
)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS objects (key TEXT PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS tasks (id INTEGER PRIMARY KEY AUTOINCREMENT, value BLOB NOT NULL);
"""
_FIRST_TASK_ID = 100_000_000
_PUT_OBJECT = "INSERT OR REPLACE INTO objects VALUES (?, ?)"
_PUT_TASK = "INSERT OR REPLACE INTO tasks VALUES (?, ?)"
_PUT_SETTING = "INSERT OR REPLACE INTO settings VALUES (?, ?)"

Statement = tuple[str, tuple[Any, ...]]


class State:
    """The service's memory. Made by `open`, ended by `close`.

    Attributes:
        objects: What was uploaded and made, by key.
        tasks: The tasks, the oldest first, by number.
        progress: How many tasks are how far.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._writer = anyio.CapacityLimiter(1)
        self._lock = threading.Lock()
        self._settings: dict[str, str] = {}
        self._next_task_id = 1
        self.objects: dict[str, StoredObject] = {}
        self.tasks: dict[int, StoredTask] = {}
        self.progress: Counter[Progress] = Counter()

    @classmethod
    async def open(cls, folder: Path) -> State:
        """Read the state of a folder, or begin one.

        Raises:
            ConfigurationError: Another service uses the folder, or it cannot be written.
        """
        connection = await anyio.to_thread.run_sync(partial(_connect, folder))
        state = cls(connection)
        try:
            await anyio.to_thread.run_sync(state._load)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await state.close()
            raise
        return state

    async def close(self) -> None:
        """Close the database. Whatever was answered is on the disk already."""
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._close, limiter=self._writer)

    def _close(self) -> None:
        with self._lock:
            self._connection.close()

    def _load(self) -> None:
        rows = self._connection.execute
        self._settings = dict(rows("SELECT name, value FROM settings"))
        self.objects = {key: load_object(key, value) for key, value in rows("SELECT key, value FROM objects")}
        self.tasks = {id_: load_task(id_, value) for id_, value in rows("SELECT id, value FROM tasks ORDER BY id")}
        self.progress = Counter(task.progress for task in self.tasks.values())
        last = rows("SELECT seq FROM sqlite_sequence WHERE name = 'tasks'").fetchone()
        # A service that begins anew does not count from 1: a caller that remembers tasks of an earlier one at the same
        # address must not be given another job's.
        self._next_task_id = (last[0] if last else _FIRST_TASK_ID + secrets.randbelow(_FIRST_TASK_ID)) + 1

    async def _write(self, statements: Iterable[Statement]) -> None:
        await anyio.to_thread.run_sync(self._commit, list(statements), limiter=self._writer)

    def _commit(self, statements: list[Statement]) -> None:
        # The limiter alone is no lock: who is cancelled gives his place back while his thread goes on, and that of old
        # versions of anyio lets two in now and then.
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                for sql, values in statements:
                    self._connection.execute(sql, values)
                self._connection.execute("COMMIT")
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise

    async def setting(self, name: str, make: Callable[[], str] = secrets.token_hex) -> str:
        """Return a setting, made and kept the first time it is asked for."""
        if name not in self._settings:
            await self.set(name, make())
        return self._settings[name]

    async def set(self, name: str, value: str) -> None:
        """Keep a setting."""
        await self._write([(_PUT_SETTING, (name, value))])
        self._settings[name] = value

    async def put_object(self, stored: StoredObject) -> StoredObject | None:
        """Keep a key and what is behind it; return what was behind it before."""
        await self._write([(_PUT_OBJECT, (stored.key, dump_object(stored)))])
        before = self.objects.get(stored.key)
        self.objects[stored.key] = stored
        return before

    async def add_task(self, draft: StoredTask, *, credits: int | None, **changes: Any) -> StoredTask:
        """Give a task its number and keep it together with what is left of the credits.

        A number is never given twice, also not after a restart.
        """
        task = evolve(draft, id=self._next_task_id, **changes)
        self._next_task_id += 1
        statements: list[Statement] = [(_PUT_TASK, (task.id, dump_task(task)))]
        if credits is not None:
            statements.append((_PUT_SETTING, ("credits", str(credits))))
        await self._write(statements)
        self._show(task)
        return task

    async def end_task(self, task: StoredTask, *, objects: Iterable[StoredObject] = ()) -> None:
        """Keep a task that has ended together with the objects that it made."""
        made = list(objects)
        statements: list[Statement] = [(_PUT_OBJECT, (stored.key, dump_object(stored))) for stored in made]
        statements.append((_PUT_TASK, (task.id, dump_task(task))))
        await self._write(statements)
        self.objects.update((stored.key, stored) for stored in made)
        self._show(task)

    def show_processing(self, task_id: int) -> None:
        """Show a task as being worked on. Not kept: after a restart it waits again."""
        self._show(evolve(self.tasks[task_id], progress=Progress.PROCESSING))

    def _show(self, task: StoredTask) -> None:
        before = self.tasks.get(task.id)
        if before is not None:
            self.progress[before.progress] -= 1
        self.progress[task.progress] += 1
        self.tasks[task.id] = task

    async def forget(self, *, keys: Iterable[str] = (), task_ids: Iterable[int] = ()) -> None:
        """Drop keys and tasks."""
        keys, task_ids = list(keys), list(task_ids)
        statements: list[Statement] = [("DELETE FROM objects WHERE key = ?", (key,)) for key in keys]
        statements += [("DELETE FROM tasks WHERE id = ?", (task_id,)) for task_id in task_ids]
        await self._write(statements)
        for key in keys:
            self.objects.pop(key, None)
        for task_id in task_ids:
            if (task := self.tasks.pop(task_id, None)) is not None:
                self.progress[task.progress] -= 1


def _connect(folder: Path) -> sqlite3.Connection:
    try:
        # It holds secrets, and the folder may be one that all can look into. The log takes over its mode.
        (folder / "service.db").touch(mode=0o600)
        # Each call of the connection waits for the one before it, so that the thread it comes from does not matter.
        connection = sqlite3.connect(folder / "service.db", isolation_level=None, check_same_thread=False, timeout=0)
        try:
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.executescript(_SCHEMA)
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        in_use = "another service uses it; wait until that has ended, or name another"
        reason = in_use if "locked" in str(error) else str(error)
        raise ConfigurationError(f"the data directory {folder} cannot be opened: {reason}") from error
    return connection
