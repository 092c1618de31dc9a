"""What a single observation does to what is believed of durations."""

from __future__ import annotations

import math

import pytest

from facewarp_async.policy.durations import Durations


@pytest.mark.parametrize(("not_by_s", "by_s", "at_s"), [(900, 1001, 900), (0.0005, 0.01, 0.01)])
def test_a_task_far_from_all_others_ended_at_the_edge_that_is_nearest_to_them(
    not_by_s: float, by_s: float, at_s: float
) -> None:
    assert Durations(6, 0.15).observe(not_by_s, by_s) == pytest.approx(at_s, rel=1e-6)


def test_a_task_far_from_all_others_leaves_little_doubt_about_when_it_ended() -> None:
    """What widens the spread is how far it is off, of which no more than two counts, on a scale of logarithms."""
    durations = Durations(6, 0.15)
    durations.observe(900, 1001)
    step = 1 / 2
    assert durations.spread**2 == pytest.approx(step * (1 - step) * 2**2, rel=0.03)


@pytest.mark.parametrize(("seen", "step"), [(0, 1 / 2), (3, 1 / 5), (1000, 0.03)])
def test_an_observation_moves_the_median_and_the_spread_by_its_weight(seen: int, step: float) -> None:
    """Two looks that leave little doubt about the time: about twice the median."""
    durations = Durations(6, 0.6, seen=seen)
    off = math.log(durations.observe(10.8, 12) / 6)
    assert off == pytest.approx(math.log(2), rel=0.1)
    assert math.log(durations.typical_s / 6) == pytest.approx(step * off)
    assert durations.spread**2 == pytest.approx(0.36 + step * (off * off * (1 - step) - 0.36), abs=0.001)
    assert durations.seen == seen + 1
