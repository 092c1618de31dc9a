"""What all calls of a credential wait at, whichever machine sends them: the ordinary pacer, in the coordinator."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

from facewarp_async.distributed.turns import HeldSpacing
from facewarp_async.models import TaskKind
from facewarp_async.policy.polling import PollPolicy
from facewarp_async.policy.rate import Priority
from facewarp_async.policy.watching import Watched
from facewarp_async.session import Pacer


class Account:
    """The pacer of a credential.

    Args:
        requests_per_second: The rate.
        policy: When tasks are looked at, on whatever machine they are waited for.
    """

    def __init__(self, requests_per_second: float, policy: PollPolicy) -> None:
        self.spacing: HeldSpacing = HeldSpacing(requests_per_second)
        self.pacer: Pacer = Pacer(requests_per_second, policy, spacing=self.spacing)


class Caller:
    """One worker's part in an account: its turns and the tasks that it waits for. All end with its connection."""

    def __init__(self, account: Account) -> None:
        self._pacer = account.pacer
        self._spacing = account.spacing
        self._turns: set[int] = set()
        self._watched: dict[int, tuple[Watched, ExitStack]] = {}

    async def turn(self, priority: int) -> int:
        """Wait for leave to send one call, and return its number. Cancelling gives its place up."""
        await self._pacer.acquire(Priority(priority))
        return self._claim()

    def _claim(self) -> int:
        number = self._spacing.claim(_now())
        self._turns.add(number)
        return number

    def used(self, number: int) -> None:
        """Note that a call has left."""
        self._turns.discard(number)
        self._spacing.used(number, _now())
        self._pacer.wake()

    def lapsed(self, number: int) -> None:
        """Note that a turn will not be used."""
        self._turns.discard(number)
        self._spacing.lapsed(number)
        self._pacer.unanswered()

    def refused(self, retry_after_s: float | None) -> None:
        """Hold all calls back, because the service said "too many requests"."""
        self._pacer.refused(retry_after_s)

    def accepted(self) -> None:
        """Note that the service did not refuse a call."""
        self._pacer.accepted()

    def unanswered(self) -> None:
        """Note that a call ended without an answer."""
        self._pacer.unanswered()

    def watch(self, number: int, kind: str | None, is_fresh: bool, timeout_s: float) -> None:
        """Enter a task in the account's book, under a number of the worker's."""
        stack = ExitStack()
        watched = stack.enter_context(
            self._pacer.watching(
                None if kind is None else TaskKind(kind), is_fresh=is_fresh, deadline=_now() + timeout_s
            )
        )
        self._watched[number] = watched, stack

    async def look(self, number: int) -> int | None:
        """Wait for leave to look at a task, and return the turn's number; ``None``: its time is over."""
        if await self._pacer.look_turn(self._watched[number][0]) is None:
            return None
        return self._claim()

    def looked(self, number: int, ago_s: float, is_done: bool) -> None:
        """Note what a look has found that was asked for so many seconds ago."""
        if number in self._watched:
            self._pacer.looked(self._watched[number][0], _now() - ago_s, done=is_done)

    def missed(self, number: int) -> None:
        """Note that a look brought no answer."""
        if number in self._watched:
            self._pacer.missed(self._watched[number][0])

    def unwatch(self, number: int) -> None:
        """Strike a task off."""
        if number in self._watched:
            self._watched.pop(number)[1].close()

    def end(self) -> None:
        """Note that the worker is gone: what it was sending may have left until now."""
        for number in self._turns:
            self._spacing.lost(number, _now())
        for number in list(self._watched):
            self.unwatch(number)
        self._pacer.unanswered()


def _now() -> float:
    return asyncio.get_running_loop().time()
