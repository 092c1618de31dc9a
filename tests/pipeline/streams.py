"""A stream of outcomes with coroutines in place of a service."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import anyio
from anyio.abc import TaskGroup

from facewarp_async import ImageSwap, Job, Skipped
from facewarp_async.pipeline import OutcomeStream


def jobs(number: int) -> list[ImageSwap]:
    return [ImageSwap(f"{index}.png", "face.png") for index in range(number)]


async def settle() -> None:
    """Let all tasks go on until they wait for an event: a worker starts the next, so that takes some turns."""
    for _ in range(300):
        await anyio.lowlevel.checkpoint()


class Work:
    """Jobs end when they are let go; their outcomes carry their places."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.running = self.most_running = 0
        self.go: defaultdict[int, anyio.Event] = defaultdict(anyio.Event)
        self.errors: dict[int, BaseException] = {}

    async def __call__(self, index: int, job: Job) -> Skipped:
        self.begun.append(index)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await self.go[index].wait()
            if index in self.errors:
                raise self.errors[index]
        finally:
            self.running -= 1
        return Skipped(job=job, reason=str(index))

    def let_go(self, indexes: Iterable[int]) -> None:
        for index in indexes:
            self.go[index].set()


async def at_once(index: int, job: Job) -> Skipped:
    await anyio.lowlevel.checkpoint()
    return Skipped(job=job, reason=str(index))


@asynccontextmanager
async def run(
    source: Any,
    work: Callable[..., Any] = at_once,
    *,
    workers: int = 100,
    read_ahead: int = 1000,
    ordered: bool = True,
) -> AsyncIterator[OutcomeStream]:
    stream = OutcomeStream(source, work, workers=workers, read_ahead=read_ahead, ordered=ordered)
    group: TaskGroup
    async with anyio.create_task_group() as group:
        group.start_soon(stream._run)
        yield stream
        group.cancel_scope.cancel()


async def places(stream: OutcomeStream) -> list[int]:
    return [place(outcome) async for outcome in stream]


async def take(stream: OutcomeStream) -> int:
    return place(await anext(stream))


def place(outcome: object) -> int:
    assert isinstance(outcome, Skipped)
    return int(outcome.reason)
