"""A clock that jumps, and a service that works by it."""

from __future__ import annotations

import asyncio
import math
import random
import selectors
from collections import deque
from collections.abc import Coroutine
from typing import Any

from attrs import Factory, define, evolve

from benchmarks.pace_regimes import FAILING, OUTAGE, Durations, Regime
from facewarp_async.models import TaskKind
from facewarp_async.server.limits import SlidingWindow


class _Jumping(selectors.SelectSelector):
    """Waits for nothing: the time asked for is over at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "everybody waits, and nothing will happen"
        self.now += max(0.0, timeout)
        return []


class JumpingLoop(asyncio.SelectorEventLoop):
    """A loop whose clock jumps to the next timer."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


def run_on_jumping_clock(main: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        runner.run(main)


def clock() -> float:
    return asyncio.get_running_loop().time()


@define(eq=False)
class Task:
    """A task of the service; it may still queue."""

    kind: TaskKind
    done_at: float = math.inf
    done: asyncio.Event = Factory(asyncio.Event)


class Service:
    """Works on tasks, so many at once.

    Args:
        regime: How many, how fast, and what goes wrong.
        jobs: How many there are, for the drift.
        seed: Of all that is random.
        order: ``first`` for tasks in their order; ``random`` and ``last`` for services that are not so fair.
    """

    def __init__(self, regime: Regime, jobs: int, seed: int, order: str) -> None:
        self.regime, self._order = regime, order
        self._window = SlidingWindow(regime.rate)
        self._durations = Durations(evolve(regime, factor=1.0), jobs, seed)
        self._draw = random.Random(f"service {seed}")
        self._queue: deque[Task] = deque()
        self._busy = 0
        self._first_at: float | None = None
        self.took: list[float] = []
        self.calls = self.refusals = 0

    def answer(self, *, creates: bool) -> str:
        """Count a call; return ``done``, ``refused`` or ``failed``."""
        self.calls += 1
        self._first_at = clock() if self._first_at is None else self._first_at
        is_out = self.regime.disturbed and OUTAGE[0] <= clock() - self._first_at < OUTAGE[1]
        if self.regime.disturbed and not is_out and not creates and self._draw.random() < FAILING:
            return "failed"
        if is_out or not self._window.admit(clock()):
            self.refusals += 1
            return "refused"
        return "done"

    def create(self, kind: TaskKind) -> Task:
        task = Task(kind)
        self._queue.append(task)
        self._begin()
        return task

    def _begin(self) -> None:
        while self._queue and self._busy < self.regime.workers:
            if self._order == "random":
                self._queue.rotate(-self._draw.randrange(len(self._queue)))
            task = self._queue.pop() if self._order == "last" else self._queue.popleft()
            self._busy += 1
            self.took.append(self._durations(task.kind))
            task.done_at = clock() + self.took[-1]
            asyncio.get_running_loop().call_at(task.done_at, self._end, task)

    def _end(self, task: Task) -> None:
        task.done.set()
        self._busy -= 1
        self._begin()
