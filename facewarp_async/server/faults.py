"""Faults that a service plays on purpose, so that a client can be tested against them.

A `FaultPlan` is a list of rules. Each says which calls it is about, which of those it hits, and what happens then.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from enum import Enum

from attrs import define, field, frozen, validators

from facewarp_async.wire.requests import ACCESS_URL_PATH, CREATE_PATHS, TASK_PATH, TOKEN_PATH, UPLOAD_URL_PATH

PUT, GET, HEAD = "put", "get", "head"
"""The storage's calls."""

CREATES = frozenset(CREATE_PATHS.values())
"""The calls that create a task."""

API = CREATES | {UPLOAD_URL_PATH, ACCESS_URL_PATH, TASK_PATH}
"""All calls with a token."""

EVERYWHERE = API | {TOKEN_PATH, PUT, GET}
"""All calls that a client makes."""


class Fault(Enum):
    """What can go wrong. Those marked *acted* leave the call's effect behind: a task was created and paid for."""

    RESET_BEFORE = "the connection is reset before the call is read"
    RESET_AFTER = "acted, then the connection is reset: the answer is lost"
    SERVER_ERROR = "HTTP 500 with an envelope"
    BAD_GATEWAY = "HTTP 502 with a gateway's page"
    HALF_DOCUMENT = "acted, and the answer's JSON ends in the middle"
    RATE_LIMITED = "HTTP 429 and code 802, or the code alone"
    SLOW = "acted, but the answer takes its time"
    REDIRECT = "HTTP 302 to somewhere else"
    WRONG_TYPES = "acted, and the answer has strings for numbers and numbers for strings"
    EXPIRED_TOKEN = "HTTP 401"  # noqa: S105 - not a password
    REFUSED = "the rule's code in an envelope"
    TASK_FAILS = "the task is created and fails with the rule's code"
    EMPTY_RESULT = "the task is shown as finished, without a result and without a message"
    CUT_PUT = "the connection is cut in the middle of an upload"
    CUT_GET = "the connection is cut in the middle of a download"
    FORGET_UPLOAD = "the upload is confirmed, and then forgotten: its key is unknown from then on"
    EXPIRED_URL = "HTTP 403: the presigned URL is said to have expired"


_STORAGE_ONLY: dict[Fault, frozenset[str]] = {
    Fault.CUT_PUT: frozenset({PUT}),
    Fault.CUT_GET: frozenset({GET}),
    Fault.FORGET_UPLOAD: frozenset({PUT}),
    Fault.EXPIRED_URL: frozenset({PUT, GET, HEAD}),
}
_ANY_CALL = frozenset({Fault.RESET_BEFORE, Fault.RESET_AFTER, Fault.BAD_GATEWAY, Fault.SLOW, Fault.SERVER_ERROR})

PASSING = (
    Fault.RESET_BEFORE,
    Fault.RESET_AFTER,
    Fault.SERVER_ERROR,
    Fault.BAD_GATEWAY,
    Fault.HALF_DOCUMENT,
    Fault.RATE_LIMITED,
    Fault.SLOW,
    Fault.WRONG_TYPES,
    Fault.EMPTY_RESULT,
    Fault.CUT_PUT,
    Fault.CUT_GET,
    Fault.FORGET_UPLOAD,
    Fault.EXPIRED_URL,
)
"""The faults that a patient client gets over, as far as repeating is safe: what `FaultPlan.everywhere` plays."""


def applies(fault: Fault, call: str) -> bool:
    """Tell whether a fault makes sense for a call."""
    if fault in _STORAGE_ONLY:
        return call in _STORAGE_ONLY[fault]
    if fault in _ANY_CALL:
        return True
    if fault is Fault.TASK_FAILS:
        return call in CREATES
    if fault is Fault.EMPTY_RESULT:
        return call == TASK_PATH
    return call in API or call == TOKEN_PATH


def _as_calls(value: str | Iterable[str]) -> frozenset[str]:
    return frozenset({value}) if isinstance(value, str) else frozenset(value)


def _as_faults(value: Fault | Sequence[Fault]) -> tuple[Fault, ...]:
    return (value,) if isinstance(value, Fault) else tuple(value)


def _as_numbers(value: int | Iterable[int] | None) -> frozenset[int] | None:
    if value is None:
        return None
    return frozenset({value}) if isinstance(value, int) else frozenset(value)


