"""One writer, also when those who wait for it go away."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest

from facewarp_async.server.records import StoredObject
from facewarp_async.server.state import State

pytestmark = pytest.mark.anyio


class HeldUp:
    """A connection whose first transaction stands still once it has begun."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.has_begun = threading.Event()
        self.going_on = threading.Event()
        self.close = connection.close

    def execute(self, statement: str, values: tuple[Any, ...] = ()) -> None:
        self._connection.execute(statement, values)
        if not self.has_begun.is_set():
            self.has_begun.set()
            self.going_on.wait(10)


async def test_a_write_whose_caller_is_gone_is_not_disturbed_by_the_next(tmp_path: Path) -> None:
    state = await State.open(tmp_path)
    held_up = HeldUp(state._connection)
    state._connection = held_up  # type: ignore[assignment]  # as much of one as is needed
    first = asyncio.create_task(state.put_object(StoredObject(key="a", created=1.0)))
    await anyio.to_thread.run_sync(held_up.has_begun.wait)
    first.cancel()
    await asyncio.wait([first])
    second = asyncio.create_task(state.put_object(StoredObject(key="b", created=2.0)))
    await asyncio.wait([second], timeout=0.05)
    held_up.going_on.set()
    await second
    await state.close()
    assert first.cancelled()
    again = await State.open(tmp_path)
    assert set(again.objects) == {"a", "b"}
    await again.close()
