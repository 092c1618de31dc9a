"""Calls and notes between two processes, without Dask."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from facewarp_async.distributed.link import Link, Value, open_link
from facewarp_async.errors import ClusterError, FaceWarpError, JournalInUseError

pytestmark = pytest.mark.anyio


class Pipe:
    """One end of a comm in memory."""

    def __init__(self) -> None:
        self.inbox: asyncio.Queue[object] = asyncio.Queue()
        self.peer: Pipe
        self.is_closed = False

    async def read(self) -> object:
        message = await self.inbox.get()
        if message is None:
            raise OSError("closed")
        return message

    async def write(self, message: object) -> None:
        if self.is_closed:
            raise OSError("closed")
        self.peer.inbox.put_nowait(list(message))  # type: ignore[call-overload]  # it is a list

    def abort(self) -> None:
        if not self.is_closed:
            self.is_closed = self.peer.is_closed = True
            self.inbox.put_nowait(None)
            self.peer.inbox.put_nowait(None)


class Answering:
    """Answers as it is told to, and remembers what it was asked and told."""

    def __init__(self) -> None:
        self.heard: list[tuple[Any, ...]] = []
        self.asked = anyio.Event()
        self.ended: list[str] = []

    async def answer(self, op: str, arguments: tuple[Value, ...]) -> Value:
        self.heard.append((op, *arguments))
        self.asked.set()
        if op == "wait":
            try:
                await asyncio.Event().wait()
            finally:
                self.ended.append(op)
        if op == "refuse":
            raise JournalInUseError("in use", task_id=7)
        if op == "break":
            raise KeyError("5ecret")
        return arguments

    def note(self, op: str, arguments: tuple[Value, ...]) -> None:
        self.heard.append((op, *arguments))


@asynccontextmanager
async def linked() -> AsyncIterator[tuple[Link, Answering]]:
    """Give one end of a link, and what answers at the other."""
    ours, theirs = Pipe(), Pipe()
    ours.peer, theirs.peer = theirs, ours
    other = Answering()
    link, back = Link(ours, Answering(), name="the other"), Link(theirs, other, name="this one")
    async with anyio.create_task_group() as group:
        group.start_soon(link.run)
        group.start_soon(back.run)
        yield link, other
        link.close()


async def test_what_was_said_comes_in_its_order() -> None:
    async with linked() as (link, other):
        for number in range(3000):  # more than go into one message
            link.note("note", number)
        assert await link.call("ask", 1, "two", None) == (1, "two", None)
        assert other.heard == [*(("note", number) for number in range(3000)), ("ask", 1, "two", None)]


async def test_an_error_of_the_packages_is_raised_at_the_caller_as_it_was() -> None:
    async with linked() as (link, _):
        with pytest.raises(JournalInUseError, match="in use") as caught:
            await link.call("refuse")
        assert caught.value.task_id == 7
        assert await link.call("ask") == (), "the link goes on"


async def test_a_fault_is_told_without_its_words_which_may_hold_anything(caplog: pytest.LogCaptureFixture) -> None:
    async with linked() as (link, _):
        with caplog.at_level(logging.ERROR), pytest.raises(ClusterError, match="break failed: KeyError") as caught:
            await link.call("break")
    assert "5ecret" not in str(caught.value)
    assert "break failed" in caplog.text, "where it happened it can be looked up"


async def test_a_call_that_is_given_up_is_ended_at_the_other_side() -> None:
    async with linked() as (link, other):
        async with anyio.create_task_group() as group:
            group.start_soon(link.call, "wait")
            await other.asked.wait()
            group.cancel_scope.cancel()
        assert await link.call("ask") == ()
        assert other.ended == ["wait"]


async def test_an_answer_that_nobody_waits_for_any_more_is_given_back() -> None:
    """The other side had answered when the caller was cancelled: what it gave must not be lost."""
    given_back: list[Value] = []
    async with linked() as (link, other):
        caller = asyncio.create_task(link.call("ask", 5, abandoned=given_back.append))
        await other.asked.wait()
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        await link.call("ask")
    assert given_back == [(5,)]


async def test_what_an_ended_link_leaves_is_an_error_for_who_waits_and_silence_for_notes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    async with linked() as (link, other):
        caller = asyncio.create_task(link.call("wait"))
        await other.asked.wait()
        link.close()
        with pytest.raises(ClusterError, match="the connection to the other was lost"):
            await caller
        with pytest.raises(ClusterError, match="the connection to the other was lost"):
            await link.call("ask")
        heard = len(other.heard)
        link.note("note")
        await anyio.wait_all_tasks_blocked()
        assert (link.is_lost, len(other.heard)) == (True, heard)
    assert other.ended == ["wait"], "what the other side did for it has ended too"
    assert "the connection to the other has ended: closed" in caplog.messages


async def test_where_nobody_listens_the_address_is_named() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(FaceWarpError, match=f"the scheduler at {address} cannot be reached"):
            await open_link(address, {"op": "x"}, Answering(), name="the scheduler", options={}, timeout_s=0.1)
