"""A worker's part in a batch: shards that come as Dask tasks, each run by the ordinary pipeline."""

from __future__ import annotations

import asyncio
import logging
import pickle
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from weakref import WeakKeyDictionary

import anyio
import anyio.to_thread
from attrs import evolve
from distributed.diagnostics.plugin import WorkerPlugin
from distributed.worker import Worker, get_worker

from facewarp_async.distributed.link import Link, Value, open_link
from facewarp_async.distributed.packing import pack_error, pack_outcome
from facewarp_async.distributed.publishing import own_name, publish
from facewarp_async.distributed.remote import (
    RemoteAssets,
    RemoteJournal,
    RemoteOccurrences,
    RemotePacer,
    RemoteSlot,
    RemoteSpending,
)
from facewarp_async.distributed.values import OP, OWN_VERSIONS, NumberedJob, RunSettings
from facewarp_async.errors import ClusterError, FaceWarpError, MissingFileError
from facewarp_async.journal import JobRecord
from facewarp_async.models import Job, SwapResult
from facewarp_async.pipeline import Event, Failed, Outcome, StageBegun, SwapPipeline
from facewarp_async.pipeline.memory import Occurrences
from facewarp_async.pipeline.slots import UploadSlots
from facewarp_async.spending import CappedClient
from facewarp_async.swaps import Resources
from facewarp_async.uploads import SharedUploads
from facewarp_async.urls import Location

logger: logging.Logger = logging.getLogger(__name__)

GRACE_S = 2.0
"""How long a worker that leaves waits for answers to creates: less than it has to end a batch that is closed."""

COORDINATOR = "the batch's coordinator in the Dask scheduler"

_parts: WeakKeyDictionary[Worker, dict[str, asyncio.Task[Part | None]]] = WeakKeyDictionary()


async def run_shard(run: str, number: int) -> None:
    """Run a shard's jobs, those that have no outcome yet.

    They come from the coordinator, and their outcomes go to it: Dask has no file's name, URL or result in its hands.

    Raises:
        ClusterError: The coordinator is lost, or has given this worker up; the jobs go to another.
        ConfigurationError: This worker has another version of the package than the scheduler.
    """
    parts = _parts.setdefault(get_worker(), {})
    joining = parts.get(run)
    if joining is None or (joining.done() and not _is_usable(joining)):
        joining = parts[run] = asyncio.create_task(Part.join(get_worker(), run))
    part = await asyncio.shield(joining)
    if part is not None:
        await part.run_shard(number)


def _is_usable(joining: asyncio.Task[Part | None]) -> bool:
    if joining.cancelled() or joining.exception() is not None:
        return False
    part = joining.result()
    return part is None or not part.link.is_lost


