"""The coordinator: the batches that run, each with its journal, its workers and its driver."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import pickle
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import anyio

from facewarp_async.config import ApiKey
from facewarp_async.distributed.account import Account
from facewarp_async.distributed.copying import CopySession
from facewarp_async.distributed.link import Comm, Link, Value
from facewarp_async.distributed.run import Run
from facewarp_async.distributed.sessions import DriverSession, WorkerSession
from facewarp_async.distributed.values import RunSettings, Versions, check_versions
from facewarp_async.errors import ClusterError, ConfigurationError
from facewarp_async.journal import Ending, JobRecord, Journal, RunRecord

logger: logging.Logger = logging.getLogger(__name__)

CLOSING_S = 3.0
"""How long workers may take to end what they do for a batch that is closed."""

LEAVING_S = 2.5
"""How long a worker that is given up or let go may tell of its creates: longer than it waits for their answers."""


class ActiveRun:
    """A batch that runs, its workers and its driver.

    Args:
        run: What its workers share.
        journal: Open; closed with it.
        account: What its calls wait at; ``None``: they need not wait.
    """

    def __init__(self, run: Run, journal: Journal, account: Account | None) -> None:
        self.run = run
        self.account = account
        self.driver: Link | None = None
        self.threads: int = 0
        self.workers: set[WorkerSession] = set()
        self._leaving: dict[object, asyncio.Task[None]] = {}
        self.stopped_by: bytes | None = None
        self.is_complete = False
        self.left: float = math.inf
        """How many jobs have no outcome yet; infinity while there may be more than the driver has read."""
        self._counting = ExitStack()
        if account is not None:
            self._counting.enter_context(account.pacer.counting(lambda: self.left))
        self._journal = journal
        self._began_at = time.time()
        self._calls: Counter[str] = Counter()
        self._is_empty = asyncio.Event()
        self._is_empty.set()
        self._closing: asyncio.Task[None] | None = None

    def enter(self, session: WorkerSession) -> None:
        """Have a worker."""
        self.workers.add(session)
        self._is_empty.clear()

    def leave(self, session: WorkerSession) -> None:
        """Take note that a worker is gone."""
        session.end()
        session.is_gone.set()
        self._calls.update(session.calls)
        self.workers.discard(session)
        if not self.workers:
            self._is_empty.set()

    def give_up(self, worker: str) -> None:
        """Take note that Dask has given up a worker, or let it go. Soon it may change nothing any more, should it live.

        Until then it tells of its creates that are on their way: nobody goes on with its jobs before.
        """
        for session in self.workers:
            if session.worker == worker and session not in self._leaving:
                session.link.note("leave")
                self._leaving[session] = asyncio.create_task(self._see_off(session))

    async def _see_off(self, session: WorkerSession) -> None:
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(session.is_gone.wait(), LEAVING_S)
            _cut_off(session)
        finally:
            del self._leaving[session]

    async def until_left(self, shard: int) -> None:
        """Wait while a worker that leaves may still tell of a shard's jobs."""
        before = self.run.shards.attempt_at(shard)
        leaving = None if before is None else self._leaving.get(before.owner)
        if leaving is not None:
            await asyncio.wait({leaving})

    def pass_on_outcome(self, shard: int, place: int, packed: bytes) -> None:
        """Tell the driver what became of a job."""
        if self.driver is not None:
            self.driver.note("outcome", shard, place, packed)

    def pass_on_stage(self, packed: bytes) -> None:
        """Tell the driver that a stage has begun."""
        if self.driver is not None:
            self.driver.note("stage", packed)

    def tell_threads(self, threads: int) -> None:
        """Tell the driver how many shards the cluster may work on at once."""
        self.threads = threads
        if self.driver is not None:
            self.driver.note("threads", threads)

    def stop(self, packed: bytes) -> None:
        """Have no worker create another task."""
        if self.stopped_by is not None:
            return
        self.stopped_by = packed
        for session in self.workers:
            session.link.note("stop", packed)
        if self.driver is not None:
            self.driver.note("stop", packed)

    async def close(self) -> None:
        """Have the workers end what they do, and close the journal. Waits for the end, also when called twice."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    @property
    def is_closing(self) -> bool:
        """Whether nothing new is begun."""
        return self._closing is not None

    async def _close(self) -> None:
        for session in self.workers:
            session.link.note("close")
        with suppress(TimeoutError):
            await asyncio.wait_for(self._is_empty.wait(), CLOSING_S)
        for session in list(self.workers):
            logger.warning("%s did not end its part of the batch in time", session.worker)
            _cut_off(session)
        self._counting.close()
        self.run.close()
        self._journal.end_run()
        await self._journal.__aexit__(None, None, None)

    def look(self) -> RunRecord:
        """Return what there is to say of the run."""
        calls = sum((Counter(session.calls) for session in self.workers), self._calls)
        stopped_by = None if self.stopped_by is None else pickle.loads(self.stopped_by)  # noqa: S301 - as above
        return RunRecord(
            provider=self.run.settings.client.provider.name,
            began_at=self._began_at,
            seen_at=time.time(),
            calls=calls,
            ending=self._ending() if self.is_closing else None,
            reason="" if stopped_by is None else str(stopped_by),
        )

    def _ending(self) -> Ending:
        if self.stopped_by is not None:
            return Ending.STOPPED
        return Ending.FINISHED if self.is_complete else Ending.INTERRUPTED


def _cut_off(session: WorkerSession) -> None:
    """Let a worker change nothing from now on, should it live."""
    session.end()
    session.link.close()


class Coordinator:
    """The batches of a cluster."""

    def __init__(self, threads: Callable[[], int]) -> None:
        self._threads = threads
        self._runs: dict[str, ActiveRun] = {}
        self._accounts: dict[bytes, Account] = {}
        self._ending: set[asyncio.Task[None]] = set()

    async def open(self, name: str, packed: bytes) -> ActiveRun:
        """Begin a batch.

        Raises:
            JournalInUseError: Another batch works with its journal.
            JournalError: The journal cannot be opened; other classes of it as `Journal` says.
            ConfigurationError: The journal's path is relative.
        """
        settings: RunSettings = pickle.loads(packed)  # noqa: S301 - Dask's peers trust each other
        await self._until_free(settings.journal)
        journal = Journal(settings.journal, realm=settings.realm)
        await journal.__aenter__()
        try:
            run = Run(settings, journal)
            await run.recall_tasks()
        except BaseException:
            with anyio.CancelScope(shield=True):
                await journal.__aexit__(None, None, None)
            raise
        active = self._runs[name] = ActiveRun(run, journal, self._account(settings))
        active.threads = self._threads()
        journal.begin_run(active.look)
        return active

    async def copy(self, path: str) -> CopySession | None:
        """Copy the journal of a batch that has ended; ``None``: there is none. Raises what `open` raises."""
        await self._until_free(path)
        return await CopySession.open(Path(path))

    async def _until_free(self, journal: str) -> None:
        """Wait for the ends of batches: that of a driver that died just now may hold the journal."""
        if not Path(journal).is_absolute():
            raise ConfigurationError(
                f"{journal}: the journal lies on the scheduler's machine, and its path must be absolute"
            )
        for ending in list(self._ending):
            await asyncio.wait({ending})

    def _account(self, settings: RunSettings) -> Account | None:
        """Return the pacer of the credentials: batches that share them share it, also one after the other."""
        provider, credentials = settings.client.provider, settings.client.credentials
        if provider.requests_per_second is None:
            return None
        secret = credentials.key if isinstance(credentials, ApiKey) else credentials.client_id
        known = hashlib.sha256(f"{provider.base_url} {provider.requests_per_second} {secret}".encode()).digest()
        if known not in self._accounts:
            self._accounts[known] = Account(provider.requests_per_second, settings.client.polling)
        return self._accounts[known]

    async def serve(self, comm: Comm) -> None:
        """Serve a worker or a driver until its connection ends."""
        door = _Door(self)
        door.link = Link(comm, door, name="the other side")
        try:
            await door.link.run()
        finally:
            door.leave()

    def active(self, name: str) -> ActiveRun | None:
        """Return a batch that goes on."""
        active = self._runs.get(name)
        return None if active is None or active.is_closing else active

    def end(self, name: str) -> None:
        """Close a batch whose driver is gone."""
        active = self._runs.pop(name, None)
        if active is not None:
            task = asyncio.create_task(active.close())
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    def give_up(self, worker: str) -> None:
        """Take note that Dask has given up a worker."""
        for active in self._runs.values():
            active.give_up(worker)

    def tell_threads(self) -> None:
        """Tell all drivers how many shards the cluster may work on at once."""
        for active in self._runs.values():
            active.tell_threads(self._threads())

    async def close(self) -> None:
        """Close all batches."""
        for name in list(self._runs):
            self.end(name)
        while self._ending:
            await asyncio.wait(self._ending)


class _Door:
    """One connection: who it is shows with its first call, ``join`` of a worker or ``open`` of a driver.

    ``late`` is that of a worker that was given up, and all that it may say; ``copy`` that of a reader of a journal.
    """

    link: Link

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator
        self._session: WorkerSession | DriverSession | CopySession | None = None
        self.leave: Callable[[], None] = lambda: None

    async def answer(self, op: str, arguments: tuple[Value, ...]) -> Value:
        """Answer a call."""
        if self._session is not None:
            return await self._session.answer(op, arguments)
        if op == "join":
            return self._join(*arguments)
        if op == "open":
            return await self._open(*arguments)
        if op == "late":
            return await self._late(*arguments)
        if op == "copy":
            return await self._copy(*arguments)
        raise ClusterError(f"{op} before joining")

    def _join(self, name: str, worker: str, versions: Versions) -> Value:
        check_versions(versions, who=f"the worker at {worker}")
        active = self._coordinator.active(name)
        if active is None:
            return None
        session = WorkerSession(active, worker, self.link)
        active.enter(session)
        self._session = session
        self.leave = lambda: active.leave(session)
        return pickle.dumps(active.run.settings)

    async def _late(self, name: str, row: tuple[Value, ...]) -> Value:
        active = self._coordinator.active(name)
        return active is not None and await active.run.write_late(JobRecord.from_row(row))

    async def _open(self, name: str, versions: Versions, packed: bytes) -> Value:
        check_versions(versions, who="the program that started the batch")
        active = await self._coordinator.open(name, packed)
        if self.link.is_lost:
            self._coordinator.end(name)
            raise ClusterError("the driver is gone")
        active.driver = self.link
        self._session = DriverSession(active)
        self.leave = lambda: self._coordinator.end(name)
        return active.threads

    async def _copy(self, versions: Versions, path: str) -> Value:
        check_versions(versions, who="the program that reads the journal")
        session = await self._coordinator.copy(path)
        if session is None:
            return False
        self._session = session
        self.leave = session.close
        if self.link.is_lost:
            session.close()
        return True

    def note(self, op: str, arguments: tuple[Value, ...]) -> None:
        """Take a note."""
        if self._session is not None:
            self._session.note(op, arguments)
