"""The laws of the limiter, without a clock."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from facewarp_async.policy.rate import Spacing

rates = st.floats(0.1, 1000)


@given(rates, st.lists(st.floats(0, 3), min_size=2, max_size=60))
def test_no_window_of_a_second_holds_more_than_the_rate_allows(rate: float, pauses: list[float]) -> None:
    spacing, now, left = Spacing(rate), 0.0, []
    for pause in pauses:
        now = max(now + pause / rate, spacing.next_at())
        spacing.take(now)
        left.append(now)
    for first, start in enumerate(left):
        inside = sum(1 for time in left[first:] if time < start + 1)
        assert inside <= rate + 1


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


def test_refusals_in_a_row_close_the_gate_for_longer_and_a_success_ends_that() -> None:
    spacing, waits = Spacing(10), []
    for _ in range(8):
        now = max(spacing.next_at(), 0.0)
        spacing.take(now)
        spacing.refused(now, retry_after_s=None, jitter=1)
        waits.append(spacing.next_at() - now)
    assert [round(wait, 3) for wait in waits] == [0.5, 1, 2, 4, 8, 8, 8, 8]
    spacing.accepted()
    now = spacing.next_at()
    spacing.refused(now, retry_after_s=None, jitter=1)
    assert round(spacing.next_at() - now, 3) == 0.5
