"""What is repeated, what is not, and what is in doubt."""

from __future__ import annotations

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from facewarp_async.errors import (
    AuthenticationError,
    BadRequestError,
    ConnectError,
    ConnectionLostError,
    CreditsExhaustedError,
    FaceWarpError,
    HttpError,
    IncompleteTransferError,
    MalformedAnswerError,
    NoFaceError,
    RateLimitedError,
    RequestTimeoutError,
    ServerError,
    SourceNotFoundError,
)
from facewarp_async.policy.retry import Repetitions, RetryPolicy, leaves_in_doubt, may_repeat

# error, repeated where that is safe, repeated as a create, a create is in doubt
TABLE: list[tuple[FaceWarpError, bool, bool, bool]] = [
    (ConnectError("x"), True, True, False),
    (RateLimitedError("x"), True, True, False),
    (ConnectionLostError("x"), True, False, True),
    (RequestTimeoutError("x"), True, False, True),
    (IncompleteTransferError("x"), True, False, True),
    (ServerError("x"), True, False, True),
    (HttpError("x", http_status=502), True, False, True),
    (HttpError("x", http_status=408), True, False, True),
    (MalformedAnswerError("x", http_status=200), True, False, True),
    (HttpError("x", http_status=404), False, False, False),
    (HttpError("x", http_status=302), False, False, False),
    (HttpError("x", http_status=101), False, False, True),  # not the last word on the request
    (BadRequestError("x"), False, False, False),
    (AuthenticationError("x"), False, False, False),
    (CreditsExhaustedError("x"), False, False, False),
    (SourceNotFoundError("x"), False, False, False),
    (NoFaceError("x"), False, False, False),
]


@pytest.mark.parametrize(("error", "safe", "create", "doubt"), TABLE, ids=lambda value: type(value).__name__)
def test_each_error_is_repeated_or_in_doubt_as_the_design_says(
    error: FaceWarpError, safe: bool, create: bool, doubt: bool
) -> None:
    assert may_repeat(error, creates_task=False) is safe
    assert may_repeat(error, creates_task=True) is create
    assert leaves_in_doubt(error) is doubt


def test_nothing_that_leaves_a_create_in_doubt_is_repeated() -> None:
    assert not [error for error, *_ in TABLE if leaves_in_doubt(error) and may_repeat(error, creates_task=True)]


@given(st.integers(1, 20), st.floats(0, 1), st.none() | st.floats(0, 600))
def test_delays_grow_within_bounds_and_obey_the_service(attempt: int, jitter: float, asked: float | None) -> None:
    policy = RetryPolicy(attempts=10)
    delay = policy.delay_s(attempt, jitter=jitter, retry_after_s=asked)
    if attempt >= 10:
        assert delay is None
        return
    assert delay is not None
    full = min(policy.longest_s, policy.first_s * 2 ** (attempt - 1))
    assert delay >= (asked or 0)
    assert full / 2 <= delay <= max(full, asked or 0)


def test_a_request_is_sent_as_often_as_the_policy_says() -> None:
    repetitions = Repetitions(RetryPolicy(attempts=3), creates_task=False, give_up_at=100)
    delays = [repetitions.delay_s(ServerError("x"), now=0, jitter=1) for _ in range(3)]
    assert delays == [0.5, 1.0, None]


def test_refusals_end_with_the_time_and_not_with_the_attempts() -> None:
    repetitions = Repetitions(RetryPolicy(attempts=1), creates_task=True, give_up_at=100)
    refused = RateLimitedError("x")
    assert [repetitions.delay_s(refused, now=now, jitter=1) for now in (0, 50, 99, 100)] == [0, 0, 0, None]


def test_what_the_service_asks_for_is_not_waited_for_beyond_the_time_allowed() -> None:
    repetitions = Repetitions(RetryPolicy(), creates_task=True, give_up_at=100)
    asked = [RateLimitedError("x", retry_after_s=seconds) for seconds in (49, 50)]
    assert [repetitions.delay_s(error, now=50, jitter=1) for error in asked] == [0, None]


def test_a_policy_may_repeat_nothing_or_at_once_and_no_less() -> None:
    policy = RetryPolicy(attempts=1, first_s=0, factor=1, longest_s=0)
    assert policy.delay_s(1, jitter=1) is None
    assert evolve(policy, attempts=2).delay_s(1, jitter=1) == 0
    for wrong in ({"attempts": 0}, {"first_s": -0.1}, {"factor": 0.9}, {"longest_s": -0.1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            evolve(policy, **wrong)
