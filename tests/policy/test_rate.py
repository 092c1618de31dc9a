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


@pytest.mark.parametrize("rate", [0.01, 0.5, 1, None])
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
