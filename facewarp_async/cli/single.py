"""One job of one file, from its upload to the file or files that are made of its result."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio.to_thread

from facewarp_async.cli.arguments import check_writable, exists, is_any_of
from facewarp_async.cli.exits import ExitCode, UsageError, exit_code_for
from facewarp_async.cli.failures import failure_text
from facewarp_async.cli.output import Output
from facewarp_async.cli.progress import ShowStage, job_progress
from facewarp_async.cli.provider import LOCAL
from facewarp_async.cli.records import media_name
from facewarp_async.client import FaceSwapClient
from facewarp_async.errors import FaceWarpError, Stage
from facewarp_async.models import Asset, DetectFaces, Job, Result, SwapResult
from facewarp_async.pipeline import BytesSent, Completed, Event, Failed, Outcome, StageBegun, SwapPipeline
from facewarp_async.pipeline.names import NameBook, target_path
from facewarp_async.pipeline.results import path_in
from facewarp_async.text import bytes_text
from facewarp_async.urls import Location, RemoteFile

Fetch = Callable[[Result], Awaitable[None]]


async def run_single(job: Job, fetch: Fetch, client: FaceSwapClient, output: Output) -> ExitCode:
    """Run a job, fetch its result, and tell of a failure.

    Cancelling says which task was paid for and not fetched.

    Args:
        job: The job.
        fetch: Called with the result.
        client: Of the service.
        output: Where to tell of it.
    """
    task_id: int | None = None
    with job_progress(output, media_name(job)) as show:

        def listen(event: Event) -> None:
            nonlocal task_id
            if isinstance(event, StageBegun):
                task_id = event.task_id
                show(event.stage)
            elif isinstance(event, BytesSent):
                show(Stage.UPLOAD, f"{bytes_text(event.sent)} of {bytes_text(event.size)}")

        is_free = client.provider.name == LOCAL
        try:
            outcome = await _run(job, fetch, client, listen, show)
        except BaseException:  # cancelled
            if task_id is not None and not is_free:
                output.say(f"task {task_id} was paid for and not fetched: facewarp task {task_id} -o FILE fetches it")
            raise
    if isinstance(outcome, Completed):
        return ExitCode.DONE
    if not isinstance(outcome, Failed):  # one job is stopped by no other's error
        raise AssertionError(outcome.reason)
    output.warn(failure_text(outcome, is_free=is_free))
    return exit_code_for(outcome.error)


async def _run(
    job: Job,
    fetch: Fetch,
    client: FaceSwapClient,
    listen: Callable[[Event], None],
    show: ShowStage,
) -> Outcome:
    async with SwapPipeline(client, on_event=listen) as pipeline:
        [outcome] = [outcome async for outcome in pipeline.stream([job])]
    if not isinstance(outcome, Completed):
        return outcome
    show(Stage.DOWNLOAD)
    try:
        await fetch(outcome.result)
    except FaceWarpError as error:
        return Failed(job=job, error=error, stage=Stage.DOWNLOAD, task_id=outcome.result.task_id)
    return outcome


async def prepare_out(out: Location, sources: list[Location]) -> None:
    """See that a result can be written to a file or into a folder, and replaces nothing that it is made from.

    Raises:
        UsageError: It cannot, or would.
    """
    if await is_any_of(out, sources):
        raise UsageError(f"--out {out} would be written over what the result is made from")
    await check_writable(out.parent if await _is_file_name(out) else out)


async def fetch_swap(result: SwapResult, out: Location, stem: str, client: FaceSwapClient, output: Output) -> None:
    """Write a result to a file, or into a folder under a name that no file has yet, and tell the path."""
    # Only now, because the result's format is a part of its name.
    is_file = await _is_file_name(out)
    target = out if is_file else await free_path(out, stem, target_path(out, stem, result).suffix)
    await output.path(await client.download(result, target))


async def free_path(folder: Location, stem: str, extension: str) -> Location:
    """Return a file of a folder that does not exist, called by a stem or nearly so."""
    names, job = NameBook(), DetectFaces(Asset(stem), name=stem)
    while await exists(target := path_in(folder, f"{names.claim(job)}{extension}")):
        continue
    return target


async def _is_file_name(out: Location) -> bool:
    """A folder is what exists as one or has no extension; elsewhere, what has none or ends with a slash."""
    if isinstance(out, RemoteFile):
        return bool(out.suffix) and not out.url.endswith("/")
    return bool(out.suffix) and not await anyio.to_thread.run_sync(out.is_dir)
