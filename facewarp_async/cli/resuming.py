"""Where a batch keeps what it must remember, and what is said of that."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Union

from facewarp_async.cli.exits import UsageError
from facewarp_async.cli.tally import Tally
from facewarp_async.errors import JournalCorruptError, JournalError
from facewarp_async.pipeline import SwapPipeline
from facewarp_async.urls import Location

if TYPE_CHECKING:
    from facewarp_async.distributed import DistributedPipeline

AnyPipeline = Union[SwapPipeline, "DistributedPipeline"]

_FOLDER = ".facewarp"
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_LONGEST_SHOWN = 40
_PROGRAM = "facewarp-async"


def state_folder(out: Location, chosen: Path | None, environ: Mapping[str, str]) -> Path:
    """Return where what is remembered of an output folder's batches is kept.

    That is a hidden folder in it, so that nothing else looks like a result. SQLite needs a disk: of an output folder
    elsewhere it is kept in the user's directory for the state of programs, and so on the machine that it ran on.

    Args:
        out: The output folder.
        chosen: What the user chose instead.
        environ: The environment variables.

    Raises:
        UsageError: There is no such directory.
    """
    if chosen is not None:
        return chosen
    if isinstance(out, Path):
        return out / _FOLDER
    state_dir = user_state_dir(environ)
    if state_dir is None:
        raise UsageError(
            f"--out is {out}, and this user has no home directory to remember it in: choose one by --state"
        )
    url = out.lasting_url.rstrip("/")
    shown = _UNSAFE.sub("-", str(out).partition("://")[2]).strip("-.")[-_LONGEST_SHOWN:]
    return state_dir / f"{shown}-{hashlib.sha256(url.encode()).hexdigest()[:12]}"


def user_state_dir(environ: Mapping[str, str], *, platform: str = sys.platform) -> Path | None:
    """Return the package's folder in the user's directory for the state of programs; ``None``: there is none."""
    if platform == "win32":
        local = environ.get("LOCALAPPDATA")
        return Path(local) / _PROGRAM if local else None
    home = Path(environ.get("HOME") or os.path.expanduser("~"))  # noqa: PTH111 - Path.home raises where there is none
    if platform == "darwin":
        return home / "Library" / "Application Support" / _PROGRAM if home.is_absolute() else None
    xdg = Path(environ.get("XDG_STATE_HOME", ""))
    if xdg.is_absolute():  # the specification says to ignore a relative one
        return xdg / _PROGRAM
    return home / ".local" / "state" / _PROGRAM if home.is_absolute() else None


def journal_path(state: Path) -> Path:
    """Return where the journal is, in the folder for what is remembered."""
    return state / "batch.db"


def service_path(state: Path) -> Path:
    """Return where the embedded service keeps its files and tasks, in the folder for what is remembered."""
    return state / "service"


@asynccontextmanager
async def entered(pipeline: AnyPipeline) -> AsyncIterator[AnyPipeline]:
    """Enter a pipeline.

    Raises:
        UsageError: Its journal cannot be used. Nothing was begun, and the journal was not changed.
    """
    try:
        await pipeline.__aenter__()
    except JournalCorruptError as error:
        raise UsageError(
            f"{error}. What it knows is forgotten then: its tasks are created, and paid for, anew"
        ) from error
    except JournalError as error:
        raise UsageError(str(error)) from error
    try:
        yield pipeline
    finally:
        await pipeline.__aexit__(None, None, None)


def next_steps(tally: Tally, *, is_complete: bool, has_journal: bool, is_free: bool) -> Iterator[str]:
    """Say in lines how to go on after a batch.

    Args:
        tally: How it ended.
        is_complete: Whether it came to its end, neither interrupted nor stopped.
        has_journal: Whether the next run will know of this one.
        is_free: Whether the service takes no credits.
    """
    if tally.in_doubt:
        yield from _doubt(tally, has_journal=has_journal)
    if tally.failed_before:
        again = "" if is_free else ", and pays for them again"
        yield f"{tally.failed_before} failed in an earlier run and were not tried again; --retry-failed does so{again}"
    if is_complete:
        return
    if has_journal:
        yield "run the same command again to go on" + _kept(tally, is_free=is_free)
    elif not is_free:
        yield from _left_behind(tally)


def _doubt(tally: Tally, *, has_journal: bool) -> Iterator[str]:
    yield f"in doubt: tasks may have been created and paid for, and were not created again, for {tally.in_doubt} files:"
    yield from (f"  {media}" for media in tally.doubted)
    if tally.in_doubt > len(tally.doubted):
        yield f"  and {tally.in_doubt - len(tally.doubted)} more, told above"
    how = "run it again with --in-doubt recreate" if has_journal else "run them again"
    yield f"see in your account what was created; to have them created, perhaps for the second time, {how}"


def _kept(tally: Tally, *, is_free: bool) -> str:
    number = len(tally.open_tasks)
    if is_free or not number:
        return ""
    tasks = "1 task was" if number == 1 else f"{number} tasks were"
    return f"; {tasks} paid for and not fetched yet, which it will do: the service keeps results for 7 days"


def _left_behind(tally: Tally) -> Iterator[str]:
    if not tally.open_tasks:
        return
    yield "paid for and not fetched; facewarp task ID -o FILE fetches each, the service keeps them for 7 days:"
    yield from (f"  task {task.task_id}: {task.media}" for task in tally.open_tasks)
