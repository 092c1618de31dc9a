"""The laws of the limiter, without a clock."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facewarp_async.policy.rate import Spacing

rates = st.one_of(st.floats(0.1, 1000), st.integers(1, 1000))


@given(rates, st.lists(st.floats(0, 3), min_size=2, max_size=120))
def test_no_second_holds_more_calls_than_the_rate_allows(rate: float, pauses: list[float]) -> None:
    spacing, now, left = Spacing(rate), 0.0, []
    for pause in pauses:
        now = max(now + (pause - 1.5) / rate, spacing.next_at())
        spacing.take(now)
        left.append(now)
    for first, start in enumerate(left):
        inside = sum(1 for time in left[first:] if time <= start + 1)
        assert inside <= max(1, math.ceil(rate))


@given(rates)
def test_lateness_of_the_timer_does_not_lower_the_rate(rate: float) -> None:
    spacing, now = Spacing(rate), 0.0
    late_s = min(0.005, 0.01 / rate)
    for _ in range(1000):
        spacing.take(now)
        spacing.accepted()
        now = spacing.next_at() + late_s
    assert now <= 1000 / rate * 1.021 + 0.01


@given(st.lists(st.floats(0, 1), max_size=20))
def test_without_a_limit_a_call_leaves_at_once(pauses: list[float]) -> None:
    spacing, now = Spacing(None), 0.0
    for pause in pauses:
        now += pause
        assert spacing.next_at() <= now
        spacing.take(now)


@given(rates, st.floats(0, 1), st.floats(0, 100))
def test_what_the_service_asks_for_is_waited(rate: float, jitter: float, retry_after_s: float) -> None:
    spacing = Spacing(rate)
    spacing.take(0)
    spacing.refused(0.1, retry_after_s=retry_after_s, jitter=jitter)
    assert spacing.next_at() >= 0.1 + retry_after_s


def test_one_refusal_is_tried_again_at_once_and_many_close_the_gate_for_ever_more_slots() -> None:
    spacing, waits = Spacing(10), []
    for _ in range(9):
        now = max(spacing.next_at(), 0.0)
        spacing.take(now)
        spacing.refused(now, retry_after_s=None, jitter=1)
        waits.append(round(spacing.next_at() - now, 2))
    assert waits == [0.05, 0.1, 0.1, 0.1, 0.21, 0.41, 0.82, 0.82, 0.82]


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.5, 1, None])
def test_no_gate_is_closed_for_more_than_a_minute(rate: float | None) -> None:
    spacing = Spacing(rate)
    for _ in range(50):
        spacing.refused(0, retry_after_s=None, jitter=1)
    assert spacing.next_at() <= max(60, 1.5 / (rate or 1))


@given(rates, st.lists(st.floats(0, 1), max_size=12), st.floats(0, 600))
def test_what_the_service_asks_for_wins_over_every_gate(
    rate: float, jitters: list[float], retry_after_s: float
) -> None:
    """Also where it is shorter; but none is ever hammered."""
    spacing = Spacing(rate)
    for jitter in jitters:
        spacing.take(0)
        spacing.refused(0.1, retry_after_s=None, jitter=jitter)
    spacing.take(0)
    spacing.refused(0.1, retry_after_s=retry_after_s, jitter=0)
    assert spacing.next_at() == pytest.approx(0.1 + max(retry_after_s, min(0.05, spacing.next_at() - 0.1)))


def test_after_two_refusals_calls_leave_one_by_one() -> None:
    spacing = Spacing(None)
    for _ in range(2):
        spacing.refused(0, retry_after_s=None, jitter=1)
    spacing.take(spacing.next_at())
    assert spacing.next_at() == math.inf
    spacing.accepted()
    assert spacing.next_at() <= 0.25


def test_a_single_call_tries_a_closed_gate() -> None:
    spacing = Spacing(None)
    for _ in range(5):
        spacing.refused(0, retry_after_s=None, jitter=1)
    spacing.take(spacing.next_at())
    assert spacing.next_at() == math.inf
    spacing.unanswered()
    assert spacing.next_at() == 0.5
    spacing.take(0.5)
    spacing.accepted()
    assert spacing.next_at() <= 0.5


def test_refusals_widen_the_margin_and_successes_narrow_it() -> None:
    spacing = Spacing(100)
    rates_seen = [spacing.effective_rate]
    spacing.refused(0, retry_after_s=None, jitter=1)
    rates_seen.append(spacing.effective_rate)
    for _ in range(1000):
        spacing.accepted()
    rates_seen.append(spacing.effective_rate)
    first, refused, later = (rate or 0 for rate in rates_seen)
    assert refused < first < later < 100


def test_one_refusal_outweighs_many_successes_and_no_number_of_them_costs_more_than_a_fifth_of_the_rate() -> None:
    spacing = Spacing(100)
    first = spacing.effective_rate or 0
    spacing.refused(0, retry_after_s=None, jitter=1)
    for _ in range(100):
        spacing.accepted()
    assert (spacing.effective_rate or 0) < first
    for _ in range(100):
        spacing.refused(0, retry_after_s=None, jitter=1)
        spacing.accepted()
    assert (spacing.effective_rate or 0) == pytest.approx(80, rel=0.001)


@pytest.mark.parametrize(("pause_s", "at_once"), [(0.04, 4), (0.5, 1)])
def test_what_is_made_up_for_is_a_short_delay_and_no_pause(pause_s: float, at_once: int) -> None:
    spacing = Spacing(100)
    spacing.take(0)
    now, left = spacing.next_at() + pause_s, 0
    while spacing.next_at() <= now:
        spacing.take(now)
        left += 1
    assert left == at_once


@pytest.mark.parametrize("late_s", [0.03, 0.09])
def test_at_one_call_a_second_the_one_after_a_late_one_leaves_no_sooner_than_a_second_later(late_s: float) -> None:
    spacing = Spacing(1)
    spacing.take(0)
    late = spacing.next_at() + late_s
    spacing.take(late)
    assert spacing.next_at() >= late + 1


@pytest.mark.parametrize("rate", [1, 10])
def test_calls_that_are_a_little_late_are_as_many_as_those_in_time(rate: float) -> None:
    spacing, now = Spacing(rate), 0.0
    for _ in range(1000):
        spacing.take(now)
        now = spacing.next_at() + 0.009
    assert now == pytest.approx(1000 * 1.02 / rate, abs=0.1)


def test_after_a_second_refusal_a_slot_is_waited_where_the_rate_is_not_limited() -> None:
    spacing = Spacing(None)
    for now, next_at in ((0, 0.05), (0.05, 0.3)):
        spacing.take(now)
        spacing.refused(now, retry_after_s=None, jitter=1)
        assert spacing.next_at() == pytest.approx(next_at)


@pytest.mark.parametrize(("jitter", "wait_s"), [(0, 1), (0.5, 1.5), (1, 2)])
def test_a_closed_gate_is_waited_for_half_its_time_at_least_and_all_of_it_at_most(jitter: float, wait_s: float) -> None:
    spacing = Spacing(None)
    for _ in range(7):
        spacing.refused(0, retry_after_s=None, jitter=jitter)
    assert spacing.next_at() == wait_s, "of eight slots of a quarter of a second"


def test_after_a_success_a_refusal_is_the_first_again() -> None:
    spacing = Spacing(None)
    for now in (0, 1, 2):
        spacing.refused(now, retry_after_s=None, jitter=1)
        assert spacing.next_at() == pytest.approx(now + 0.05)
        spacing.accepted()
