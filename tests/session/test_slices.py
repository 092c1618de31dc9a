"""How much is done in one turn of the loop when thousands of tasks are due at once: counted, not timed."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable
from contextlib import ExitStack

import pytest

from facewarp_async.models import TaskKind
from facewarp_async.policy.polling import FixedPolling, Plan, Watch
from facewarp_async.policy.rate import Priority
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
    assert max(turns) <= 2 * 6, "a timer may serve once more in the same turn"


def test_thousands_are_planned_anew_a_few_in_a_turn_and_not_only_when_the_next_call_may_leave() -> None:
    planned, anew, turns = list[Watch](), list[Watch](), list[int]()

    class Anew(FixedPolling):
        def plan(self, watch: Watch, /) -> Plan:
            planned.append(watch)
            return Plan(math.inf, math.inf, math.inf)

        def outdated(self) -> Iterable[Watch]:
            told = [*anew]
            anew.clear()
            return told

    async def main() -> None:
        pacer = Pacer(0.01, Anew())
        with ExitStack() as book:
            tasks = [
                book.enter_context(pacer.watching(TaskKind.IMAGE_SWAP, is_fresh=True, deadline=math.inf))
                for _ in range(3000)
            ]
            await pacer.acquire(Priority.CREATE)
            planned.clear()
            anew.extend(tasks)
            pacer.wake()
            for _ in range(200):
                before = len(planned)
                await asyncio.sleep(0)
                turns.append(len(planned) - before)

    asyncio.run(main())
    assert sum(turns) == 3000
    assert max(turns) <= 2 * 32, "a timer may serve once more in the same turn"
