"""When the next API call may leave. Pure: `now` is always an argument, in seconds of any steady clock."""

from __future__ import annotations

from enum import IntEnum

MARGIN = 0.02
"""By how much calls are spaced wider than the rate asks, against jitter on the way to the service."""

_FIRST_GATE_S = 0.5
_LONGEST_GATE_S = 8.0


class Priority(IntEnum):
    """Which of the waiting calls goes first; the lowest number wins."""

    REPEAT = 0
    CREATE = 1
    UPLOAD = 2
    POLL = 3


class Spacing:
    """Spaces calls evenly, so that no window of any length holds more than the rate allows, plus one.

    A refusal (802, 429) closes the gate for everybody, longer with each refusal in a row; a success opens it fully.
    """

    def __init__(self, requests_per_second: float | None) -> None:
        self._gap_s = 0.0 if requests_per_second is None else (1 + MARGIN) / requests_per_second
        self._free_at = float("-inf")
        self._refusals = 0

    def next_at(self) -> float:
        """Return when the next call may leave; a time in the past means at once."""
        return self._free_at

    def take(self, now: float) -> None:
        """Note that a call leaves now."""
        self._free_at = max(self._free_at, now + self._gap_s)

    def refused(self, now: float, *, retry_after_s: float | None, jitter: float) -> None:
        """Note that the service said "too many requests".

        Args:
            now: When the refusal arrived.
            retry_after_s: How long the service asked to wait; it wins over the gate's own reckoning.
            jitter: From 0 to 1, so that several processes do not return at the same moment.
        """
        gate_s = min(_LONGEST_GATE_S, max(self._gap_s, _FIRST_GATE_S * 2**self._refusals)) * (0.5 + jitter / 2)
        self._refusals = min(self._refusals + 1, 10)
        wait_s = max(self._gap_s, gate_s) if retry_after_s is None else retry_after_s
        self._free_at = max(self._free_at, now + wait_s)

    def accepted(self) -> None:
        """Note that the service did not refuse a call."""
        self._refusals = 0
