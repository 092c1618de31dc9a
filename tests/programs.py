"""What the programs that run a batch and are killed share: their media, jobs, what they tell of them, and their end."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from facewarp_async.models import ImageSwap, Job, MultiFaceSwap
from facewarp_async.pipeline import Completed, Failed, Outcome
from tests.heads import PNG


def make_media(folder: Path, jobs: int, draw: random.Random, *, most_bytes: int) -> None:
    """Make a file for each job, and the face, with contents of their own."""
    (folder / "face").mkdir(parents=True)
    for name in ["face/face.png", *(f"{number:04}.png" for number in range(jobs))]:
        (folder / name).write_bytes(PNG + draw.randbytes(draw.randrange(1_000, most_bytes)))


def jobs_of(folder: Path) -> list[Job]:
    """Return a job for each file; every fifth changes several faces, in two tasks."""
    face = folder / "face" / "face.png"
    files = sorted(folder.glob("*.png"))
    return [
        MultiFaceSwap(path, {0: face}) if number % 5 == 4 else ImageSwap(path, face)
        for number, path in enumerate(files)
    ]


def record(outcome: Outcome) -> dict[str, object]:
    assert isinstance(outcome.job.media, Path)
    name = outcome.job.media.name
    if isinstance(outcome, Completed):
        return {"name": name, "state": "done", "resumed": outcome.resumed}
    if isinstance(outcome, Failed):
        return {"name": name, "state": "failed", "error": type(outcome.error).__name__, "text": str(outcome.error)}
    return {"name": name, "state": "skipped", "text": outcome.reason}


async def run_until_signalled(run: Coroutine[Any, Any, None]) -> int:
    """Run to the end, or until SIGINT or SIGTERM cancels it; return the exit code."""
    work = asyncio.ensure_future(run)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, work.cancel)
    try:
        await work
    except asyncio.CancelledError:
        return 130
    return 0
