"""``facewarp batch``: a folder of pictures and videos, or those that a manifest lists."""

from __future__ import annotations

import os
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path

from attrs import frozen

from facewarp_async.cli.arguments import check_writable
from facewarp_async.cli.batch_run import BatchRun, BatchSettings
from facewarp_async.cli.cluster import check_cluster, copied_state
from facewarp_async.cli.exits import ExitCode, UsageError
from facewarp_async.cli.options import LimitOptions, ResumeOptions, SelectionOptions, ServiceOptions
from facewarp_async.cli.output import Output
from facewarp_async.cli.planner import Planner
from facewarp_async.cli.progress import job_progress
from facewarp_async.cli.provider import Embedded, Remote, choose_service, open_client
from facewarp_async.cli.report import check_page, make_page, passing_journal
from facewarp_async.cli.resuming import journal_path, service_path, state_folder
from facewarp_async.cli.selection import BatchJobs, choose_jobs
from facewarp_async.errors import Stage
from facewarp_async.journal import InDoubtChoice
from facewarp_async.urls import Location


@frozen(kw_only=True)
class BatchCommand:
    """The command, as it was asked for.

    Attributes:
        folder: Where the media are; ``None``: a manifest says.
        face: The face to put into all of them; with a manifest, into those for which it names none.
        out: Where the results go.
        hd: Whether to ask for high quality.
        as_json: Whether stdout gets an object for each job, instead of the paths that were written.
        report: The page to write at the end; ``None`` for none.
        dask: The address of the scheduler whose workers do it; ``None``: this machine does.
        selection: Which files.
        limits: How much may be done, and how much at once.
        resume: What is made of earlier runs.
        service: Whom to ask.
    """

    folder: Location | None
    face: Location | None
    out: Location
    hd: bool
    as_json: bool
    report: Path | None
    dask: str | None
    selection: SelectionOptions
    limits: LimitOptions
    resume: ResumeOptions
    service: ServiceOptions

    async def __call__(self, output: Output) -> ExitCode:
        """Run it."""
        state = state_folder(self.out, self.resume.state, os.environ) if self.resume.journal else None
        jobs = await choose_jobs(self.folder, self.face, self.out, self.selection, hd=self.hd)
        service = choose_service(self.service, os.environ)
        in_doubt = choose_in_doubt(self.resume, service)
        if self.limits.dry_run and self.report is not None:
            raise UsageError("--report tells of a batch that was run, and --dry-run runs none: leave one of them out")
        if self.dask is not None:
            check_cluster(service, state=state)
        if self.limits.dry_run:
            return await self._plan(jobs, service, in_doubt, state, output)
        await self._check_places()
        if state is not None and (self.dask is not None or not isinstance(self.out, Path)):
            where = "this machine" if self.dask is None else "the scheduler's machine"
            output.say(f"what is done and paid for is remembered in {state}, on {where}", style="dim")
        data_dir = None if state is None else service_path(state)
        async with self._journal(state) as journal, self._read_from(journal) as readable:
            settings = self._settings(in_doubt, state, journal, None if readable == journal else readable)
            async with open_client(service, output, data_dir=data_dir, most_tasks=self.limits.max_credits) as client:
                code = await BatchRun(settings, jobs, client, output)()
            if self.report is not None and readable is not None:
                await make_page(readable, self.out, self.report)
                output.say(f"report: {self.report}")
        return code

    async def _check_places(self) -> None:
        await check_writable(self.out)
        if self.report is not None:
            await check_page(self.report)

    def _journal(self, state: Path | None) -> AbstractAsyncContextManager[Path | None]:
        if state is not None:
            return nullcontext(journal_path(state))
        return nullcontext() if self.report is None else passing_journal()

    def _read_from(self, journal: Path | None) -> AbstractAsyncContextManager[Path | None]:
        """Give the path at which the report finds the journal: the scheduler's machine may be another."""
        return nullcontext(journal) if self.report is None or self.dask is None else passing_journal()

    @property
    def _source(self) -> Location:
        source = self.folder or self.selection.manifest
        assert source is not None  # without one there are no jobs
        return source

    def _settings(
        self, in_doubt: InDoubtChoice, state: Path | None, journal: Path | None, copy: Path | None
    ) -> BatchSettings:
        return BatchSettings(
            source=self._source,
            out=self.out,
            as_json=self.as_json,
            limits=self.limits.at_once,
            journal=journal,
            copy=copy,
            is_kept=state is not None,
            in_doubt=in_doubt,
            retry_failed=self.resume.retry_failed,
            dask=self.dask,
        )

    async def _plan(
        self,
        jobs: BatchJobs,
        service: Remote | Embedded,
        in_doubt: InDoubtChoice,
        state: Path | None,
        output: Output,
    ) -> ExitCode:
        with job_progress(output, self._source) as show:
            show(Stage.CHECK)
            async with self._remembered(state) as readable:
                planner = Planner(
                    out=self.out,
                    in_doubt=in_doubt,
                    retry_failed=self.resume.retry_failed,
                    most_tasks=self.limits.max_credits,
                    state=readable,
                )
                plan = await planner.plan(jobs, service)
        for reason in plan.unusable:
            output.say(f"cannot be used: {reason}", style="red")
        if self.as_json:
            await output.json(plan.record())
        else:
            for line in plan.lines():
                await output.text(line)
        return ExitCode.FAILED if plan.unusable else ExitCode.DONE

    def _remembered(self, state: Path | None) -> AbstractAsyncContextManager[Path | None]:
        return nullcontext(state) if self.dask is None or state is None else copied_state(self.dask, state)


def choose_in_doubt(options: ResumeOptions, service: Remote | Embedded) -> InDoubtChoice:
    """Say what to do about creates that were lost sight of: what takes no credits may be created twice."""
    return options.in_doubt or ("recreate" if isinstance(service, Embedded) else "hold")
