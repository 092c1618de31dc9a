"""What the coordinator is asked: by the workers of a batch, and by its driver."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from facewarp_async.distributed.account import Caller
from facewarp_async.distributed.link import Link, Value
from facewarp_async.distributed.shards import Attempt
from facewarp_async.errors import ClusterError
from facewarp_async.journal import JobRecord
from facewarp_async.models import Asset, MediaType, TaskKind

if TYPE_CHECKING:
    from facewarp_async.distributed.coordinator import ActiveRun


def pack_asset(asset: Asset | None) -> Value:
    """Write an asset for a link."""
    if asset is None:
        return None
    return asset.key, None if asset.media_type is None else asset.media_type.name


def unpack_asset(value: Value) -> Asset | None:
    """Reverse `pack_asset`."""
    if value is None:
        return None
    key, media_type = value
    return Asset(key, media_type=None if media_type is None else MediaType[media_type])


class WorkerSession:
    """A worker of a batch, for as long as its connection lasts.

    Args:
        active: The batch.
        worker: The worker's address.
        link: Leads to it.
    """

    def __init__(self, active: ActiveRun, worker: str, link: Link) -> None:
        self.worker = worker
        self.link = link
        self._active = active
        self._run = run = active.run
        self._caller = None if active.account is None else Caller(active.account)
        self._calls: dict[str, Callable[..., Awaitable[Value]]] = {
            "begin": self._begin,
            "end": self._end,
            "check": self._check,
            "occurrence": self._occurrence,
            "recall": self._recall,
            "write": self._write,
            "take slot": self._take_slot,
            "asset": self._asset,
            "begin upload": self._begin_upload,
            "put": self._put,
            "drop": self._drop,
            "spend": self._spend,
        }
        self._notes: dict[str, Callable[..., None]] = {
            "outcome": self._outcome,
            "stage": self._active.pass_on_stage,
            "release": lambda number, key: self._of(number, lambda attempt: run.release(attempt, key)),
            "free slot": lambda number, key, has_ended: self._of(
                number, lambda attempt: run.free_slot(attempt, key, has_ended=has_ended)
            ),
            "post": lambda row: run.post(JobRecord.from_row(row)),
            "end upload": lambda content: run.end_upload(content, self),
            "stop": self._active.stop,
            "calls": self._count_calls,
            "spent": self._spent,
        }
        if self._caller is not None:
            caller = self._caller
            self._calls |= {"turn": self._turn, "look": self._look}
            self._notes |= {
                "used": caller.used,
                "lapsed": caller.lapsed,
                "refused": caller.refused,
                "accepted": caller.accepted,
                "unanswered": caller.unanswered,
                "watch": caller.watch,
                "looked": caller.looked,
                "missed": caller.missed,
                "unwatch": caller.unwatch,
                "alive": self._alive,
            }
        self._stamp = 0.0
        self.is_gone: asyncio.Event = asyncio.Event()
        """Whether its connection has ended."""
        self._spending = 0
        self._has_ended = False
        self.calls: dict[str, int] = {}
        """How many API calls the worker has made, by their paths."""

    async def answer(self, op: str, arguments: tuple[Value, ...]) -> Value:
        """Answer a call."""
        return await self._calls[op](*arguments)

    def note(self, op: str, arguments: tuple[Value, ...]) -> None:
        """Take a note."""
        self._notes[op](*arguments)

    def end(self) -> None:
        """Take from the worker what it has: it is gone, or given up."""
        self._has_ended = True
        creates = self._run.creates_of(self)
        while self._spending:
            self._spent(self._spending <= creates)
        self._run.end_all(self)
        if self._caller is not None:
            self._caller.end()

    def _of(self, number: int, act: Callable[[Attempt], None]) -> None:
        """Act on an attempt, if it has not ended."""
        try:
            attempt = self._run.shards.attempt(number, self)
        except ClusterError:
            return
        act(attempt)

    def _count_calls(self, calls: dict[str, int]) -> None:
        self.calls = calls

    async def _begin(self, number: int) -> Value:
        await self._active.until_left(number)
        attempt = None if self._active.is_closing else self._run.begin(number, self)
        if attempt is None:
            return None
        name = attempt.number, attempt.ordinal
        return name, attempt.shard.jobs, sorted(attempt.shard.open), self._active.stopped_by

    async def _end(self, number: int) -> Value:
        attempt = self._run.shards.attempt(number, self)
        self._run.end(attempt)
        return not attempt.shard.open

    async def _check(self, number: int) -> Value:
        self._run.shards.attempt(number, self)

    def _outcome(self, number: int, place: int, packed: bytes) -> None:
        def pass_on(attempt: Attempt) -> None:
            if self._run.shards.ended(attempt, place):
                self._active.pass_on_outcome(attempt.shard.number, place, packed)

        self._of(number, pass_on)

    async def _occurrence(self, number: int, place: int, mark: bytes) -> Value:
        return self._run.shards.occurrence(self._run.shards.attempt(number, self), place, mark)

    async def _recall(self, number: int, key: bytes, kind: str, media: str) -> Value:
        attempt = self._run.shards.attempt(number, self)
        return (await self._run.recall(attempt, key, TaskKind(kind), media)).to_row()

    async def _write(self, number: int, row: tuple[Any, ...]) -> Value:
        await self._run.write(self._run.shards.attempt(number, self), JobRecord.from_row(row))

    async def _take_slot(self, number: int, key: bytes) -> Value:
        await self._run.take_slot(self._run.shards.attempt(number, self), key)

    async def _asset(self, content: bytes) -> Value:
        return pack_asset(await self._run.asset(content))

    async def _begin_upload(self, content: bytes) -> Value:
        return pack_asset(await self._run.begin_upload(content, self))

    async def _put(self, content: bytes, asset: Value) -> Value:
        known = unpack_asset(asset)
        assert known is not None
        await self._run.put(content, known)

    async def _drop(self, content: bytes, asset: Value) -> Value:
        known = unpack_asset(asset)
        assert known is not None
        await self._run.drop(content, known)

    async def _spend(self) -> Value:
        assert self._run.spending is not None
        await self._run.spending.begin()
        self._spending += 1
        if self._has_ended:
            self._spent(False)
            raise ClusterError("this worker was given up, and its jobs went to another")

    def _spent(self, may_be_created: bool) -> None:
        if self._spending:  # else it was given up before it said so
            assert self._run.spending is not None
            self._spending -= 1
            self._run.spending.end(may_be_created=may_be_created)

    def _alive(self, stamp: float) -> None:
        self._stamp = stamp

    async def _turn(self, priority: int) -> Value:
        assert self._caller is not None
        return await self._caller.turn(priority), self._stamp

    async def _look(self, watched: int) -> Value:
        assert self._caller is not None
        number = await self._caller.look(watched)
        return None if number is None else (number, self._stamp)


class DriverSession:
    """The driver of a batch; the batch ends with its connection."""

    def __init__(self, active: ActiveRun) -> None:
        self._active = active

    async def answer(self, op: str, arguments: tuple[Value, ...]) -> Value:
        """Answer a call."""
        match op:
            case "add":
                self._active.run.shards.add(*arguments)
            case "heard":  # whatever the workers had said before is on its way before this answer
                pass
            case "close":
                self._active.is_complete = bool(arguments[0])
                await self._active.close()

    def note(self, op: str, arguments: tuple[Value, ...]) -> None:
        """Take a note."""
        match op:
            case "forget":
                self._active.run.shards.forget(*arguments)
            case "left":
                (self._active.left,) = arguments
