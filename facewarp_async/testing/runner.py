"""Who does the work of a fake service's tasks: nobody, but when and how a test says."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path

import anyio.to_thread
from attrs import define

from facewarp_async.models import TaskKind
from facewarp_async.server import InstantRunner, Made, Work, WorkError
from facewarp_async.server.answers import MESSAGES

Duration = float | Callable[[TaskKind], float]


@define
class _Failure:
    """Tasks that are to fail: with what, how many still, and those of which media."""

    code: int
    message: str
    left: float
    content: bytes | None

    def take(self, content: bytes | None) -> bool:
        """Tell whether it is the turn of a task with this media."""
        if self.left <= 0 or (self.content is not None and self.content != content):
            return False
        self.left -= 1
        return True


class PlannedRunner(InstantRunner):
    """An `InstantRunner` whose tasks can be held and made to fail while it runs, also from another thread.

    Args:
        duration_s: How long each task takes, or a function that says so for its kind. May be set at any time.
        faces: How many faces a detection finds.
    """

    def __init__(self, *, duration_s: Duration = 0.0, faces: int = 2) -> None:
        super().__init__(faces=faces)
        self.duration_s = duration_s
        self._gate: asyncio.Event | None = None
        self._failures: list[_Failure] = []

    def hold(self) -> None:
        """Let tasks that are worked on from now on wait for `release`."""
        if self._gate is None:
            self._gate = asyncio.Event()

    def release(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let them go on."""
        gate, self._gate = self._gate, None
        if gate is not None:
            loop.call_soon_threadsafe(gate.set)

    def fail(self, code: int, *, message: str, times: int | None, media: Path | None) -> None:
        """Let tasks fail, as `FakeService.fail_tasks` says."""
        content = None if media is None else _content(media)
        self._failures.append(_Failure(code, message, float("inf") if times is None else times, content))

    async def run(self, work: Work) -> Made:
        """Wait while tasks are held and as long as they take, then fail or give the media back."""
        while (gate := self._gate) is not None:
            await gate.wait()
        seconds = self.duration_s(work.kind) if callable(self.duration_s) else self.duration_s
        if seconds > 0:
            await anyio.sleep(seconds)
        if self._failures:
            content = await anyio.to_thread.run_sync(_content, work.media)
            for failure in list(self._failures):
                if failure.take(content):
                    raise WorkError(failure.code, failure.message or MESSAGES.get(failure.code, ""))
        return await super().run(work)


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
