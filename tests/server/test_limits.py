"""The request limit over a sliding window."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facewarp_async.server.limits import SlidingWindow


@given(st.integers(1, 20), st.lists(st.floats(0, 0.5), max_size=200))
def test_no_window_holds_more_than_the_rate(rate: int, gaps: list[float]) -> None:
    """Wherever a second begins, at most `rate` of its calls were admitted."""
    window, now, admitted = SlidingWindow(rate), 0.0, []
    for gap in gaps:
        now += gap
        if window.admit(now):
            admitted.append(now)
    for index, first in enumerate(admitted[rate:]):
        assert first - admitted[index] >= 1.0


@given(st.integers(1, 20), st.integers(1, 100))
def test_admits_the_full_rate(rate: int, calls: int) -> None:
    """Calls at exactly the rate are all admitted, in bursts too."""
    window = SlidingWindow(rate)
    assert all(window.admit(float(index // rate)) for index in range(calls))


def test_rates_below_one_and_none() -> None:
    """Half a call a second is one in two; no rate is no limit."""
    window = SlidingWindow(0.5)
    assert [window.admit(now) for now in (0.0, 1.9, 2.0, 3.9, 4.0)] == [True, False, True, False, True]
    assert all(SlidingWindow(None).admit(0.0) for _ in range(1000))


def test_a_refused_call_costs_nothing() -> None:
    """Knocking while the window is full does not keep it full."""
    window = SlidingWindow(1)
    assert window.admit(0.0)
    assert not any(window.admit(now / 100) for now in range(1, 100))
    assert window.admit(1.0)


@pytest.mark.parametrize("rate", [1, 20])
def test_remembers_only_a_window(rate: int) -> None:
    """What lies behind the window is forgotten."""
    window = SlidingWindow(rate)
    for second in range(1000):
        window.admit(float(second))
    assert len(window._admitted) <= rate
