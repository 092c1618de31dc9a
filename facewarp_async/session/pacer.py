"""The one limiter that all API calls of a credential wait at, and the one timer for all tasks that are waited for."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from facewarp_async.models import TaskKind
from facewarp_async.policy.polling import PollPolicy
from facewarp_async.policy.rate import Priority, Spacing
from facewarp_async.policy.watching import WatchBook, Watched

_EARLY_S = 1e-4
"""By how much the loop may fire a timer before its time."""

_SLICE = 6
"""How many calls may leave in one turn of the loop, so that thousands that are due at once do not hold it up."""

_CALLS_A_JOB = 3
"""An upload, a create and a look."""

_KEPT_DEADLINES = 64
"""How many deadlines of tasks that have ended may lie about, besides as many as tasks are waited for."""


class Turn(Protocol):
    """Leave to send one call."""

    def leaves(self) -> None:
        """The call is about to be sent.

        Raises:
            ConnectError: It must not be sent any more: its turn has lapsed.
        """
        ...


class Pace(Protocol):
    """What calls wait at, and what is told how they ended: a `Pacer`, or one that lives in another process."""

    async def acquire(self, priority: Priority, /) -> Turn:
        """Wait for leave to send one call. Cancelling the wait gives its place up."""
        ...

    def watching(self, kind: TaskKind | None, /, *, is_fresh: bool, deadline: float) -> AbstractContextManager[Watched]:
        """Have a task in the book."""
        ...

    async def look_turn(self, watched: Watched, /) -> Turn | None:
        """Wait for leave to look at a task; ``None``: its deadline has passed."""
        ...

    def looked(self, watched: Watched, asked_at: float, /, *, done: bool) -> None:
        """Note what a look has found, that was asked for at a time of the loop's clock."""
        ...

    def missed(self, watched: Watched, /) -> None:
        """Note that a look brought no answer."""
        ...

    def refused(self, retry_after_s: float | None, /) -> None:
        """Hold all calls back, because the service said "too many requests"."""
        ...

    def accepted(self) -> None:
        """Note that the service did not refuse a call."""
        ...

    def unanswered(self) -> None:
        """Note that a call ended without an answer."""
        ...

    def counting(self, left: Callable[[], float], /) -> AbstractContextManager[None]:
        """Know how many jobs of a batch have not ended; infinity where there may be any number."""
        ...


class _Now:
    """A turn that does not lapse: who waits for it sends at once."""

    def leaves(self) -> None:
        pass


_NOW = _Now()


