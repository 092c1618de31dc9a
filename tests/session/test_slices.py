"""How much is done in one turn of the loop when thousands of tasks are due at once: counted, not timed."""

from __future__ import annotations

import asyncio
import math

import pytest

from facewarp_async.models import TaskKind
from facewarp_async.policy.polling import FixedPolling
from facewarp_async.session import Pacer


@pytest.mark.slow
@pytest.mark.parametrize("rate", [None, 1_000_000.0])
def test_of_thousands_that_are_due_few_leave_in_one_turn_of_the_loop(rate: float | None) -> None:
    left, turns = 0, list[int]()

    async def beat() -> None:
        before = 0
        while True:
            await asyncio.sleep(0)
            turns.append(left - before)
            before = left

    async def task(pacer: Pacer) -> None:
        nonlocal left
        with pacer.watching(TaskKind.IMAGE_SWAP, is_fresh=False, deadline=math.inf) as watched:
            assert await pacer.look_turn(watched)
            left += 1
            pacer.accepted()
            pacer.looked(watched, asyncio.get_running_loop().time(), done=True)

    async def main() -> None:
        pacer = Pacer(rate, FixedPolling(image_s=0.01))
        beating = asyncio.ensure_future(beat())
        async with asyncio.TaskGroup() as group:
            for _ in range(3000):
                group.create_task(task(pacer))
        beating.cancel()

    asyncio.run(main())
    assert sum(turns) >= 2900
    assert max(turns) <= 2 * 24, "a timer may serve once more in the same turn"
