"""When the account's next call may leave, where calls are sent by other machines. Pure: `now` is always an argument."""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque

from facewarp_async.policy.rate import Spacing

LIFE_S = 3.0
"""For how long a turn may be used. A worker that was stopped for longer, whatever stopped it, does not send."""

_HELD_S = LIFE_S + 0.25
"""After which time the coordinator takes a turn for lapsed: a little after its life's end."""


class HeldSpacing(Spacing):
    """As `Spacing`, for calls that are sent by others, who may be slow, stopped or dead.

    The rate's window has a place for each call. A turn holds its place from when it is given. Once it is reported as
    used, the call counts from that moment, and the place is free again when the window has passed it. Until it is
    reported, the call may leave at any moment, and the place is not free at all; a turn that is not reported within its
    life is not used any more. So no window holds more calls than the rate allows, however late any of them was sent.

    Args:
        requests_per_second: The rate.
    """

    def __init__(self, requests_per_second: float) -> None:
        super().__init__(requests_per_second)
        self._numbers = itertools.count()
        self._given: dict[int, float] = {}
        """The turns that are not reported, and when they were given, the oldest first."""
        self._unclaimed: deque[int] = deque()
        self._free_again: list[float] = []

    @property
    def _window_s(self) -> float:
        return self._calls * self._gap_s

    def next_at(self) -> float:
        """Return when the next turn may be given; a time in the past means at once."""
        at = super().next_at()
        if len(self._given) + len(self._free_again) < self._calls:
            return at
        first_at = self._free_again[0] if self._free_again else math.inf
        if self._given:
            first_at = min(first_at, next(iter(self._given.values())) + _HELD_S + self._window_s)
        return max(at, first_at)

    def take(self, now: float) -> None:
        """Give a turn. It is to be claimed by whoever has it."""
        self._tidy(now)
        super().take(now)
        number = next(self._numbers)
        self._given[number] = now
        self._unclaimed.append(number)

    def claim(self, now: float) -> int:
        """Return the number of a turn that was given, the oldest first. Its life begins now."""
        while self._unclaimed:
            number = self._unclaimed.popleft()
            if number in self._given:
                break
        else:  # its place was taken for lapsed while its owner was told
            number = next(self._numbers)
        self._given.pop(number, None)
        self._given[number] = now
        return number

    def used(self, number: int, now: float) -> None:
        """Note that a turn was used just now."""
        given_at = self._given.pop(number, None)
        if given_at is not None:
            # On its way for so little is on time: the margin has room for that much.
            at = given_at if now - given_at <= self._margin / 2 else now
            heapq.heappush(self._free_again, at + self._window_s)

    def lapsed(self, number: int) -> None:
        """Note that a turn will not be used."""
        self._given.pop(number, None)

    def lost(self, number: int, now: float) -> None:
        """Note that nobody will report a turn: it may have been used until now."""
        if self._given.pop(number, None) is not None:
            heapq.heappush(self._free_again, now + self._window_s)

    def _tidy(self, now: float) -> None:
        while self._free_again and self._free_again[0] <= now:
            heapq.heappop(self._free_again)
        while self._given:
            number, given_at = next(iter(self._given.items()))
            if given_at + _HELD_S + self._window_s > now:  # it may have been used at its life's end
                break
            del self._given[number]
