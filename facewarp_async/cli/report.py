"""``facewarp report``, and what ``batch --report`` and ``demo`` have of it: the page that tells of a batch."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
from attrs import frozen

from facewarp_async.cli.arguments import check_writable
from facewarp_async.cli.exits import ExitCode, UsageError
from facewarp_async.cli.output import Output
from facewarp_async.cli.resuming import journal_path, state_folder
from facewarp_async.errors import JournalError
from facewarp_async.urls import Location

if TYPE_CHECKING:
    from facewarp_async.report import Pictures

_NAME = "report.html"


@frozen(kw_only=True)
class ReportCommand:
    """The command, as it was asked for.

    Attributes:
        folder: Where the batch's results went.
        page: The file to write; ``None``: ``report.html``, among the results if they are on this machine.
        pictures: Whether the page contains its pictures.
        state: Where the batch was remembered; ``None``: where that is if nothing is said.
    """

    folder: Location
    page: Path | None
    pictures: Pictures
    state: Path | None

    async def __call__(self, output: Output) -> ExitCode:
        """Run it."""
        journal = journal_path(state_folder(self.folder, self.state, os.environ))
        page = self.page or (self.folder / _NAME if isinstance(self.folder, Path) else Path(_NAME))
        if not await anyio.Path(journal).exists():
            raise UsageError(f"{journal}: there is no journal: no batch has written to {self.folder}, or it kept none")
        await check_page(page)
        await make_page(journal, self.folder, page, pictures=self.pictures)
        await output.path(page)
        return ExitCode.DONE


async def check_page(page: Path) -> None:
    """Check that a page can be written, before anything is paid for.

    Raises:
        UsageError: It cannot.
    """
    if await anyio.Path(page).is_dir():
        raise UsageError(f"{page}: is a folder, expected the file to write the report to")
    await check_writable(page.parent)


async def make_page(journal: Path, out: Location, page: Path, *, pictures: Pictures = "auto", title: str = "") -> None:
    """Make the page of a batch that has ended, from its journal.

    Raises:
        UsageError: The journal cannot be used.
        OutputError: The page cannot be written.
    """
    # Not above: most batches have no use for it.
    from facewarp_async.report import read_report, write_page  # noqa: PLC0415

    try:
        report = await read_report(journal, output_dir=out, title=title)
    except JournalError as error:
        raise UsageError(str(error)) from error
    await write_page(report, page, pictures=pictures)


@asynccontextmanager
async def passing_journal() -> AsyncIterator[Path]:
    """Give the path of a journal that is forgotten at the end: a report is made from one, also where none is kept."""
    try:
        folder = await anyio.to_thread.run_sync(partial(tempfile.mkdtemp, prefix="facewarp-"))
    except OSError as error:
        raise UsageError(f"there is no place for temporary files: {error.strerror}") from error
    try:
        yield Path(folder) / "batch.db"
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(partial(shutil.rmtree, folder, ignore_errors=True))
