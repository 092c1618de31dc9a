"""``facewarp batch``: a folder of pictures and videos, or those that a manifest lists."""

from __future__ import annotations

import os
from pathlib import Path

from attrs import frozen

from facewarp_async.cli.arguments import check_writable
from facewarp_async.cli.batch_run import BatchRun, BatchSettings
from facewarp_async.cli.exits import ExitCode
from facewarp_async.cli.options import LimitOptions, ResumeOptions, SelectionOptions, ServiceOptions
from facewarp_async.cli.output import Output
from facewarp_async.cli.planner import Planner
from facewarp_async.cli.progress import job_progress
from facewarp_async.cli.provider import Embedded, Remote, choose_service, open_client
from facewarp_async.cli.resuming import service_path, state_folder
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
        if self.limits.dry_run:
            return await self._plan(jobs, service, in_doubt, state, output)
        await check_writable(self.out)
        if state is not None and not isinstance(self.out, Path):
            output.say(f"what is done and paid for is remembered in {state}, on this machine", style="dim")
        data_dir = None if state is None else service_path(state)
        async with open_client(service, output, data_dir=data_dir, most_tasks=self.limits.max_credits) as client:
            return await BatchRun(self._settings(in_doubt, state), jobs, client, output)()

    @property
    def _source(self) -> Location:
        source = self.folder or self.selection.manifest
        assert source is not None  # without one there are no jobs
        return source

    def _settings(self, in_doubt: InDoubtChoice, state: Path | None) -> BatchSettings:
        return BatchSettings(
            source=self._source,
            out=self.out,
            as_json=self.as_json,
            limits=self.limits.at_once,
            state=state,
            in_doubt=in_doubt,
            retry_failed=self.resume.retry_failed,
        )

    async def _plan(
        self,
        jobs: BatchJobs,
        service: Remote | Embedded,
        in_doubt: InDoubtChoice,
        state: Path | None,
        output: Output,
    ) -> ExitCode:
        planner = Planner(
            out=self.out,
            in_doubt=in_doubt,
            retry_failed=self.resume.retry_failed,
            most_tasks=self.limits.max_credits,
            state=state,
        )
        with job_progress(output, self._source) as show:
            show(Stage.CHECK)
            plan = await planner.plan(jobs, service)
        for reason in plan.unusable:
            output.say(f"cannot be used: {reason}", style="red")
        if self.as_json:
            await output.json(plan.record())
        else:
            for line in plan.lines():
                await output.text(line)
        return ExitCode.FAILED if plan.unusable else ExitCode.DONE


def choose_in_doubt(options: ResumeOptions, service: Remote | Embedded) -> InDoubtChoice:
    """Say what to do about creates that were lost sight of: what takes no credits may be created twice."""
    return options.in_doubt or ("recreate" if isinstance(service, Embedded) else "hold")
