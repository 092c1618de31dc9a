"""Delays and ranks that users were told of."""

from __future__ import annotations

from facewarp_async.models import TaskKind
from facewarp_async.policy.polling import EMPTY_POLLS, FixedPolling, Plan, Watch
from facewarp_async.policy.rate import Priority, Spacing
from facewarp_async.policy.retry import RetryPolicy


def test_fixed_delays_grow_by_half_up_to_a_minute() -> None:
    policy = FixedPolling()
    delays = [policy.delay_s(TaskKind.IMAGE_SWAP, looks) for looks in range(12)]
    assert delays[:5] == [3, 3, 4.5, 6.75, 10.125]
    assert delays[7:] == [3 * 1.5**6, 3 * 1.5**7, 60, 60, 60]
    assert policy.plan(Watch(TaskKind.VIDEO_SWAP, 100, looks=1)) == Plan(145, 145, 145)
    assert (policy.slow_s(TaskKind.IMAGE_SWAP), policy.slow_s(TaskKind.VIDEO_SWAP)) == (12, 180)
    assert policy.work_left(0, upcoming={}, over_s=0) is None
    assert EMPTY_POLLS == 4, "as the protocol says"


def test_repetitions_go_first_and_looks_last() -> None:
    assert [priority.name for priority in sorted(Priority)] == ["REPEAT", "CREATE", "UPLOAD", "POLL"]


def test_what_is_made_up_for_puts_no_more_calls_into_any_second_than_the_rate_allows() -> None:
    spacing, now, left = Spacing(100), 0.0, list[float]()
    for number in range(1000):
        now = max(now, spacing.next_at()) + (0.09 if number % 60 == 59 else 0.0)  # a timer that is late now and then
        spacing.take(now)
        left.append(now)
    assert min(last - first for first, last in zip(left, left[100:], strict=False)) >= 1.0
    assert left[-1] < 11, "most of the second and a half is made up for"


def test_a_request_is_sent_six_times_after_delays_that_double_up_to_twenty_seconds() -> None:
    delays = [RetryPolicy().delay_s(attempt, jitter=1) for attempt in range(1, 7)]
    assert delays == [0.5, 1, 2, 4, 8, None]
    assert [RetryPolicy(attempts=9).delay_s(attempt, jitter=1) for attempt in (6, 7, 8)] == [16, 20, 20]
