"""``facewarp demo``: the whole way from photos to results, with no account. Needs the extra ``local``."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import anyio.to_thread
from attrs import frozen

from facewarp_async.cli.arguments import check_writable
from facewarp_async.cli.exits import ExitCode
from facewarp_async.cli.failures import failure_text
from facewarp_async.cli.output import Output
from facewarp_async.cli.progress import batch_progress
from facewarp_async.cli.provider import Embedded, open_client
from facewarp_async.cli.report import make_page, passing_journal
from facewarp_async.cli.samples import Samples, make_samples
from facewarp_async.cli.sheet import Row, write_sheet
from facewarp_async.cli.tally import Tally
from facewarp_async.client import FaceSwapClient
from facewarp_async.errors import DiskFullError, OutputError
from facewarp_async.pipeline import Completed, Failed, Outcome, SwapPipeline
from facewarp_async.text import seconds

T = TypeVar("T")


@frozen(kw_only=True)
class DemoCommand:
    """The command, as it was asked for.

    Attributes:
        folder: Where all goes: ``photos/``, ``results/``, the faces, ``contact-sheet.jpg`` and ``report.html``.
    """

    folder: Path

    async def __call__(self, output: Output) -> ExitCode:
        """Run it."""
        # Always local: a demo must not spend the credits of a key that lies in the environment.
        async with open_client(Embedded(is_chosen=True), output) as client:
            await check_writable(self.folder)
            samples = await _on_disk(make_samples, self.folder)
            output.say(f"made {len(samples.swaps)} sample photos in {self.folder / 'photos'}")
            results, page = self.folder / "results", self.folder / "report.html"
            async with passing_journal() as journal:
                outcomes = await self._swap(samples, client, journal, output)
                await make_page(journal, results, page, title="facewarp demo")
        code = _tell_failures(outcomes, samples, output)
        if rows := _rows(outcomes, samples):
            sheet = self.folder / "contact-sheet.jpg"
            await _on_disk(write_sheet, sheet, rows)
            output.say("here are the results, a sheet with before and after, and a report to open in a browser:")
            for path in (results, sheet, page):
                await output.path(path)
        return code

    async def _swap(self, samples: Samples, client: FaceSwapClient, journal: Path, output: Output) -> list[Outcome]:
        begun, tally = time.monotonic(), Tally(total=len(samples.swaps))
        results = self.folder / "results"
        with batch_progress(output, tally) as on_event:
            async with SwapPipeline(client, output_dir=results, journal=journal, on_event=on_event) as pipeline:
                outcomes = [outcome async for outcome in pipeline.stream(swap.job for swap in samples.swaps)]
        output.say(f"swapped {tally.done} of them in {seconds(time.monotonic() - begun)}", style="green")
        return outcomes


def _tell_failures(outcomes: list[Outcome], samples: Samples, output: Output) -> ExitCode:
    """Tell of what failed. Some photos are there to fail; another failure is the demo's own."""
    code = ExitCode.DONE
    for outcome, swap in zip(outcomes, samples.swaps, strict=True):
        if not isinstance(outcome, Failed):
            continue
        note = "failed, as it is meant to" if swap.must_fail else "failed"
        output.say(f"{note}: {failure_text(outcome, is_free=True)}", style="yellow" if swap.must_fail else "red")
        if not swap.must_fail:
            code = ExitCode.FAILED
    return code


def _rows(outcomes: list[Outcome], samples: Samples) -> list[Row]:
    return [
        Row(swap.faces, swap.photo, outcome.path)
        for outcome, swap in zip(outcomes, samples.swaps, strict=True)
        if isinstance(outcome, Completed) and isinstance(outcome.path, Path)
    ]


async def _on_disk(function: Callable[..., T], *arguments: object) -> T:
    """Call something that works on the disk, in a thread."""
    try:
        return await anyio.to_thread.run_sync(partial(function, *arguments))
    except OSError as error:
        kind = DiskFullError if error.errno in {errno.ENOSPC, errno.EDQUOT} else OutputError
        # A disk that is full shows when bytes are written, and then the system names no file.
        raise kind(f"{error.filename or arguments[0]}: cannot be written: {error.strerror}") from error
