"""``facewarp swap``: one picture or video."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import anyio.to_thread
import attrs
from attrs import frozen

from facewarp_async.cli.arguments import check_face, check_media, check_writable
from facewarp_async.cli.exits import ExitCode, UsageError, exit_code_for
from facewarp_async.cli.failures import failure_text
from facewarp_async.cli.options import ServiceOptions
from facewarp_async.cli.output import Output
from facewarp_async.cli.progress import job_progress, stages_to
from facewarp_async.cli.provider import LOCAL, choose_service, open_client
from facewarp_async.client import FaceSwapClient
from facewarp_async.errors import FaceWarpError, Stage
from facewarp_async.models import FaceDetection, ImageSwap, SwapResult, VideoSwap
from facewarp_async.pipeline import Completed, Failed, Outcome, Skipped, SwapPipeline
from facewarp_async.pipeline.names import NameBook, target_path


@frozen(kw_only=True)
class SwapCommand:
    """The command, as it was asked for.

    Attributes:
        media: What to change.
        face: The face to put in.
        out: A file, which is replaced; or a folder, which is what exists as one or has no extension. ``None``: the
            current folder.
        hd: Whether to ask for high quality.
        service: Whom to ask.
    """

    media: Path
    face: Path
    out: Path | None
    hd: bool
    service: ServiceOptions

    async def __call__(self, output: Output) -> ExitCode:
        """Run it."""
        file = await check_media(self.media)
        await check_face(self.face)
        out = await anyio.to_thread.run_sync(_check_out, self)
        swap = VideoSwap if file.media_type.is_video else ImageSwap
        job = swap(self.media, self.face, self.hd, name=f"{self.media.stem}-swapped")
        async with open_client(choose_service(self.service, os.environ), output) as client:
            return await self._run(job, out, client, output)

    async def _run(self, job: ImageSwap | VideoSwap, out: Path, client: FaceSwapClient, output: Output) -> ExitCode:
        await check_writable(out.parent if await anyio.to_thread.run_sync(_is_file_name, out) else out)
        with job_progress(output, self.media) as show:
            outcome = await _finish(job, out, client, show)
        if not isinstance(outcome, Completed):
            return _tell_failure(outcome, output, is_free=client.provider.name == LOCAL)
        assert outcome.path is not None
        await output.path(outcome.path)
        return ExitCode.DONE


async def _finish(
    job: ImageSwap | VideoSwap, out: Path, client: FaceSwapClient, show: Callable[[Stage], None]
) -> Outcome:
    """Run the job and fetch its result."""
    async with SwapPipeline(client, on_event=stages_to(show)) as pipeline:
        [outcome] = [outcome async for outcome in pipeline.stream([job])]
    if not isinstance(outcome, Completed):
        return outcome
    result = outcome.result
    assert not isinstance(result, FaceDetection)
    show(Stage.DOWNLOAD)
    # Only now, because the result's format is a part of its name.
    target = await anyio.to_thread.run_sync(_target, out, job, result)
    try:
        path = await client.download(result, target)
    except FaceWarpError as error:
        return Failed(job=job, error=error, stage=Stage.DOWNLOAD, task_id=result.task_id)
    return attrs.evolve(outcome, path=path)


def _tell_failure(outcome: Failed | Skipped, output: Output, *, is_free: bool) -> ExitCode:
    if isinstance(outcome, Skipped):  # one job is stopped by no other's error
        raise AssertionError(outcome.reason)
    output.warn(failure_text(outcome, is_free=is_free))
    return exit_code_for(outcome.error)


def _check_out(command: SwapCommand) -> Path:
    """Return where the result goes: a folder, or a file that is neither the media nor the face."""
    out = command.out or Path()
    if out.exists() and any(out.samefile(path) for path in (command.media, command.face)):
        raise UsageError(f"--out {out} would be written over what the result is made from")
    return out


def _is_file_name(out: Path) -> bool:
    return bool(out.suffix) and not out.is_dir()


def _target(out: Path, job: ImageSwap | VideoSwap, result: SwapResult) -> Path:
    """Return the file to write. In a folder it gets a name that no file has yet."""
    if _is_file_name(out):
        return out
    names = NameBook()
    while (target := target_path(out, names.claim(job), result)).exists():
        continue
    return target