class Pacer:
    """Lets calls leave one at a time, no faster than the rate allows, the most urgent first.

    First come calls that are repeated, then creates, looks at tasks that are overdue, uploads and what else is asked
    for, and at last looks that are merely due. Looks are planned by the policy for all tasks together. Near a batch's
    end, where the last task takes longer than all looks that are left, looks wait until nothing else does.

    Args:
        requests_per_second: The rate; ``None`` for no limit.
        policy: When tasks are looked at.
        spacing: Says when the next call may leave; made for the rate if ``None``.
    """

    def __init__(
        self, requests_per_second: float | None, policy: PollPolicy, *, spacing: Spacing | None = None
    ) -> None:
        self._spacing = spacing or Spacing(requests_per_second)
        self._book = WatchBook(policy)
        self._waiting: list[tuple[Priority, int, asyncio.Future[None]]] = []
        self._looking: dict[Watched, asyncio.Future[bool]] = {}
        self._deadlines: list[tuple[float, int, Watched]] = []
        self._batches: list[Callable[[], float]] = []
        self._numbers = itertools.count()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf  # uvloop's timers round theirs, or have none where it is past
        self._soon: asyncio.Handle | None = None

    @property
    def effective_rate(self) -> float | None:
        """How many calls a second leave at most at present; ``None`` for any number."""
        return self._spacing.effective_rate

    async def acquire(self, priority: Priority) -> Turn:
        """Wait for leave to send one call. Cancelling the wait gives its place up."""
        leave: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (priority, next(self._numbers), leave))
        self.wake()
        try:
            await leave
        except asyncio.CancelledError:
            if not leave.cancelled():  # leave was given, and nothing is sent
                self.unanswered()
            raise
        return _NOW

    @contextmanager
    def watching(self, kind: TaskKind | None, *, is_fresh: bool, deadline: float) -> Iterator[Watched]:
        """Have a task in the book.

        Args:
            kind: What it makes.
            is_fresh: Whether it was created just now.
            deadline: When to stop waiting for it, by the loop's clock.
        """
        now = asyncio.get_running_loop().time()
        watched = self._book.add(kind, now, is_fresh=is_fresh)
        watched.deadline = deadline
        heapq.heappush(self._deadlines, (deadline, watched.number, watched))
        try:
            yield watched
        finally:
            self._looking.pop(watched, None)
            if watched.is_away:  # its turn came, and nothing was sent: another call may try a closed gate
                self._spacing.unanswered()
            self._book.remove(watched, asyncio.get_running_loop().time())
            self.wake()  # others may have become due

    @contextmanager
    def counting(self, left: Callable[[], float]) -> Iterator[None]:
        """Know how many jobs of a batch have not ended; infinity where there may be any number."""
        self._batches.append(left)
        try:
            yield
        finally:
            self._batches.remove(left)

    async def look_turn(self, watched: Watched) -> Turn | None:
        """Wait for leave to look at a task; ``None``: its deadline has passed."""
        loop = asyncio.get_running_loop()
        if loop.time() >= watched.deadline:
            return None
        if watched.is_away:  # its turn came while its caller, in another process, had not asked again
            self._book.put_back(watched)
        turn: asyncio.Future[bool] = loop.create_future()
        self._looking[watched] = turn
        self.wake()
        try:
            return _NOW if await turn else None
        except asyncio.CancelledError:
            if not turn.cancelled():
                self.unanswered()
            raise

    def looked(self, watched: Watched, asked_at: float, *, done: bool) -> None:
        """Note what a look has found, that was asked for at a time of the loop's clock."""
        self._book.looked(watched, asked_at, done=done)

    def missed(self, watched: Watched) -> None:
        """Note that a look brought no answer."""
        self._book.missed(watched, asyncio.get_running_loop().time())
        self.unanswered()

    def refused(self, retry_after_s: float | None) -> None:
        """Hold all calls back, because the service said "too many requests"."""
        now = asyncio.get_running_loop().time()
        self._spacing.refused(now, retry_after_s=retry_after_s, jitter=random.random())  # noqa: S311 - no secret
        self.wake()

    def accepted(self) -> None:
        """Note that the service did not refuse a call."""
        self._spacing.accepted()
        self.wake()

    def unanswered(self) -> None:
        """Note that a call ended without an answer."""
        self._spacing.unanswered()
        self.wake()

    def wake(self) -> None:
        """Look again who may go, in the loop's next turn: once, however many ask for it in this one."""
        if self._soon is None:
            self._soon = asyncio.get_running_loop().call_soon(self._serve)

    def _serve(self) -> None:
        """Let as many calls leave as may, and come back when the next one may."""
        self._soon = None
        now = asyncio.get_running_loop().time() + _EARLY_S
        self._expire(now)
        self._book.catch_up(now)
        for _ in range(_SLICE):
            if self._spacing.next_at() > now or not self._let_one_go(now):
                break
            self._spacing.take(now - _EARLY_S)
        self._arm()

    def _let_one_go(self, now: float) -> bool:
        while True:
            while self._waiting and self._waiting[0][2].done():  # its caller was cancelled
                heapq.heappop(self._waiting)
            if self._waiting and self._waiting[0][0] <= Priority.CREATE:
                return self._grant()
            if self._waiting and self._looks_can_wait(now):
                return self._grant()
            watched = self._book.pick(now, only_overdue=bool(self._waiting), at_end=not self._waiting)
            if watched is None:
                return bool(self._waiting) and self._grant()
            turn = self._looking.pop(watched, None)
            # Else its caller was cancelled and is about to strike it off, or has yet to ask again.
            if turn is not None and not turn.done():
                turn.set_result(True)
                return True

    def _looks_can_wait(self, now: float) -> bool:
        """Tell whether the looks that are left all fit into the time that the last task takes after its creation.

        Then none gains anything by going before an upload, and the last task is created the sooner. No task may be
        given up for that before it was looked at.
        """
        rate = self._spacing.effective_rate
        if rate is None or not self._batches:
            return False
        left = max(sum(left() for left in self._batches), len(self._book))
        if left > rate * self._book.slow_s():
            return False
        return not self._deadlines or now + _CALLS_A_JOB * left / rate < self._deadlines[0][0]

    def _grant(self) -> bool:
        heapq.heappop(self._waiting)[2].set_result(None)
        return True

    def _expire(self, now: float) -> None:
        deadlines = self._deadlines
        while deadlines and (deadlines[0][0] <= now or deadlines[0][2] not in self._book):
            turn = self._looking.pop(heapq.heappop(deadlines)[2], None)
            if turn is not None and not turn.done():
                turn.set_result(False)
        if len(deadlines) > 2 * len(self._book) + _KEPT_DEADLINES:
            deadlines[:] = [entry for entry in deadlines if entry[2] in self._book]
            heapq.heapify(deadlines)

    def _arm(self) -> None:
        work_at = -math.inf if self._waiting else self._book.next_at(at_end=True)
        at = -math.inf if self._book.is_behind else max(self._spacing.next_at(), work_at)
        if self._deadlines:
            at = min(at, self._deadlines[0][0])
        if self._timer is not None:
            if self._timer_at == at:
                return
            self._timer.cancel()
            self._timer = None
        if at < math.inf:
            self._timer_at = at
            self._timer = asyncio.get_running_loop().call_at(at, self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        if self._soon is None:  # else that serves, a moment later: twice in one turn would be twice the work
            self._serve()