class Part:
    """What a worker's shards of one batch share: the link, the client, and the worker's own limits."""

    link: Link
    worker: str
    settings: RunSettings
    client: CappedClient
    _run_name: str
    _again: Callable[[], Awaitable[Link]]

    def __init__(self) -> None:
        self.stopped_by: FaceWarpError | None = None
        self._pipelines: set[_ShardPipeline] = set()
        self._scopes: set[anyio.CancelScope] = set()
        self.untold: list[JobRecord] = []
        """What became of creates, where the coordinator has not heard of it."""
        self._closing = asyncio.Event()
        self._is_leaving = False
        self._is_idle = asyncio.Event()
        self._is_idle.set()
        self._reading: asyncio.Task[None] | None = None
        self._forget: Callable[[], object] = lambda: None

    @classmethod
    async def join(cls, worker: Worker, run: str) -> Part | None:
        """Take part in a batch; ``None``: it has ended."""
        part = cls()
        part.worker = worker.address
        part.link = await open_link(
            worker.scheduler.address, {"op": OP}, part, name=COORDINATOR, options=worker.connection_args
        )
        part._again = lambda: open_link(
            worker.scheduler.address, {"op": OP}, part, name=COORDINATOR, options=worker.connection_args, timeout_s=2.0
        )
        part._run_name = run
        part._reading = asyncio.create_task(part._read())
        packed = await part.link.call("join", run, worker.address, OWN_VERSIONS)
        if packed is None:
            part.link.close()
            return None
        part._open(pickle.loads(packed))  # noqa: S301 - Dask's peers trust each other
        plugin = f"{OP}-{run}"
        await worker.plugin_add(_Leaving(part), name=plugin)

        def forget() -> None:
            worker.plugins.pop(plugin, None)
            _parts.get(worker, {}).pop(run, None)

        part._forget = forget
        return part

    def _open(self, settings: RunSettings) -> None:
        made = settings.client
        paced = made.provider.requests_per_second is not None
        self.settings = settings
        self.client = CappedClient(
            made.provider,
            made.credentials,
            timeouts=made.timeouts,
            retry=made.retry,
            poll_policy=made.polling,
            cache_dir=False,
            pacer=RemotePacer(self.link) if paced else None,
            most_tasks=made.most_tasks,
            spending=RemoteSpending(self.link),
        )
        self.client.shared_uploads = SharedUploads(self.client.upload, RemoteAssets(self.link))
        self.upload_slots: UploadSlots = UploadSlots(settings.limits.uploads)
        self.download_slots: anyio.Semaphore = anyio.Semaphore(settings.limits.downloads)

    async def _read(self) -> None:
        await self.link.run()
        await self._end_client()
        try:
            await self._tell_late()
        except ClusterError as error:
            logger.warning("what became of creates is not in the journal: %s; %s", self._late(), error)
        finally:
            self._forget()  # until now the worker waited for this, should it be closed

    async def _tell_late(self) -> None:
        """Tell what became of creates whose answers came after this worker was given up."""
        if not self.untold:
            return
        link = await self._again()
        reading = asyncio.create_task(link.run())
        try:
            while self.untold:
                if not await link.call("late", self._run_name, self.untold[-1].to_row()):
                    raise ClusterError("the batch has gone on without them")
                self.untold.pop()
        finally:
            link.close()
            await reading

    def _late(self) -> str:
        return ", ".join(f"{record.media}: tasks {sorted(record.tasks.values())}" for record in self.untold)

    async def answer(self, op: str, _arguments: tuple[Value, ...]) -> Value:
        """Answer a call: the coordinator makes none."""
        raise ClusterError(f"unknown call {op}")

    def note(self, op: str, arguments: tuple[Value, ...]) -> None:
        """Take a note of the coordinator's."""
        if op == "stop":
            self.stop(pickle.loads(arguments[0]))  # noqa: S301 - the same
        elif op == "close":
            self._end_shards()
        elif op == "leave":
            self._is_leaving = True
            self._end_shards()

    def stop(self, error: FaceWarpError) -> None:
        """Let no further task be created by any shard."""
        self.stopped_by = self.stopped_by or error
        for pipeline in self._pipelines:
            pipeline.stop(error)

    def _end_shards(self) -> None:
        self._closing.set()
        for scope in self._scopes:
            scope.cancel()
        if not self._scopes:
            self.link.close()

    async def run_shard(self, number: int) -> None:
        """Run a shard's jobs."""
        begun = await self._begin(number)
        if begun is None:
            return
        attempt, packed, places, stopped = begun
        jobs: list[NumberedJob] = pickle.loads(packed)  # noqa: S301 - the same
        scope = anyio.CancelScope()
        self._scopes.add(scope)
        self._is_idle.clear()
        try:
            with scope:
                await self._run(attempt, [(place, jobs[place]) for place in places], stopped)
        finally:
            self._scopes.discard(scope)
            if not self._scopes:
                self._is_idle.set()
                if self._closing.is_set():
                    self.link.close()
        if scope.cancelled_caught and self._is_leaving:
            raise ClusterError("the worker leaves")
        if scope.cancelled_caught and not self._closing.is_set():
            raise ClusterError(f"the connection to {COORDINATOR} was lost")

    async def _begin(self, number: int) -> Value:
        """Ask for a shard; ``None``: there is nothing left to do."""
        try:
            return None if self._closing.is_set() else await self.link.call("begin", number)
        except ClusterError:
            if self._closing.is_set():  # it was while this was asked
                return None
            raise

    async def _run(
        self, attempt: tuple[int, int], jobs: Sequence[tuple[int, NumberedJob]], stopped: bytes | None
    ) -> None:
        pipeline = _ShardPipeline(self, attempt, jobs)
        error = self.stopped_by if stopped is None else pickle.loads(stopped)  # noqa: S301 - the same
        if error is not None:
            pipeline.stop(error)
        self._pipelines.add(pipeline)
        try:
            async with pipeline:
                async for _ in pipeline.stream([numbered.job for _, numbered in jobs], ordered=False):
                    pass
        finally:
            self._pipelines.discard(pipeline)
            self.link.note("calls", self.client.calls_made)
        if not await self.link.call("end", attempt[0]):
            raise ClusterError("a shard ended before its jobs")

    async def close(self) -> None:
        """End what runs and close the client: of creates on their way the coordinator is told before others go on."""
        self._is_leaving = True
        self._end_shards()
        if self._reading is not None:
            await asyncio.wait({self._reading})

    async def _end_client(self) -> None:
        for scope in self._scopes:
            scope.cancel()
        await self._is_idle.wait()
        if hasattr(self, "client"):
            await self.client.aclose()


