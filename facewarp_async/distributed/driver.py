"""The driver: jobs to shards, shards to the cluster, outcomes back in the order of the jobs."""

from __future__ import annotations

import asyncio
import logging
import math
import pickle
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup
from distributed import Client

from facewarp_async.client import FaceSwapClient
from facewarp_async.config import Limits, Provider, credentials_from_env
from facewarp_async.distributed.coordinator import CLOSING_S
from facewarp_async.distributed.link import Value
from facewarp_async.distributed.places import Places
from facewarp_async.distributed.reaching import check_workers, reach
from facewarp_async.distributed.sending import Sender
from facewarp_async.distributed.values import OWN_VERSIONS, NumberedJob, RunSettings
from facewarp_async.distributed.worker import COORDINATOR
from facewarp_async.errors import ClusterError, ConfigurationError, FaceWarpError
from facewarp_async.journal import InDoubtChoice
from facewarp_async.models import Job
from facewarp_async.pipeline import BatchReport, Event, JobEnded, Outcome, OutcomeStream, Skipped
from facewarp_async.pipeline.names import NameBook
from facewarp_async.pipeline.stream import Jobs
from facewarp_async.urls import Location, as_location

logger: logging.Logger = logging.getLogger(__name__)

SHARD_SIZE = 20
"""How many jobs go to a worker together: few, so that all workers have something to do to the end."""


