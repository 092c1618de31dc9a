"""The request limit of a credential."""

from __future__ import annotations

from collections import deque


class SlidingWindow:
    """Admits so many calls in any window of time, whenever the window begins.

    Two calls in the last tenth of one second and two in the first tenth of the next are four within a second, which
    a limit that counts by the clock's seconds would let through.

    Args:
        rate: Calls a second. Below one it is one call in ``1 / rate`` seconds. ``None``: no limit.
    """

    def __init__(self, rate: float | None) -> None:
        self._calls = 0 if rate is None else max(1, int(rate))
        self._window_s = 0.0 if rate is None else self._calls / rate
        self._admitted: deque[float] = deque()

    def admit(self, now: float) -> bool:
        """Tell whether a call at `now`, in seconds of a clock that never goes back, is within the limit.

        A call that was refused does not count against the next.
        """
        if not self._calls:
            return True
        while self._admitted and now - self._admitted[0] >= self._window_s:
            self._admitted.popleft()
        if len(self._admitted) >= self._calls:
            return False
        self._admitted.append(now)
        return True