class _Leaving(WorkerPlugin):
    """Ends a part in a batch when its worker is closed."""

    def __init__(self, part: Part) -> None:
        self._part = part

    async def teardown(self, worker: Worker) -> None:  # noqa: ARG002 - Dask's signature
        await self._part.close()


class _ShardPipeline(SwapPipeline):
    """The ordinary pipeline, for one attempt at a shard.

    Args:
        part: What it shares with the worker's others.
        attempt: The attempt's number, and the how manieth it is at its shard.
        jobs: The jobs, each with its place in the shard.
    """

    _grace_s = GRACE_S

    def __init__(self, part: Part, attempt: tuple[int, int], jobs: Sequence[tuple[int, NumberedJob]]) -> None:
        settings = part.settings
        super().__init__(
            part.client,
            limits=settings.limits,
            output_dir=settings.output_dir,
            journal=RemoteJournal(part.link, attempt[0], part.untold.append),
            in_doubt=settings.in_doubt,
            retry_failed=settings.retry_failed,
            on_event=self._pass_on if settings.tells_stages else None,
        )
        self._link = part.link
        self._worker = part.worker
        self._attempt, self._ordinal = attempt
        self._jobs = jobs
        self._upload_slots = part.upload_slots
        self._downloads = part.download_slots

    async def _outcome(self, _seen: Occurrences, index: int, job: Job) -> Outcome:
        place, numbered = self._jobs[index]
        same = RemoteOccurrences(self._link, self._attempt, place)
        outcome = await self._lead(job, numbered.index, numbered.name, same)
        if isinstance(outcome, Failed) and isinstance(outcome.error, MissingFileError):  # others may see the file
            outcome.error.message += f", as the worker at {self._worker} sees it"
        self._link.note("outcome", self._attempt, place, pack_outcome(outcome))
        return outcome

    async def _download(self, result: SwapResult, target: Location) -> Location:
        if not isinstance(target, Path):
            return await super()._download(result, target)
        own = own_name(target, self._ordinal)
        await super()._download(result, own)
        try:
            await self._link.call("check", self._attempt)  # a worker that was given up replaces nobody's result
        except BaseException:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(partial(own.unlink, missing_ok=True))
            raise
        await anyio.to_thread.run_sync(publish, own, target, self._ordinal)
        return target

    def _resources_for(self, key: bytes) -> Resources:
        return evolve(self._resources, task_slots=RemoteSlot(self._link, self._attempt, key))

    def _pass_on(self, event: Event) -> None:
        if isinstance(event, StageBegun):
            self._link.note("stage", pickle.dumps(event))

    def _stop(self, error: FaceWarpError) -> None:
        if self.stopped_by is None and not isinstance(error, ClusterError):
            self._link.note("stop", pack_error(error))
        super()._stop(error)

    def stop(self, error: FaceWarpError) -> None:
        """Let no further task be created, because another shard has met an error that ends the batch."""
        super()._stop(error)