@frozen
class FaultRule:
    """When something goes wrong, and what.

    Attributes:
        faults: What happens; of several, one that applies to the call is drawn.
        calls: The calls that it is about: paths, ``"put"``, ``"get"``, ``"head"``, or a set such as `CREATES`.
        nth: Hits these of the matching calls, counted from 1.
        every: Hits each so-many-th matching call.
        probability: Hits a matching call with this probability. Without `nth`, `every` and `probability` all are hit.
        times: Stops after so many hits; ``None`` for never.
        matching: Hits only what this function of the call's target (path and query) says.
        delay_s: How long `Fault.SLOW` takes.
        retry_after_s: What `Fault.RATE_LIMITED` asks to wait, in its ``Retry-After`` header.
        code: The code of `Fault.REFUSED` and `Fault.TASK_FAILS`.
        message: The message of those two; the code's usual one if empty.
        http_status: The HTTP status of `Fault.RATE_LIMITED`; 200 for the code alone.
        acts: Whether `Fault.SERVER_ERROR` and `Fault.BAD_GATEWAY` come after the call has done its work.
        location: Where `Fault.REDIRECT` points to; the same call again if ``None``.
    """

    faults: tuple[Fault, ...] = field(converter=_as_faults, validator=validators.min_len(1))
    calls: frozenset[str] = field(converter=_as_calls, default=EVERYWHERE)
    nth: frozenset[int] | None = field(default=None, kw_only=True, converter=_as_numbers)
    every: int | None = field(default=None, kw_only=True, validator=validators.optional(validators.ge(1)))
    probability: float | None = field(default=None, kw_only=True)
    times: int | None = field(default=None, kw_only=True)
    matching: Callable[[str], bool] | None = field(default=None, kw_only=True)
    delay_s: float = field(default=0.05, kw_only=True)
    retry_after_s: float | None = field(default=None, kw_only=True)
    code: int = field(default=601, kw_only=True)
    message: str = field(default="", kw_only=True)
    http_status: int = field(default=429, kw_only=True)
    acts: bool = field(default=False, kw_only=True)
    location: str | None = field(default=None, kw_only=True)


@frozen
class Hit:
    """A rule that hit a call, and the fault that was drawn."""

    fault: Fault
    rule: FaultRule


@define
class _Counted:
    """A rule, how many calls it was about, and how many of them it hit."""

    rule: FaultRule
    seen: int = 0
    hits: int = 0


class FaultPlan:
    """Which faults a service plays. Rules are asked in their order; the first that hits decides.

    A plan may be added to and cleared while its service runs, also from another thread.

    Args:
        rules: To begin with.
        seed: For the draws: the same calls in the same order meet the same faults.
    """

    def __init__(self, rules: Iterable[FaultRule] = (), *, seed: int = 0) -> None:
        self._random = random.Random(seed)  # noqa: S311 - repeatable on purpose
        self._rules: list[_Counted] = []
        for rule in rules:
            self.add(rule)

    @classmethod
    def everywhere(cls, probability: float, seed: int = 0, *, faults: Sequence[Fault] = PASSING) -> FaultPlan:
        """Play a mix of faults: each call meets one with the given probability."""
        return cls([FaultRule(tuple(faults), EVERYWHERE, probability=probability)], seed=seed)

    def add(self, rule: FaultRule) -> None:
        """Add a rule behind the others; its calls are counted from now."""
        self._rules.append(_Counted(rule))

    def clear(self) -> None:
        """Play no more faults."""
        self._rules = []  # another list: a call may just be looking at this one

    def draw(self, call: str, target: str) -> Hit | None:
        """Say what goes wrong with a call, if anything. Every call must be asked about once, as it comes in."""
        drawn: Hit | None = None
        for counted in self._rules:
            if drawn is None:
                drawn = self._try(counted, call, target)
        return drawn

    def _try(self, counted: _Counted, call: str, target: str) -> Hit | None:
        rule = counted.rule
        faults = [fault for fault in rule.faults if applies(fault, call)]
        if call not in rule.calls or not faults or (rule.matching is not None and not rule.matching(target)):
            return None
        counted.seen += 1
        if rule.times is not None and counted.hits >= rule.times:
            return None
        if rule.nth is not None and counted.seen not in rule.nth:
            return None
        if rule.every is not None and counted.seen % rule.every:
            return None
        if rule.probability is not None and self._random.random() >= rule.probability:
            return None
        counted.hits += 1
        return Hit(self._random.choice(faults), rule)
