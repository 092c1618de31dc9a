"""A run that ends at any point, by a crash or by being cancelled, loses nothing and pays for nothing twice."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from facewarp_async.errors import InDoubtError
from facewarp_async.models import ImageSwap, Job, MultiFaceSwap, TaskKind
from facewarp_async.pipeline import Completed, Failed
from facewarp_async.wire.requests import CREATE_PATHS

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

_KINDS = (TaskKind.IMAGE_SWAP, TaskKind.FACE_DETECTION, TaskKind.MULTI_IMAGE_SWAP)
World = Any  # tests/journal/conftest.py
StartWorld = Callable[..., AbstractAsyncContextManager[World]]


def batch(world: World, number: int) -> list[Job]:
    """Return jobs that no other number has, and that share a face."""
    first, second = world.media(f"{number}-a"), world.media(f"{number}-b")
    face = world.media(f"{number}-face")
    return [ImageSwap(first, face), MultiFaceSwap(second, {0: face})]


async def check(world: World, jobs: list[Job], *, may_doubt: bool) -> int:
    """Go on with a run that ended, first holding what is in doubt, then risking it; return how many were in doubt."""
    held = await world.run(jobs)
    doubted = [outcome.job for outcome in held.outcomes if isinstance(outcome, Failed)]
    for outcome in held.outcomes:
        assert isinstance(outcome, Completed) or isinstance(outcome.error, InDoubtError), outcome
    assert may_doubt or not doubted, "a service that answers leaves a cancelled run without a doubt"
    contents = {job.media.read_bytes(): job for job in jobs if not isinstance(job.media, str)}  # type: ignore[union-attr]
    for (kind, content), count in (await world.paid()).items():
        assert count == 1 or content not in contents, f"{contents[content]}: {count} of {kind} without being asked"
    if doubted:
        risked = await world.run(jobs, in_doubt="recreate")
        assert risked.completed == len(jobs)
        for (kind, content), count in (await world.paid()).items():
            if content in contents:
                assert count <= (2 if contents[content] in doubted else 1), f"{contents[content]}: {count} of {kind}"
    assert world.results() == {f"{job.media.stem}.png": job.media.read_bytes() for job in jobs}  # type: ignore[union-attr]
    return len(doubted)


@pytest.mark.parametrize(
    ("name", "crash"),
    [("CALL", True), ("ACTED", True), ("WRITE", True), ("WRITTEN", True), ("CALL", False), ("WRITE", False)],
    ids=lambda value: {True: "crash", False: "cancel"}.get(value, value),
)
async def test_a_run_may_end_anywhere(
    start_world: StartWorld, ending: Any, points: Any, name: str, crash: bool
) -> None:
    async with start_world(faults=ending, duration_s=0.01) as world:
        number = doubts = 0
        report = None
        while report is None:
            number += 1
            world.out_name = f"out-{number}"
            report = await ending.run(world, batch(world, number), points[name], number, crash=crash)
            doubts += await check(world, batch(world, number), may_doubt=crash)
        assert report.completed == 2
        print(f"{name}: {number} endings, {doubts} jobs in doubt")
    assert number > 10


@pytest.mark.parametrize("call", [CREATE_PATHS[kind] for kind in _KINDS], ids=[kind.name for kind in _KINDS])
@pytest.mark.parametrize("name", ["CALL", "ACTED"])
async def test_a_create_that_a_crash_loses_is_named(
    start_world: StartWorld, ending: Any, points: Any, name: str, call: str
) -> None:
    async with start_world(faults=ending) as world:
        assert await ending.run(world, batch(world, 1), points[name], 1, crash=True, call=call) is None
        assert await check(world, batch(world, 1), may_doubt=True) >= 1