class DistributedPipeline:
    """As `SwapPipeline`, with the jobs done by the workers of a Dask cluster.

    Order, money, rate and cap are kept as on one machine: a coordinator in the cluster's scheduler holds the one
    journal, gives every call of the account its turn, and counts the tasks in flight. The workers may be killed,
    paused, added and retired while the batch runs. Media and results are where all workers see them.

    Leaving the block ends what the workers do for the batch, within two seconds. As with a single pipeline, tasks
    that were created go on at the service, and a later run with the same journal fetches them.

    Args:
        client: Says which service is asked, by whom and how; it makes no calls itself. Of a provider alone, the
            credentials are those of the environment, as for `FaceSwapClient.from_env`.
        dask_client: Leads to the cluster; made with ``asynchronous=True``. It stays the caller's to close.
        journal: A file on the scheduler's machine, by its absolute path, that remembers the batch. One batch at a time
            may use it.
        limits: Uploads and downloads of each worker, tasks in flight of all together; `Limits.read_ahead` grows with
            the cluster, to two shards for each of its threads.
        output_dir: Where results are written, as all workers see it: a folder that they share, or a URL; ``None``:
            results are not fetched.
        in_doubt: As for `SwapPipeline`. Jobs whose creates were on their way when their worker died are in doubt too.
        retry_failed: As for `SwapPipeline`.
        on_event: Told of each step, from the event loop; it must not block.
        shard_size: How many jobs go to a worker together.
    """

    def __init__(
        self,
        client: FaceSwapClient | Provider,
        dask_client: Client,
        *,
        journal: str | Path,
        limits: Limits | None = None,
        output_dir: str | Location | None = None,
        in_doubt: InDoubtChoice = "hold",
        retry_failed: bool = False,
        on_event: Callable[[Event], None] | None = None,
        shard_size: int = SHARD_SIZE,
    ) -> None:
        if not dask_client.asynchronous:
            raise ConfigurationError("the Dask client runs in a thread of its own: make it with asynchronous=True")
        if shard_size < 1:
            raise ConfigurationError("a shard holds one job at least")
        self._client = FaceSwapClient(client, credentials_from_env()) if isinstance(client, Provider) else client
        self._dask = dask_client
        self._limits = limits or Limits()
        self._output_dir = None if output_dir is None else as_location(output_dir)
        self._journal = str(journal)
        self._in_doubt: InDoubtChoice = in_doubt
        self._retry_failed = retry_failed
        self._on_event = on_event
        self._shard_size = shard_size
        self._name = uuid.uuid4().hex
        self._names = NameBook()
        self._stopped_by: FaceWarpError | None = None
        self._streams: list[OutcomeStream] = []
        self._told_left = math.inf
        self._tasks: TaskGroup | None = None
        self._left = False

    @property
    def stopped_by(self) -> FaceWarpError | None:
        """The error that stopped the batch: no credits, a token refused for good, or a full disk."""
        return self._stopped_by

    async def __aenter__(self) -> Self:
        """Put the coordinator into the scheduler, if it is not there yet, and have it open the journal.

        Raises:
            JournalInUseError: Another batch works with it.
            JournalCorruptError: It is no journal, damaged, or of a later version.
            ClusterError: The cluster cannot be reached, or one of its machines lacks the package.
            ConfigurationError: The scheduler has another version of the package; or the journal's path is relative, or
                the pipeline was entered before.
        """
        if self._tasks is not None:
            raise ConfigurationError("a pipeline is entered once: make a new one")
        self._places = Places(await anyio.to_thread.run_sync(Path.cwd), self._output_dir)
        await check_workers(self._dask)
        self._link = await reach(self._dask, self)
        self._reading = asyncio.create_task(self._link.run())
        try:
            packed = pickle.dumps(self._settings())
            threads = await self._link.call("open", self._name, OWN_VERSIONS, packed)
        except BaseException:
            self._link.close()
            raise
        if not threads:
            logger.warning("the cluster has no workers yet; the batch begins when the first one joins it")
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._sender = Sender(
            self._dask, self._link, self._name, shard_size=self._shard_size, threads=threads, tasks=self._tasks
        )
        self._reading.add_done_callback(self._lost)
        return self

    def _settings(self) -> RunSettings:
        folder = self._places.output_dir
        return RunSettings(
            client=self._client.settings,
            limits=self._limits,
            output_dir=folder,
            journal=self._journal,
            in_doubt=self._in_doubt,
            retry_failed=self._retry_failed,
            tells_stages=self._on_event is not None,
        )

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._tasks is not None
        self._left = True
        is_complete = all(stream.is_complete for stream in self._streams)
        for stream in self._streams:
            await stream.aclose()  # what the end of the link does to jobs is no error of theirs
        with anyio.CancelScope(shield=True):
            with anyio.move_on_after(CLOSING_S + 1), suppress(ClusterError):
                await self._link.call("close", is_complete)
            self._link.close()
            await self._reading
        self._tasks.cancel_scope.cancel()
        # Not told of the block's own error, the group does not wrap it: it leaves the block as it was raised.
        await self._tasks.__aexit__(None, None, None)
        for stream in self._streams:
            stream._tell_untaken()

    def _lost(self, _reading: asyncio.Task[None]) -> None:
        if self._left:
            return
        lost = f"the connection to {COORDINATOR} was lost; the journal has what was done until then"
        self._sender.fail(ClusterError(lost))

    async def answer(self, op: str, _arguments: tuple[Value, ...]) -> Value:
        """Answer a call: the coordinator makes none."""
        raise ClusterError(f"unknown call {op}")

    def note(self, op: str, arguments: tuple[Value, ...]) -> None:
        """Take a note of the coordinator's."""
        match op:
            case "outcome":
                self._sender.receive(*arguments)
                self._tell_left()
            case "threads":
                (self._sender.threads,) = arguments
            case "stop":
                self._stopped_by = pickle.loads(arguments[0])  # noqa: S301 - Dask's peers trust each other
                self._sender.withhold(lambda job: self._skipped(job.job))
            case "stage" if self._on_event is not None:
                self._on_event(pickle.loads(arguments[0]))  # noqa: S301 - the same

    def _tell_left(self) -> None:
        """Tell the coordinator how many jobs are left, once that is known: near the end calls go in another order."""
        left = sum(stream._left() for stream in self._streams)
        if left != self._told_left:
            self._told_left = left
            self._link.note("left", left)

    def stream(self, jobs: Jobs, *, ordered: bool = True) -> OutcomeStream:
        """Run jobs and give out what became of them.

        Closing the stream leaves what was sent to the cluster running until the pipeline is left.

        Args:
            jobs: Any iterable or async iterable, read lazily. A blocking one blocks the event loop.
            ordered: ``True``: outcomes in the order of the jobs. ``False``: as they finish.

        Raises:
            ConfigurationError: The pipeline was not entered, or was left.
        """
        if self._left:
            raise ConfigurationError("the pipeline was left: make a new one")
        if self._tasks is None:
            raise ConfigurationError("enter the pipeline first: async with DistributedPipeline(…) as pipeline")
        ahead = max(self._limits.read_ahead, 2 * self._shard_size * self._sender.threads)
        stream = OutcomeStream(jobs, self._outcome, workers=ahead, read_ahead=ahead, ordered=ordered)
        self._streams.append(stream)
        self._tasks.start_soon(stream._run)
        return stream

    async def collect(self, jobs: Jobs) -> BatchReport:
        """Run jobs to their end and return all outcomes, in the order of the jobs."""
        begun = time.monotonic()
        outcomes = await self.stream(jobs)._all()
        return BatchReport(outcomes=outcomes, elapsed_s=time.monotonic() - begun, stopped_by=self._stopped_by)

    async def _outcome(self, index: int, job: Job) -> Outcome:
        name = self._names.claim(job)
        if self._stopped_by is not None:
            outcome: Outcome = self._skipped(job)
        else:
            made = await self._sender.outcome(NumberedJob(index, name, self._places.job(job)))
            outcome = self._places.outcome(made, job)
        if self._on_event is not None:
            self._on_event(JobEnded(index=index, outcome=outcome))
        return outcome

    def _skipped(self, job: Job) -> Skipped:
        return Skipped(job=job, reason=f"the batch was stopped: {self._stopped_by}")
