"""``facewarp batch``: a folder of pictures and videos."""

from __future__ import annotations

import os
import time
from itertools import islice
from pathlib import Path

import anyio
import anyio.to_thread
from attrs import frozen

from facewarp_async.cli.arguments import check_face, check_folders, check_writable
from facewarp_async.cli.exits import ExitCode, exit_code_for
from facewarp_async.cli.failures import failure_text
from facewarp_async.cli.options import ResumeOptions, ServiceOptions
from facewarp_async.cli.output import Output
from facewarp_async.cli.progress import OnEvent, batch_progress
from facewarp_async.cli.provider import LOCAL, Embedded, choose_service, open_client
from facewarp_async.cli.records import outcome_record
from facewarp_async.cli.resuming import entered, journal_path, next_steps, service_path
from facewarp_async.cli.tally import Tally
from facewarp_async.cli.text import seconds
from facewarp_async.client import FaceSwapClient
from facewarp_async.config import Limits
from facewarp_async.errors import FaceWarpError, InDoubtError, InputError
from facewarp_async.journal import InDoubtChoice
from facewarp_async.pipeline import Completed, Failed, Outcome, SwapPipeline
from facewarp_async.sources import FolderJobs, jobs_from_folder

_COUNTED_AT_ONCE = 500


@frozen(kw_only=True)
class BatchCommand:
    """The command, as it was asked for.

    Attributes:
        folder: Where the media are.
        face: The face to put into all of them.
        out: Where the results go.
        hd: Whether to ask for high quality.
        as_json: Whether stdout gets an object for each job, instead of the paths that were written.
        limits: How much goes on at once.
        resume: What is made of earlier runs.
        service: Whom to ask.
    """

    folder: Path
    face: Path
    out: Path
    hd: bool
    as_json: bool
    limits: Limits
    resume: ResumeOptions
    service: ServiceOptions

    async def __call__(self, output: Output) -> ExitCode:
        """Run it."""
        await check_face(self.face)
        await check_folders(self.folder, self.out, self.face)
        service = choose_service(self.service, os.environ)
        await check_writable(self.out)
        data_dir = service_path(self.out) if self.resume.journal else None
        async with open_client(service, output, data_dir=data_dir) as client:
            # What takes no credits may be created twice.
            in_doubt = self.resume.in_doubt or ("recreate" if isinstance(service, Embedded) else "hold")
            return await _BatchRun(self, client, output, in_doubt)()


class _BatchRun:
    """A batch that runs.

    Args:
        command: What was asked for.
        client: Of the service that was chosen.
        output: Where to tell of it.
        in_doubt: What to do about creates that were lost sight of.
    """

    def __init__(self, command: BatchCommand, client: FaceSwapClient, output: Output, in_doubt: InDoubtChoice) -> None:
        self._command = command
        self._output = output
        self._jobs = jobs_from_folder(command.folder, face=command.face, hd=command.hd, output_dir=command.out)
        self._client = client
        self._in_doubt: InDoubtChoice = in_doubt
        self._is_free = client.provider.name == LOCAL
        self._tally = Tally()
        self._begun: float | None = None

    async def __call__(self) -> ExitCode:
        output, tally = self._output, self._tally
        how, ending = "interrupted", None
        try:
            with batch_progress(output, tally) as on_event:
                async with entered(self._pipeline(on_event)) as pipeline:
                    self._begun = time.monotonic()
                    ending = await self._stream(pipeline)
            how = "finished" if ending is None else "stopped"
        finally:
            self._tell_end(how)
        if ending is not None:
            output.warn(str(ending))
            return exit_code_for(ending)
        if not tally.ended:
            output.say(f"{self._command.folder} holds no pictures and no videos")
        return ExitCode.FAILED if tally.failed else ExitCode.DONE

    def _pipeline(self, on_event: OnEvent) -> SwapPipeline:
        command = self._command
        return SwapPipeline(
            self._client,
            limits=command.limits,
            output_dir=command.out,
            journal=journal_path(command.out) if command.resume.journal else None,
            in_doubt=self._in_doubt,
            retry_failed=command.resume.retry_failed,
            on_event=on_event,
        )

    async def _stream(self, pipeline: SwapPipeline) -> FaceWarpError | None:
        """Run the jobs and tell of each; return the error that has ended them before their time."""
        ending: FaceWarpError | None = None
        async with anyio.create_task_group() as group:
            group.start_soon(_count, self._jobs, self._tally)
            try:
                async for outcome in pipeline.stream(self._jobs):
                    await self._tell(outcome)
            except FaceWarpError as error:  # the folder cannot be read on
                ending = error
            group.cancel_scope.cancel()
        return ending or pipeline.stopped_by

    async def _tell(self, outcome: Outcome) -> None:
        if isinstance(outcome, Failed):
            kind = "in doubt" if isinstance(outcome.error, InDoubtError) else "failed"
            self._output.say(f"{kind}: {failure_text(outcome, is_free=self._is_free)}", style="red")
        if self._command.as_json:
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
            has_journal=self._command.resume.journal,
            is_free=self._is_free,
        )
        for step in steps:
            self._output.say(step)


async def _count(jobs: FolderJobs, tally: Tally) -> None:
    """Find out how many jobs there will be, while the first ones run already."""
    found, total = iter(jobs), 0

    def count_some() -> int:
        return sum(1 for _ in islice(found, _COUNTED_AT_ONCE))

    try:
        while counted := await anyio.to_thread.run_sync(count_some):
            total += counted
    except InputError:  # the jobs themselves meet it too
        return
    tally.total = total
