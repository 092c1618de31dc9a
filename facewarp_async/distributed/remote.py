"""What a worker's pipeline shares with those of other workers, reached over the link to the coordinator."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, nullcontext
from types import TracebackType

from attrs import frozen

from facewarp_async.distributed.link import Link
from facewarp_async.distributed.sessions import pack_asset, unpack_asset
from facewarp_async.distributed.turns import LIFE_S
from facewarp_async.errors import ClusterError, ConnectError, FaceWarpError, InDoubtError
from facewarp_async.journal import JobRecord, JobState, RunRecord
from facewarp_async.models import Asset, TaskKind
from facewarp_async.policy.rate import Priority
from facewarp_async.policy.watching import Watched

_BEAT_S = 0.5
"""How often a worker that waits for turns says that it is alive. Turns given later than that are younger than that."""


def steady_s() -> float:
    """Return seconds of a clock that goes on while the process is stopped and, where possible, the machine asleep."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot is None else time.clock_gettime(boot)


@frozen
class _RemoteTurn:
    """A turn of the coordinator's.

    Attributes:
        stamp: When this worker last said that it was alive before the turn was given, by its own clock. So the turn is
            no older than that, however long it lay unread because the worker was stopped.
    """

    link: Link
    number: int
    stamp: float

    def leaves(self) -> None:
        """Note that the call is about to be sent.

        Raises:
            ConnectError: The turn is too old to be sure that it still holds its place in the rate.
        """
        if steady_s() - self.stamp > LIFE_S or self.link.is_lost:
            self.link.note("lapsed", self.number)
            raise ConnectError("it was not sent: its turn came too long ago, because this worker was held up")
        self.link.note("used", self.number)


class _RemoteWatched(Watched):
    """A task in the coordinator's book; `number` is its name there."""


class RemotePacer:
    """The account's pacer.

    Args:
        link: Leads to the coordinator.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._numbers = itertools.count()
        self._asking = 0
        self._beat: asyncio.TimerHandle | None = None

    async def acquire(self, priority: Priority) -> _RemoteTurn:
        """Wait for leave to send one call. Cancelling the wait gives its place up.

        Raises:
            ClusterError: The coordinator is lost.
        """
        turn = await self._ask("turn", priority.value)
        assert turn is not None
        return turn

    async def _ask(self, op: str, about: int) -> _RemoteTurn | None:
        def give_back(given: tuple[int, float] | None) -> None:
            if given is not None:
                self._link.note("lapsed", given[0])

        self._asking += 1
        self._say_alive()
        try:
            given = await self._link.call(op, about, abandoned=give_back)
        finally:
            self._asking -= 1
        return None if given is None else _RemoteTurn(self._link, *given)

    def _say_alive(self) -> None:
        self._link.note("alive", steady_s())
        if self._beat is None:
            self._beat = asyncio.get_running_loop().call_later(_BEAT_S, self._go_on)

    def _go_on(self) -> None:
        self._beat = None
        if self._asking and not self._link.is_lost:
            self._say_alive()

    @contextmanager
    def watching(self, kind: TaskKind | None, *, is_fresh: bool, deadline: float) -> Iterator[Watched]:
        """Have a task in the account's book."""
        now = asyncio.get_running_loop().time()
        watched = _RemoteWatched(kind, now, number=next(self._numbers), deadline=deadline)
        self._link.note("watch", watched.number, None if kind is None else kind.value, is_fresh, deadline - now)
        try:
            yield watched
        finally:
            self._link.note("unwatch", watched.number)

    def counting(self, _left: Callable[[], float]) -> AbstractContextManager[None]:
        """Do nothing: how many jobs are left in all, the driver says."""
        return nullcontext()

    async def look_turn(self, watched: Watched) -> _RemoteTurn | None:
        """Wait for leave to look at a task; ``None``: its deadline has passed.

        Raises:
            ClusterError: The coordinator is lost.
        """
        return await self._ask("look", watched.number)

    def looked(self, watched: Watched, asked_at: float, *, done: bool) -> None:
        """Note what a look has found, that was asked for at a time of the loop's clock."""
        self._link.note("looked", watched.number, asyncio.get_running_loop().time() - asked_at, done)

    def missed(self, watched: Watched) -> None:
        """Note that a look brought no answer."""
        self._link.note("missed", watched.number)

    def refused(self, retry_after_s: float | None) -> None:
        """Hold the calls of all workers back, because the service said "too many requests"."""
        self._link.note("refused", retry_after_s)

    def accepted(self) -> None:
        """Note that the service did not refuse a call."""
        self._link.note("accepted")

    def unanswered(self) -> None:
        """Note that a call ended without an answer."""
        self._link.note("unanswered")


