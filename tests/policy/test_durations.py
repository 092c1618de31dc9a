"""How long tasks take, learnt from intervals."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facewarp_async.policy.durations import Durations


def test_half_the_tasks_are_done_after_the_typical_time() -> None:
    durations = Durations(6)
    assert durations.done_by(6) == pytest.approx(0.5)
    assert durations.when_done(0.5) == pytest.approx(6)
    assert durations.when_done(0.8) == pytest.approx(6 * math.exp(0.6 * 0.8416), rel=1e-3)


def test_a_task_that_was_not_done_takes_longer_than_another() -> None:
    durations = Durations(6)
    assert durations.when_done(0.8, not_by_s=6) > durations.when_done(0.8)
    assert durations.done_by(7, not_by_s=6) < durations.done_by(7)


@given(st.floats(0.02, 1e4), st.floats(0.15, 1.5), st.floats(0.01, 0.99), st.floats(0, 20))
def test_what_is_done_by_a_time_and_when_it_is_done_agree(
    typical_s: float, spread: float, probability: float, known: float
) -> None:
    durations, not_by_s = Durations(typical_s, spread), known * typical_s
    at_s = durations.when_done(probability, not_by_s=not_by_s)
    assert not_by_s < at_s < math.inf
    if durations.done_by(not_by_s) < 1 - 1e-6:  # beyond, only few digits are left
        assert durations.done_by(at_s, not_by_s=not_by_s) == pytest.approx(probability, abs=0.01)


@pytest.mark.parametrize("true_s", [0.5, 6, 40])
@pytest.mark.parametrize("true_spread", [0.2, 0.45, 1.0])
def test_it_comes_near_to_what_is_true_though_looks_come_late(true_s: float, true_spread: float) -> None:
    """Each task is looked at when it is done with a probability of 0.8, and again likewise if it was not."""
    durations, draw = Durations(6), random.Random(1)
    typical, spread = list[float](), list[float]()
    for _ in range(3000):
        took_s, not_by_s, by_s = true_s * draw.lognormvariate(0, true_spread), 0.0, durations.when_done(0.8)
        while by_s < took_s:
            not_by_s, by_s = by_s, durations.when_done(0.8, not_by_s=by_s)
        durations.observe(not_by_s, by_s)
        typical.append(durations.typical_s)
        spread.append(durations.spread)
    assert sum(typical[2000:]) / 1000 == pytest.approx(true_s, rel=0.25)
    assert sum(spread[2000:]) / 1000 == pytest.approx(true_spread, rel=0.5)


def test_the_first_observations_count_most() -> None:
    durations = Durations(60, 0.6)
    for _ in range(5):
        durations.observe(2.9, 3.0)
    assert durations.typical_s < 6


def test_one_straggler_does_not_make_all_times_uncertain() -> None:
    durations = Durations(6, 0.3, seen=100)
    durations.observe(5000, 6000)
    assert durations.spread < 0.5
    assert durations.typical_s < 9


@given(
    st.lists(st.tuples(st.floats(-10, 1e6), st.floats(-10, 1e6)), max_size=100),
    st.floats(0.0001, 1e6),
    st.floats(0.0001, 100),
)
def test_whatever_is_observed_the_times_stay_sensible(
    intervals: list[tuple[float, float]], typical_s: float, spread: float
) -> None:
    durations = Durations(typical_s, spread)
    for not_by_s, by_s in intervals:
        assert 0 < durations.observe(not_by_s, by_s) < math.inf
        assert 0.0001 < durations.typical_s < 8 * 3600
        assert 0.15 <= durations.spread <= 1.5
        assert 0 < durations.when_done(0.15) < durations.when_done(0.98) < math.inf


def test_a_copy_learns_for_itself() -> None:
    first = Durations(6)
    second = first.copy()
    second.observe(1, 2)
    assert first.typical_s == pytest.approx(6)
    assert first.seen == 0
    assert second.seen == 1


def test_a_task_far_slower_than_all_others_is_as_likely_done_as_not_at_any_later_time() -> None:
    assert Durations(6).done_by(10**6, not_by_s=10**5) == 0.5


@pytest.mark.parametrize("spread", [0.15, 0.6, 1.5])
def test_when_a_task_is_done_does_not_jump_where_hardly_any_takes_so_long(spread: float) -> None:
    durations = Durations(6, spread)
    one, other = (durations.when_done(0.5, not_by_s=6 * math.exp(far * spread)) for far in (5.99, 6.01))
    assert one < other == pytest.approx(one * math.exp(0.02 * spread), rel=0.01)
