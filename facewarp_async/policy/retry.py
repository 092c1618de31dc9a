"""What is repeated, what never is, and after how long (protocol, "Codes" and "Limits")."""

from __future__ import annotations

from attrs import field, frozen, validators

from facewarp_async.errors import (
    ConnectError,
    FaceWarpError,
    HttpError,
    RateLimitedError,
    Recovery,
    ServerError,
    TransportError,
)


@frozen(kw_only=True)
class RetryPolicy:
    """How often and after how long something is repeated.

    Attributes:
        attempts: How often a request is sent at most, the first time included. Refusals for too many requests do not
            count: they end with the time allowed for all repetitions.
        first_s: The delay before the first repetition, in seconds, before jitter.
        factor: By how much each delay is longer than the one before.
        longest_s: The longest delay.
    """

    attempts: int = field(default=6, validator=validators.ge(1))
    first_s: float = field(default=0.5, validator=validators.ge(0))
    factor: float = field(default=2.0, validator=validators.ge(1))
    longest_s: float = field(default=20.0, validator=validators.ge(0))

    def delay_s(self, attempt: int, *, jitter: float, retry_after_s: float | None = None) -> float | None:
        """Return how long to wait after the given attempt, counted from 1; ``None``: give up.

        Args:
            attempt: How often the request was sent.
            jitter: From 0 to 1; the delay is spread over its upper half.
            retry_after_s: What the service asked for; it is never cut short.
        """
        if attempt >= self.attempts:
            return None
        delay = min(self.longest_s, self.first_s * self.factor ** (attempt - 1)) * (0.5 + jitter / 2)
        return max(delay, retry_after_s or 0.0)


def may_repeat(error: FaceWarpError, *, creates_task: bool) -> bool:
    """Tell whether the same request may be sent again after an error.

    A create is paid for and has no idempotency key: it is repeated only where the service surely did not act.
    """
    if creates_task:
        return isinstance(error, ConnectError | RateLimitedError)
    return error.recovery is Recovery.REPEAT


def leaves_in_doubt(error: FaceWarpError) -> bool:
    """Tell whether a create that ended in this error may have created its task all the same."""
    if isinstance(error, ConnectError):
        return False
    if isinstance(error, HttpError):
        is_final = error.http_status is None or error.http_status >= 200
        return error.recovery is Recovery.REPEAT or not is_final
    return isinstance(error, TransportError | ServerError)


class Repetitions:
    """Decides, failure after failure, whether one request is sent again.

    Args:
        policy: How often and after how long.
        creates_task: Whether the request is paid for.
        give_up_at: When the time for all repetitions is over.
    """

    def __init__(self, policy: RetryPolicy, *, creates_task: bool, give_up_at: float) -> None:
        self._policy = policy
        self._creates_task = creates_task
        self._give_up_at = give_up_at
        self._failures = 0

    def delay_s(self, error: FaceWarpError, *, now: float, jitter: float) -> float | None:
        """Return how long to wait before the next sending; ``None``: give up."""
        if not may_repeat(error, creates_task=self._creates_task):
            return None
        if now + (error.retry_after_s or 0.0) >= self._give_up_at:
            return None  # what the service asks for is never cut short, and never waited for beyond the time allowed
        if isinstance(error, RateLimitedError):
            return 0.0  # the pacer's gate is closed for everybody: waiting there is enough
        self._failures += 1
        return self._policy.delay_s(self._failures, jitter=jitter, retry_after_s=error.retry_after_s)
