"""When the next API call may leave. Pure: `now` is always an argument, in seconds of any steady clock."""

from __future__ import annotations

from collections import deque
from enum import IntEnum

_FIRST_MARGIN, _LEAST_MARGIN, _MOST_MARGIN = 0.02, 0.005, 0.25
_MARGIN_PER_REFUSAL, _MARGIN_PER_SUCCESS = 0.01, 0.00005
_MADE_UP_S = 0.1
_QUICK_S = 0.05
_SLOT_S = 0.25
"""What a slot is taken for where the rate is not limited."""

_ALONE_FROM = 2
_GATED_FROM = 4
_LONGEST_GATE_SLOTS, _LONGEST_GATE_S = 8.0, 60.0


class Priority(IntEnum):
    """Which of the waiting calls goes first; the lowest number wins."""

    REPEAT = 0
    CREATE = 1
    UPLOAD = 2
    POLL = 3


class Spacing:
    """Spaces calls evenly, a margin wider than the rate asks, so that no second holds more calls than the rate allows.

    The margin is for jitter on the way to the service; refusals widen it and successes narrow it. Calls that left late
    are made up for, a tenth of a second's worth at most, and only while any second, wherever it begins, holds no more
    than the rate. One refusal is taken for jitter and tried again a moment later.
    From the second in a row on calls leave one by one, each after a slot and the last one's answer; from the fourth on
    a gate closes for everybody, for one slot, then two, four and eight. What the service asks for wins over all that.
    """

    def __init__(self, requests_per_second: float | None) -> None:
        self._rate = requests_per_second
        self._margin = _FIRST_MARGIN
        self._calls = max(1, int(requests_per_second or 1))
        self._left: deque[float] = deque(maxlen=self._calls)
        self._free_at = float("-inf")
        self._gate_at = float("-inf")
        self._refusals = 0
        self._is_probing = False

    @property
    def effective_rate(self) -> float | None:
        """How many calls a second leave at most; ``None`` for any number."""
        return None if self._rate is None else self._rate / (1 + self._margin)

    @property
    def _gap_s(self) -> float:
        return 0.0 if self._rate is None else (1 + self._margin) / self._rate

    @property
    def _slot_s(self) -> float:
        return self._gap_s or _SLOT_S

    @property
    def _quick_s(self) -> float:
        return min(_QUICK_S, self._slot_s)

    def next_at(self) -> float:
        """Return when the next call may leave; a time in the past means at once, infinity after an answer only."""
        if self._is_probing:
            return float("inf")
        at = max(self._free_at, self._gate_at)
        return max(at, self._left[0] + self._calls * self._gap_s) if len(self._left) == self._calls else at

    def take(self, now: float) -> None:
        """Note that a call leaves now."""
        due = self.next_at()
        # A timer that is a little late is none: the margin has room for that much.
        self._left.append(due if now - due <= self._margin / 2 else now)
        self._free_at = (now if self._free_at < now - _MADE_UP_S else self._free_at) + self._gap_s
        self._is_probing = self._refusals >= _ALONE_FROM

    def refused(self, now: float, *, retry_after_s: float | None, jitter: float) -> None:
        """Note that the service said "too many requests".

        Args:
            now: When the refusal arrived.
            retry_after_s: How long the service asked to wait. It wins over all else, also where that would be longer.
            jitter: From 0 to 1, so that several processes do not return at the same moment.
        """
        self._is_probing = False
        self._refusals += 1
        if self._left:
            self._left.pop()  # a refused call does not count
        if self._refusals == 1:
            self._margin = min(_MOST_MARGIN, self._margin + _MARGIN_PER_REFUSAL)
        if retry_after_s is not None:
            self._free_at = self._gate_at = now + max(retry_after_s, self._quick_s)
        elif self._refusals == 1:
            self._free_at = now + self._quick_s
        else:
            self._free_at = max(self._free_at, now + self._slot_s)
            if self._refusals >= _GATED_FROM:
                slots = min(_LONGEST_GATE_SLOTS, 2.0 ** min(self._refusals - _GATED_FROM, 10))
                gate_s = min(_LONGEST_GATE_S, slots * self._slot_s)
                self._gate_at = max(self._gate_at, now + gate_s * (0.5 + jitter / 2))

    def accepted(self) -> None:
        """Note that the service did not refuse a call, whatever else it said."""
        self._margin = max(_LEAST_MARGIN, self._margin - _MARGIN_PER_SUCCESS)
        self._refusals = 0
        self._is_probing = False

    def unanswered(self) -> None:
        """Note that a call ended without an answer: another may try the gate."""
        self._is_probing = False
