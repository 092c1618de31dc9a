"""A service that works by a clock that jumps."""

from __future__ import annotations

import asyncio
import math
import random
from collections import deque

from attrs import Factory, define, evolve

from benchmarks.jumping_clock import clock
from benchmarks.pace_regimes import FAILING, OUTAGE, Durations, Regime
from facewarp_async.models import TaskKind
from facewarp_async.server.limits import SlidingWindow


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