class RemoteAssets:
    """What any worker has uploaded; an `AssetStore`.

    Args:
        link: Leads to the coordinator.
    """

    def __init__(self, link: Link) -> None:
        self._link = link

    async def get(self, content: bytes) -> Asset | None:
        """Return the asset of a content that was uploaded lately."""
        return unpack_asset(await self._link.call("asset", content))

    @asynccontextmanager
    async def turn(self, content: bytes) -> AsyncIterator[Asset | None]:
        """Upload a content as the only worker that does."""

        def end(others: object) -> None:
            if others is None:
                self._link.note("end upload", content)

        others = await self._link.call("begin upload", content, abandoned=end)
        try:
            yield unpack_asset(others)
        finally:
            end(others)

    async def put(self, content: bytes, asset: Asset) -> None:
        """Remember an upload."""
        await self._link.call("put", content, pack_asset(asset))

    async def drop(self, content: bytes, asset: Asset) -> None:
        """Forget an upload, unless another has taken its place."""
        await self._link.call("drop", content, pack_asset(asset))


class RemoteJournal:
    """The batch's journal, for one attempt at a shard; a `JobJournal`.

    Args:
        link: Leads to the coordinator.
        attempt: The attempt's number. Once another has taken its place, the coordinator refuses what it writes.
        untold: Given records that say what became of a create, and that could not be written down any more.
    """

    def __init__(self, link: Link, attempt: int, untold: Callable[[JobRecord], None]) -> None:
        self._link = link
        self._attempt = attempt
        self._untold = untold
        self._intents: set[bytes] = set()

    async def __aenter__(self) -> RemoteJournal:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass

    async def recall(self, key: bytes, kind: TaskKind, media: str) -> JobRecord:
        """Return what is known of a job, which nobody else works on from now on.

        Raises:
            ClusterError: The coordinator is lost, or the attempt has ended.
        """
        shown = media.encode(errors="backslashreplace").decode()
        return JobRecord.from_row(await self._link.call("recall", self._attempt, key, kind.value, shown))

    def release(self, key: bytes) -> None:
        """Let others work on a job."""
        self._link.note("release", self._attempt, key)

    async def write(self, record: JobRecord) -> None:
        """Write a record down.

        Raises:
            ClusterError: The coordinator is lost, or the attempt has ended.
        """
        ends_intent = record.state is not JobState.INTENT and record.key in self._intents
        if record.state is JobState.INTENT:
            self._intents.add(record.key)
        else:
            self._intents.discard(record.key)
        try:
            await self._link.call("write", self._attempt, record.to_row())
        except ClusterError:
            if ends_intent:
                self._untold(record)
            raise

    def post(self, record: JobRecord) -> None:
        """Write a record down without waiting for it."""
        self._link.note("post", record.to_row())

    def begin_run(self, look: Callable[[], RunRecord]) -> None:
        """Do nothing: the coordinator notes the run of all workers."""

    def end_run(self) -> None:
        """Do nothing."""


@frozen
class RemoteOccurrences:
    """Tells a job apart from those of the whole batch that are the same."""

    link: Link
    attempt: int
    place: int

    async def number(self, mark: bytes) -> int:
        """Return how many others have asked before; the same again where the job is begun again."""
        number: int = await self.link.call("occurrence", self.attempt, self.place, mark)
        return number


@frozen
class RemoteSlot:
    """A job's place among the account's tasks in flight."""

    link: Link
    attempt: int
    key: bytes

    async def __aenter__(self) -> None:
        await self.link.call("take slot", self.attempt, self.key, abandoned=lambda _: self._free(has_ended=True))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        is_told = error is None or (isinstance(error, FaceWarpError) and not isinstance(error, InDoubtError))
        self._free(has_ended=is_told)

    def _free(self, *, has_ended: bool) -> None:
        self.link.note("free slot", self.attempt, self.key, has_ended)


@frozen
class RemoteSpending:
    """The limit of the tasks that the batch may create."""

    link: Link

    async def begin(self) -> None:
        """Have leave to create one task more.

        Raises:
            SpendingLimitError: As many were created as are allowed.
            ClusterError: The coordinator is lost.
        """
        await self.link.call("spend", abandoned=lambda _: self.end(may_be_created=False))

    def end(self, *, may_be_created: bool) -> None:
        """Say whether the task may have been created."""
        self.link.note("spent", may_be_created)
