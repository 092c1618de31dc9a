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
from facewarp_async.cli.options import ServiceOptions
from facewarp_async.cli.output import Output
from facewarp_async.cli.progress import batch_progress
from facewarp_async.cli.provider import LOCAL, open_client
from facewarp_async.cli.records import outcome_record
from facewarp_async.cli.tally import Tally
from facewarp_async.cli.text import seconds
from facewarp_async.client import FaceSwapClient
from facewarp_async.config import Limits
from facewarp_async.errors import FaceWarpError, InputError
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
        service: Whom to ask.
    """

    folder: Path
    face: Path
    out: Path
    hd: bool
    as_json: bool
    limits: Limits
    service: ServiceOptions

    async def __call__(self, output: Output) -> ExitCode:
        """Run it."""
        await check_face(self.face)
        await check_folders(self.folder, self.out, self.face)
        jobs = jobs_from_folder(self.folder, face=self.face, hd=self.hd, exclude=self.out)
        async with open_client(self.service, os.environ, output) as client:
            return await self._run(jobs, client, output)

    async def _run(self, jobs: FolderJobs, client: FaceSwapClient, output: Output) -> ExitCode:
        await check_writable(self.out)
        begun, tally = time.monotonic(), Tally()
        how = "interrupted"
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(_count, jobs, tally)
                ending = await self._stream(jobs, client, output, tally)
                group.cancel_scope.cancel()
            how = "finished" if ending is None else "stopped"
        finally:
            output.say(f"{how}: {_summary(tally)}, {seconds(time.monotonic() - begun)}")
        if ending is not None:
            output.warn(str(ending))
            return exit_code_for(ending)
        if not tally.ended:
            output.say(f"{self.folder} holds no pictures and no videos")
        return ExitCode.FAILED if tally.failed else ExitCode.DONE

    async def _stream(
        self, jobs: FolderJobs, client: FaceSwapClient, output: Output, tally: Tally
    ) -> FaceWarpError | None:
        """Run the jobs and tell of each; return the error that has ended them before their time."""
        is_free = client.provider.name == LOCAL
        with batch_progress(output, tally) as on_event:
            pipeline = SwapPipeline(client, limits=self.limits, output_dir=self.out, on_event=on_event)
            try:
                async with pipeline:
                    async for outcome in pipeline.stream(jobs):
                        await self._tell(outcome, output, is_free=is_free)
            except FaceWarpError as error:  # the folder cannot be read on
                return error
        return pipeline.stopped_by

    async def _tell(self, outcome: Outcome, output: Output, *, is_free: bool) -> None:
        if isinstance(outcome, Failed):
            output.say(f"failed: {failure_text(outcome, is_free=is_free)}", style="red")
        if self.as_json:
            await output.json(outcome_record(outcome))
        elif isinstance(outcome, Completed) and outcome.path is not None:
            await output.path(outcome.path)


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


def _summary(tally: Tally) -> str:
    return f"{tally.done} done, {tally.failed} failed, {tally.skipped} skipped"
