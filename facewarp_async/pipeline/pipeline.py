"""The pipeline: each job through its stages, each stage with its limit."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, get_args

import anyio
from anyio.abc import TaskGroup
from attrs import define, evolve

from facewarp_async.checking import CheckedJob, check_job
from facewarp_async.client import FaceSwapClient
from facewarp_async.config import Limits
from facewarp_async.errors import (
    AuthenticationError,
    BatchStoppedError,
    ConfigurationError,
    CreditsExhaustedError,
    FaceWarpError,
    OutputError,
    Recovery,
    Stage,
)
from facewarp_async.files import is_same_file
from facewarp_async.journal import InDoubtChoice, JobJournal, Journal
from facewarp_async.models import Asset, FaceDetection, Job, Result, SwapResult
from facewarp_async.pipeline.collecting import MANY, collecting_old_seldom
from facewarp_async.pipeline.events import Event, JobEnded, Sendings, StageBegun
from facewarp_async.pipeline.memory import Counted, Memory, Occurrences
from facewarp_async.pipeline.names import NameBook, target_path
from facewarp_async.pipeline.outcomes import BatchReport, Completed, Failed, Outcome, Skipped
from facewarp_async.pipeline.run_notes import RunNotes
from facewarp_async.pipeline.slots import UploadSlots
from facewarp_async.pipeline.stream import Jobs, OutcomeStream
from facewarp_async.swaps import GRACE_S, JobRun, NoLog, Resources, TaskLog, run_tasks
from facewarp_async.uploads import SharedUploads
from facewarp_async.urls import Location, as_location


@define(eq=False)
class _Active:
    """A job that runs, and the handle to cancel it by."""

    run: JobRun
    scope: anyio.CancelScope


class SwapPipeline:
    """Runs many jobs at once over one client.

    Use it as ``async with``; leaving the block cancels what still runs. Tasks that were created then go on at the
    service, and what was not fetched by then has to be asked for by its task's id.

    Args:
        client: Makes the calls. It stays the caller's to close.
        limits: How much goes on at once in each stage.
        output_dir: Where results are written, each under its job's name: a folder, or a URL such as
            ``s3://bucket/folder``; ``None``: results are not fetched.
        journal: A file that remembers the batch: the same jobs with the same journal are gone on with where an earlier
            run ended, however it did. One process at a time may use it. ``None``: nothing is remembered.
            (A `JobJournal` is what `DistributedPipeline` gives to its workers' pipelines.)
        in_doubt: What to do about a job whose create was lost sight of in an earlier run, so that it may be paid for:
            ``"hold"`` lets it fail with `InDoubtError`, ``"recreate"`` creates it, perhaps for the second time.
        retry_failed: Whether jobs that the journal says have failed for good are tried again, and paid for again.
        on_event: Told of each step, from the event loop; it must not block. What it raises ends the batch, and is
            raised to the taker of outcomes.

    Raises:
        ConfigurationError: `in_doubt` is neither.
    """

    _grace_s = GRACE_S

    def __init__(
        self,
        client: FaceSwapClient,
        *,
        limits: Limits | None = None,
        output_dir: str | Location | None = None,
        journal: str | Path | JobJournal | None = None,
        in_doubt: InDoubtChoice = "hold",
        retry_failed: bool = False,
        on_event: Callable[[Event], None] | None = None,
    ) -> None:
        if in_doubt not in get_args(InDoubtChoice):
            raise ConfigurationError(f'in_doubt is {in_doubt!r}: expected "hold" or "recreate"')
        self._client = client
        self._limits = limits or Limits()
        self._output_dir = None if output_dir is None else as_location(output_dir)
        self._on_event = on_event
        self._realm = client.provider.realm or client.provider.base_url
        uploads = client.shared_uploads
        self._journal: Journal | None = None
        if isinstance(journal, str | Path):
            journal = self._journal = Journal(journal, realm=self._realm)
            uploads = SharedUploads(client.upload, self._journal)
        self._upload_slots = UploadSlots(self._limits.uploads)
        self._resources = Resources(client, uploads, nullcontext(), anyio.Semaphore(self._limits.in_flight))
        self._memory = None
        if journal is not None:
            self._memory = Memory(
                journal,
                uploads,
                realm=self._realm,
                output_dir=self._output_dir,
                in_doubt=in_doubt,
                retry_failed=retry_failed,
            )
        self._downloads = anyio.Semaphore(self._limits.downloads)
        self._collecting = collecting_old_seldom() if self._limits.in_flight > MANY else nullcontext()
        self._names = NameBook()
        self._notes = RunNotes(client)
        self._active: set[_Active] = set()
        self._tasks: TaskGroup | None = None
        self._left = False

    @property
    def stopped_by(self) -> FaceWarpError | None:
        """The error that stopped the batch: no credits, a token refused for good, or a full disk."""
        return self._notes.stopped_by

    async def __aenter__(self) -> Self:
        """Open the journal.

        Raises:
            JournalInUseError: Another process or pipeline works with it.
            JournalCorruptError: It is no journal, damaged, or of a later version.
            ConfigurationError: The pipeline was entered before.
        """
        if self._tasks is not None:
            raise ConfigurationError("a pipeline is entered once: make a new one")
        self._notes.begin()
        if self._memory is not None:
            await self._memory.open(self._notes.look)
        self._collecting.__enter__()
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._tasks is not None
        self._left = True
        self._tasks.cancel_scope.cancel()
        # Not told of the block's own error, the group does not wrap it: it leaves the block as it was raised.
        try:
            await self._tasks.__aexit__(None, None, None)
        finally:
            self._collecting.__exit__(None, None, None)
            self._notes.has_ended = True
            if self._memory is not None:
                await self._memory.close()
            for stream in self._notes.streams:
                stream._tell_untaken()

    def stream(self, jobs: Jobs, *, ordered: bool = True) -> OutcomeStream:
        """Run jobs and give out what became of them.

        Args:
            jobs: Any iterable or async iterable, read lazily. A blocking one blocks the event loop.
            ordered: ``True``: outcomes in the order of the jobs. ``False``: as they finish.

        Raises:
            ConfigurationError: The pipeline was not entered, or was left.
        """
        if self._left:
            raise ConfigurationError("the pipeline was left: make a new one")
        if self._tasks is None:
            raise ConfigurationError("enter the pipeline first: async with SwapPipeline(…) as pipeline")
        limits = self._limits
        stream = OutcomeStream(
            jobs,
            partial(self._outcome, Counted()),
            workers=limits.uploads + limits.in_flight + limits.downloads,
            read_ahead=limits.read_ahead,
            ordered=ordered,
        )
        self._notes.streams.append(stream)
        self._tasks.start_soon(self._run_counted, stream, self._client._counting(stream._left))
        return stream

    @staticmethod
    async def _run_counted(stream: OutcomeStream, counted: AbstractContextManager[None]) -> None:
        with counted:
            await stream._run()

    async def collect(self, jobs: Jobs) -> BatchReport:
        """Run jobs to their end and return all outcomes, in the order of the jobs.

        Cancelling cancels the jobs too.
        """
        begun = time.monotonic()
        outcomes = await self.stream(jobs)._all()
        return BatchReport(outcomes=outcomes, elapsed_s=time.monotonic() - begun, stopped_by=self._notes.stopped_by)

    async def _outcome(self, seen: Occurrences, index: int, job: Job) -> Outcome:
        return await self._lead(job, index, self._names.claim(job), seen)

    async def _lead(self, job: Job, index: int, name: str, seen: Occurrences) -> Outcome:
        run = JobRun(job, grace_s=self._grace_s)
        run.on_stage = lambda stage: self._tell(StageBegun(index=index, job=job, stage=stage, task_id=run.task_id))
        if self._on_event is not None:
            run.on_sent = Sendings(index, job, self._on_event)
        outcome = await self._run(run, name, seen)
        if self._memory is not None and isinstance(outcome, Skipped):
            self._memory.skipped(job, name)
        self._tell(JobEnded(index=index, outcome=outcome))
        return outcome

    async def _run(self, run: JobRun, name: str, seen: Occurrences) -> Outcome:
        if self._notes.stopped_by is not None:
            return _stopped(run, self._notes.stopped_by)
        outcome: Outcome | None = None
        active = _Active(run, anyio.CancelScope())
        self._active.add(active)
        try:
            with active.scope:
                outcome = await self._complete(run, name, seen)
        except BatchStoppedError:
            pass  # as if its scope had been cancelled
        except FaceWarpError as error:
            outcome = self._failed(run, error)
        finally:
            self._active.discard(active)
            run.end()
        return outcome or _stopped(run, self._notes.stopped_by)

    async def _complete(self, run: JobRun, name: str, seen: Occurrences) -> Outcome:
        run.enter(Stage.CHECK)
        checked = await self._check(run, name)
        if self._memory is None:
            return await self._finish(run, name, await self._run_tasks(self._resources, run, checked, NoLog()))
        async with self._memory.recall(run.job, checked, seen, run=run) as log:
            outcome = await self._memory.outcome(run, log, name)
            if outcome is not None:
                return outcome
            try:
                result = await self._run_tasks(self._resources_for(log.record.key), run, checked, log)
            except FaceWarpError as error:
                run.explain(error)
                await self._memory.failed(log, error)
                raise
            try:
                completed = await self._finish(run, name, result)
                await self._memory.done(log, completed)
            except FaceWarpError as error:
                run.explain(error)
                await self._memory.failed(log, error, for_good=False)
                raise
            return completed

    async def _run_tasks(self, resources: Resources, run: JobRun, checked: CheckedJob, log: TaskLog) -> Result:
        resources = evolve(resources, upload_slots=self._upload_slots.of(checked.kind))
        return await run_tasks(resources, run, checked, log)

    def _resources_for(self, _key: bytes) -> Resources:
        """Return what a job shares with others that is known in the journal by this key."""
        return self._resources

    async def _check(self, run: JobRun, name: str) -> CheckedJob:
        try:
            return await check_job(run.job)
        except FaceWarpError as error:
            run.explain(error)
            if self._memory is not None:
                await self._memory.unusable(run, name, error)
            raise

    async def _finish(self, run: JobRun, name: str, result: Result) -> Completed:
        path = await self._fetch(run, name, result)
        return Completed(job=run.job, result=result, path=path, durations_s=run.durations_s)

    async def _fetch(self, run: JobRun, name: str, result: Result) -> Location | None:
        if self._output_dir is None or isinstance(result, FaceDetection):
            return None
        run.enter(Stage.DOWNLOAD)
        target = target_path(self._output_dir, name, result)
        if not isinstance(run.job.media, Asset) and await is_same_file(run.job.media, target):
            raise OutputError(f"{target}: the result would replace the media")
        async with self._downloads:
            return await self._download(result, target)

    async def _download(self, result: SwapResult, target: Location) -> Location:
        return await self._client.download(result, target)

    def _failed(self, run: JobRun, error: FaceWarpError) -> Failed:
        run.explain(error)
        if error.recovery is Recovery.STOP_BATCH:
            self._stop(error)
        return Failed(
            job=run.job, error=error, stage=error.stage or run.stage, task_id=error.task_id, durations_s=run.durations_s
        )

    def _stop(self, error: FaceWarpError) -> None:
        """Let no further task be created, and end what cannot succeed any more.

        Without credits, tasks that were paid for are still waited for and fetched; without a token, results are still
        fetched. A create that may be on its way is never cancelled, because its answer is worth money.
        """
        if self._notes.stopped_by is not None:
            return
        self._notes.stopped_by = error
        for active in self._active:
            active.run.stopped = error
            if not active.run.sending and not _may_succeed(active.run, error):
                active.scope.cancel()

    def _tell(self, event: Event) -> None:
        if self._on_event is not None:
            self._on_event(event)


def _may_succeed(run: JobRun, error: FaceWarpError) -> bool:
    """Tell whether a job may be done all the same once an error has stopped the batch."""
    if isinstance(error, CreditsExhaustedError):
        return run.task_id is not None
    return isinstance(error, AuthenticationError) and run.stage is Stage.DOWNLOAD


def _stopped(run: JobRun, cause: FaceWarpError | None) -> Outcome:
    """Return the outcome of a job that the batch's end has ended: it was skipped, unless a task was paid for."""
    assert cause is not None  # nothing else ends a job from outside
    if run.task_id is None:
        return Skipped(job=run.job, reason=f"the batch was stopped: {cause}")
    error = copy.copy(cause)
    error.job, error.stage, error.task_id = run.job, run.stage, run.task_id
    return Failed(job=run.job, error=error, stage=run.stage, task_id=run.task_id, durations_s=run.durations_s)
