"""A batch that runs: its outcomes told one by one, and what there is to say at the end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import anyio
from attrs import frozen

from facewarp_async.cli.cluster import open_cluster
from facewarp_async.cli.exits import ExitCode, exit_code_for
from facewarp_async.cli.failures import failure_text
from facewarp_async.cli.output import Output
from facewarp_async.cli.progress import OnEvent, batch_progress
from facewarp_async.cli.provider import LOCAL
from facewarp_async.cli.records import as_told, outcome_record
from facewarp_async.cli.resuming import AnyPipeline, entered, next_steps
from facewarp_async.cli.selection import BatchJobs
from facewarp_async.cli.tally import Tally
from facewarp_async.client import FaceSwapClient
from facewarp_async.config import Limits
from facewarp_async.errors import FaceWarpError, InDoubtError
from facewarp_async.journal import InDoubtChoice
from facewarp_async.pipeline import Completed, Failed, Outcome, SwapPipeline
from facewarp_async.remote.threads import Line
from facewarp_async.text import seconds
from facewarp_async.urls import Location

_COUNTED_AT_ONCE = 500
_LOOK_AHEAD_S = 1.0


@frozen(kw_only=True)
class BatchSettings:
    """What a batch does with its jobs.

    Attributes:
        source: Where they come from, for messages.
        out: Where results go.
        as_json: Whether stdout gets an object for each job, instead of the paths that were written.
        limits: How much goes on at once.
        journal: Where it is remembered while it runs; ``None``: nowhere.
        copy: A file to copy the journal to at the end, from the scheduler's machine; ``None``: none.
        is_kept: Whether the next run will know of this one.
        in_doubt: What to do about creates that were lost sight of.
        retry_failed: Whether jobs that had failed are tried again.
        dask: The address of the scheduler whose workers do them; ``None``: this machine does.
    """

    source: Location
    out: Location
    as_json: bool
    limits: Limits
    journal: Path | None
    is_kept: bool
    in_doubt: InDoubtChoice
    retry_failed: bool
    dask: str | None = None
    copy: Path | None = None


class BatchRun:
    """A batch that runs.

    Args:
        settings: What was asked for.
        jobs: What there is to do.
        client: Of the service that was chosen.
        output: Where to tell of it.
    """

    def __init__(self, settings: BatchSettings, jobs: BatchJobs, client: FaceSwapClient, output: Output) -> None:
        self._settings = settings
        self._output = output
        self._jobs = jobs
        self._client = client
        self._is_free = client.provider.name == LOCAL
        self._tally = Tally(
            rate=client.provider.requests_per_second,
            foresee=client.work_left if settings.dask is None else None,  # else other processes know
        )
        self._begun: float | None = None

    async def __call__(self) -> ExitCode:
        """Run it to its end."""
        output, tally = self._output, self._tally
        how, ending = "interrupted", None
        try:
            with batch_progress(output, tally) as on_event:
                async with self._pipeline(on_event) as made, entered(made) as pipeline:
                    self._begun = time.monotonic()
                    ending = await self._stream(pipeline)
            how = "finished" if ending is None else "stopped"
        finally:
            self._tell_end(how)
        if ending is not None:
            output.warn(str(ending))
            return exit_code_for(ending)
        if not tally.ended:
            output.say(f"{self._settings.source} holds no pictures and no videos that were asked for")
        return ExitCode.FAILED if tally.failed else ExitCode.DONE

    @asynccontextmanager
    async def _pipeline(self, on_event: OnEvent) -> AsyncIterator[AnyPipeline]:
        settings = self._settings
        options: dict[str, Any] = {
            "limits": settings.limits,
            "output_dir": settings.out,
            "journal": settings.journal,
            "in_doubt": settings.in_doubt,
            "retry_failed": settings.retry_failed,
            "on_event": on_event,
        }
        if settings.dask is None:
            yield SwapPipeline(self._client, **options)
            return
        async with open_cluster(settings.dask) as cluster:
            from facewarp_async.distributed import DistributedPipeline, copy_journal  # noqa: PLC0415 - an extra

            assert settings.journal is not None
            options["journal"] = journal = settings.journal.absolute()
            yield DistributedPipeline(self._client, cluster, **options)
            if settings.copy is not None:
                await copy_journal(cluster, journal, settings.copy)

    async def _stream(self, pipeline: AnyPipeline) -> FaceWarpError | None:
        """Run the jobs and tell of each; return the error that has ended them before their time."""
        ending: FaceWarpError | None = None
        async with anyio.create_task_group() as group:
            group.start_soon(_count, self._jobs, self._tally)
            group.start_soon(_look_ahead, self._tally)
            try:
                async for outcome in pipeline.stream(self._jobs):
                    await self._tell(outcome)
            except FaceWarpError as error:  # the folder cannot be read on
                ending = error
            group.cancel_scope.cancel()
        return ending or pipeline.stopped_by

    async def _tell(self, outcome: Outcome) -> None:
        outcome = as_told(outcome)
        if isinstance(outcome, Failed):
            kind = "in doubt" if isinstance(outcome.error, InDoubtError) else "failed"
            self._output.say(f"{kind}: {failure_text(outcome, is_free=self._is_free)}", style="red")
        if self._settings.as_json:
            await self._output.json(outcome_record(outcome))
        elif isinstance(outcome, Completed) and outcome.path is not None:
            await self._output.path(outcome.path)

    def _tell_end(self, how: str) -> None:
        if self._begun is None:  # it did not even begin
            return
        self._output.say(f"{how}: {self._tally.summary()}, {seconds(time.monotonic() - self._begun)}")
        steps = next_steps(
            self._tally,
            is_complete=how == "finished",
            has_journal=self._settings.is_kept,
            is_free=self._is_free,
        )
        for step in steps:
            self._output.say(step)


async def _look_ahead(tally: Tally) -> None:
    """Keep what is foreseen up to date, also while nothing ends."""
    while True:
        tally.look_ahead()
        await anyio.sleep(_LOOK_AHEAD_S)


async def _count(jobs: BatchJobs, tally: Tally) -> None:
    """Find out how many jobs there will be, while the first ones run already."""
    found, line, total = iter(jobs), Line(), 0

    def count_some() -> int:
        return sum(1 for _ in islice(found, _COUNTED_AT_ONCE))

    try:
        while counted := await asyncio.wrap_future(line.start(count_some)):
            total += counted
    except FaceWarpError:  # the jobs themselves meet it too
        return
    finally:
        line.end()
    tally.total = total
