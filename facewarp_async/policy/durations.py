"""How long tasks of one kind take, learnt from looks that found them done or not yet. Pure."""

from __future__ import annotations

import math
from statistics import NormalDist

_NORMAL = NormalDist()
_START_WEIGHS = 1.0
"""What to start from counts as so many observations."""

_LEAST_STEP = 0.03
_LEAST_SPREAD, _MOST_SPREAD = 0.15, 1.5
"""Were it less, looks that all come too late would lead away from where they are too slowly."""

_FAR = 8.0
_FARTHEST_OFF = 2.0
_SHORTEST_S, _LONGEST_S = 0.001, 6 * 3600.0


class Durations:
    """A log-normal distribution that follows what is seen.

    A look never tells when a task ended, only that it did between two looks. So each observation is an interval; what
    counts is the mean and the variance that the distribution itself gives for within it (the EM algorithm, one step an
    observation). Old observations fade: each new one weighs at least three in a hundred.

    Args:
        typical_s: The median to start from, in seconds.
        spread: The standard deviation of the logarithm: 0.6 means that two in three are within a factor of 1.8.
        seen: How many observations that comes from.
    """

    __slots__ = ("_mean", "_seen", "_variance")

    def __init__(self, typical_s: float, spread: float = 0.6, *, seen: int = 0) -> None:
        self._mean = math.log(min(max(typical_s, _SHORTEST_S), _LONGEST_S))
        self._variance = min(max(spread, _LEAST_SPREAD), _MOST_SPREAD) ** 2
        self._seen = seen

    def copy(self) -> Durations:
        """Return one that starts from where this one is."""
        return Durations(self.typical_s, self.spread, seen=self._seen)

    @property
    def typical_s(self) -> float:
        """The median."""
        return math.exp(self._mean)

    @property
    def spread(self) -> float:
        """The standard deviation of the logarithm."""
        return min(max(math.sqrt(self._variance), _LEAST_SPREAD), _MOST_SPREAD)

    @property
    def seen(self) -> int:
        """How many observations were taken into account."""
        return self._seen

    def done_by(self, elapsed_s: float, *, not_by_s: float = 0.0) -> float:
        """Return how probable it is that a task is done after some time, if it was not done after a shorter one."""
        left = self._left(not_by_s)
        return 0.5 if left < 1e-9 else max(0.0, 1 - self._left(elapsed_s) / left)

    def _left(self, elapsed_s: float) -> float:
        """Return the share of tasks that take longer."""
        if elapsed_s <= 0:
            return 1.0
        return 0.5 * math.erfc((math.log(elapsed_s) - self._mean) / self.spread / math.sqrt(2))

    def when_done(self, probability: float, *, not_by_s: float = 0.0) -> float:
        """Return after what time a task is done so probably, if it was not done after a shorter one."""
        left = self._left(not_by_s)
        if left < 1e-9:  # far slower than any other: the times grow from where it is
            far = (math.log(not_by_s) - self._mean) / self.spread
            return not_by_s * (1 - self.spread / far * math.log(1 - probability))
        return math.exp(self._mean - self.spread * _NORMAL.inv_cdf(left * (1 - probability)))

    def observe(self, not_by_s: float, by_s: float) -> float:
        """Take into account that a task was done within an interval; return when it probably was."""
        by_s = min(max(by_s, _SHORTEST_S), _LONGEST_S)
        mean, variance = self._within(min(not_by_s, 0.9 * by_s), by_s)
        self._seen += 1
        step = max(1 / (self._seen + _START_WEIGHS), _LEAST_STEP)
        off = min(max(mean - self._mean, -_FARTHEST_OFF), _FARTHEST_OFF)  # one straggler must not blow up the spread
        self._mean += step * (mean - self._mean)
        self._variance += step * (off * off * (1 - step) + variance - self._variance)
        return math.exp(mean)

    def _within(self, low_s: float, high_s: float) -> tuple[float, float]:
        """Return the mean and the variance of the logarithm, between two times."""
        spread = self.spread
        low = max((math.log(low_s) - self._mean) / spread, -_FAR) if low_s > 0 else -_FAR
        high = min((math.log(high_s) - self._mean) / spread, _FAR)
        share = _NORMAL.cdf(high) - _NORMAL.cdf(low)
        if share < 1e-9:  # in a tail, where all that is left lies at the edge next to the middle
            return self._mean + spread * (low if low > 0 else high), 0.01
        at_low, at_high = _NORMAL.pdf(low), _NORMAL.pdf(high)
        mean = (at_low - at_high) / share
        variance = 1 + (low * at_low - high * at_high) / share - mean * mean
        return self._mean + spread * mean, spread * spread * max(0.0, variance)
