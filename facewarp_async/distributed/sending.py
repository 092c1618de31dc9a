"""Jobs gathered to shards, and shards given to the cluster until all their jobs have an outcome."""

from __future__ import annotations

import asyncio
import itertools
import pickle
from collections.abc import Callable
from typing import Any

from anyio.abc import TaskGroup
from attrs import define, field
from distributed import Client, Future
from distributed.scheduler import KilledWorker

from facewarp_async.distributed.link import Link
from facewarp_async.distributed.values import OP, NumberedJob
from facewarp_async.distributed.worker import run_shard
from facewarp_async.errors import ClusterError, FaceWarpError
from facewarp_async.pipeline import Outcome
from facewarp_async.redaction import clean_text

_GATHER_S = 0.05
"""How long a job waits for others to go with, where the cluster has nothing else to do."""

_RETRIES = 5
"""How often Dask tries a shard again whose worker has lost the coordinator."""

_MOST_DEATHS = 5
"""How often a shard is given out again after Dask has given it up, because several workers died with it."""


@define(eq=False)
class _Shard:
    """Jobs that go out together, each with what waits for its outcome."""

    jobs: list[NumberedJob] = field(factory=list)
    outcomes: list[asyncio.Future[Outcome]] = field(factory=list)
    left: int = 0
    done: asyncio.Event = field(factory=asyncio.Event)


class Sender:
    """Has jobs done by the cluster.

    Args:
        dask_client: Leads to the cluster.
        link: Leads to the coordinator.
        run: The batch's name there.
        shard_size: How many jobs go out together.
        threads: How many shards the cluster works on at once.
        tasks: Where shards are waited for.
    """

    def __init__(
        self, dask_client: Client, link: Link, run: str, *, shard_size: int, threads: int, tasks: TaskGroup
    ) -> None:
        self.threads = threads
        self._dask = dask_client
        self._link = link
        self._run = run
        self._shard_size = shard_size
        self._tasks = tasks
        self._numbers = itertools.count()
        self._gathering = _Shard()
        self._sent: dict[int, _Shard] = {}
        self._undone = 0
        self._timer: asyncio.TimerHandle | None = None
        self._failure: FaceWarpError | None = None

    async def outcome(self, job: NumberedJob) -> Outcome:
        """Return what became of a job. Cancelling leaves it to the cluster.

        Raises:
            ClusterError: The cluster is lost, or cannot do it.
            ConfigurationError: A worker has another version of the package.
        """
        if self._failure is not None:
            raise self._failure
        outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        gathering = self._gathering
        gathering.jobs.append(job)
        gathering.outcomes.append(outcome)
        if len(gathering.jobs) == self._shard_size:
            self._send()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_GATHER_S, self._on_time)
        return await outcome

    def _on_time(self) -> None:
        self._timer = None
        self._send_rest()

    def _send_rest(self) -> None:
        """Send what was gathered, though it is no whole shard, if the cluster has little else to do."""
        if self._gathering.jobs and self._timer is None and self._undone < self._shard_size * max(self.threads, 1):
            self._send()

    def _send(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        shard, self._gathering = self._gathering, _Shard()
        shard.left = len(shard.jobs)
        self._undone += shard.left
        number = next(self._numbers)
        self._sent[number] = shard
        self._tasks.start_soon(self._see_done, number, shard)

    async def _see_done(self, number: int, shard: _Shard) -> None:
        try:
            await self._link.call("add", number, len(shard.jobs), pickle.dumps(shard.jobs))
            await self._have_done(number, shard)
        except FaceWarpError as error:
            self.fail(error)
        finally:
            del self._sent[number]
            self._link.note("forget", number)

    async def _have_done(self, number: int, shard: _Shard) -> None:
        for attempt in range(_MOST_DEATHS):
            task = self._dask.submit(
                run_shard, self._run, number, key=f"{OP}-{self._run}-{number}-{attempt}", pure=False, retries=_RETRIES
            )
            try:
                if await self._is_done(task, shard.done):
                    return
            finally:
                task.release()  # type: ignore[no-untyped-call]  # Dask's
        raise ClusterError(
            f"{_MOST_DEATHS} times over, workers died with the same {len(shard.jobs)} jobs, or left them"
        )

    async def _is_done(self, task: Future[Any], done: asyncio.Event) -> bool:
        """Wait until a shard's outcomes are all there; ``False``: its task has ended without them, or was given up,
        because workers died with it.

        Raises:
            FaceWarpError: It failed.
        """
        over, complete = asyncio.ensure_future(_end_of(task)), asyncio.ensure_future(done.wait())
        try:
            await asyncio.wait({over, complete}, return_when=asyncio.FIRST_COMPLETED)
            if complete.done():
                return True
            error = over.result()
            if isinstance(error, KilledWorker) or task.status == "cancelled":
                return False
            if error is not None:
                raise _explained(error)
            await self._link.call("heard")  # outcomes come another way; after this all that there are have come
            return done.is_set()
        finally:
            over.cancel()
            complete.cancel()

    def receive(self, number: int, place: int, packed: bytes) -> None:
        """Take a job's outcome."""
        shard = self._sent.get(number)
        if shard is None:
            return
        outcome = shard.outcomes[place]
        if not outcome.done():  # else nobody waits for it any more
            outcome.set_result(pickle.loads(packed))  # noqa: S301 - Dask's peers trust each other
        shard.left -= 1
        self._undone -= 1
        if not shard.left:
            shard.done.set()
        self._send_rest()

    def withhold(self, make: Callable[[NumberedJob], Outcome]) -> None:
        """Send no job that was not sent, and give it another outcome."""
        gathering, self._gathering = self._gathering, _Shard()
        for job, outcome in zip(gathering.jobs, gathering.outcomes, strict=True):
            if not outcome.done():
                outcome.set_result(make(job))

    def fail(self, error: FaceWarpError) -> None:
        """End all jobs with an error."""
        if self._failure is not None:
            return
        self._failure = error
        for shard in [*self._sent.values(), self._gathering]:
            for outcome in shard.outcomes:
                if not outcome.done():
                    outcome.set_exception(error)


async def _end_of(task: Future[Any]) -> BaseException | None:
    error: BaseException | None = await task.exception()  # type: ignore[no-untyped-call]  # Dask's
    return error


def _explained(error: BaseException) -> FaceWarpError:
    if isinstance(error, FaceWarpError):
        return error
    if isinstance(error, ModuleNotFoundError):
        return ClusterError(
            f"a worker lacks {error.name}: install facewarp-async[dask] there, the same version as here"
        )
    return ClusterError(f"a worker failed: {type(error).__name__}: {clean_text(str(error))}")
