"""The session: every API call of a client goes through `ApiSession.call`."""

from __future__ import annotations

import logging
import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Protocol, TypeVar

import aiohttp
import anyio

from facewarp_async.config import ClientCredentials, Credentials, Provider, Timeouts
from facewarp_async.errors import AuthenticationError, ConnectError, FaceWarpError, InDoubtError, RateLimitedError
from facewarp_async.models import AccessToken
from facewarp_async.policy.polling import PollPolicy
from facewarp_async.policy.rate import Priority
from facewarp_async.policy.retry import Repetitions, RetryPolicy, leaves_in_doubt
from facewarp_async.session.exchange import exchange
from facewarp_async.session.pacer import Pace, Pacer, Turn
from facewarp_async.session.tokens import token_source
from facewarp_async.wire.answers import Answer, parse_token
from facewarp_async.wire.requests import ApiRequest, build_token_request

T = TypeVar("T")

logger: logging.Logger = logging.getLogger(__name__)

_jitter = random.random


class Sending(Protocol):
    """Follows a request that must not be lost sight of."""

    async def leaves(self) -> None:
        """The request's turn has come: it leaves when this returns, unless this raises; each time that it is sent."""
        ...

    async def refused(self) -> None:
        """The request surely had no effect, or was never sent."""
        ...


class ApiSession:
    """Authorises, paces and repeats API calls.

    Args:
        http: Sends them; it stays the caller's to close.
        provider: Where they go, and how often.
        credentials: Who asks.
        timeouts: How long to wait for connections and answers.
        retry: How often and when to repeat.
        polling: When tasks are looked at.
        pacer: What all calls wait at; one of its own, for the provider's rate, if ``None``.
    """

    def __init__(
        self,
        http: aiohttp.ClientSession,
        provider: Provider,
        credentials: Credentials,
        *,
        timeouts: Timeouts,
        retry: RetryPolicy,
        polling: PollPolicy,
        pacer: Pace | None = None,
    ) -> None:
        self._http = http
        self._base_url = provider.base_url
        self._timeouts = timeouts
        self._retry = retry
        self.pacer: Pace = pacer or Pacer(provider.requests_per_second, polling)
        """What all calls wait at."""
        self.calls_made: Counter[str] = Counter()
        """How many calls have left, by their paths; also those that were refused, repeated or not answered."""
        self._tokens = token_source(credentials, self._fetch_token)

    async def call(
        self,
        request: ApiRequest,
        parse: Callable[[Answer], T],
        *,
        priority: Priority | Turn,
        sending: Sending | None = None,
    ) -> T:
        """Send a request, as often as that is safe, and return what its answer says.

        Args:
            request: What to send.
            parse: Reads the answer, raising the error that it means.
            priority: Its place among the calls that wait, or its turn where that has come already.
            sending: Told when the request leaves and when it is sure to have had no effect.

        Raises:
            InDoubtError: It creates a task, and whether it did is not known. It was not sent again.
            FaceWarpError: Any other end, as `parse` and the connection tell it.
        """
        repetitions = self._repetitions(creates_task=request.creates_task)
        renewed = False
        while True:
            token = await self._tokens.get()  # outside the try: a failed token call leaves no create in doubt
            try:
                return await self._send(request, parse, token=token, priority=priority, sending=sending)
            except AuthenticationError:
                if sending is not None:
                    await sending.refused()
                if renewed or not await self._tokens.renew(token):
                    raise
                renewed = True
            except FaceWarpError as error:
                if sending is not None and not leaves_in_doubt(error):
                    await sending.refused()
                if not await self._wait_after(error, repetitions):
                    if request.creates_task and leaves_in_doubt(error):
                        raise _in_doubt(error) from error
                    raise
            priority = Priority.REPEAT

    async def _fetch_token(self, credentials: ClientCredentials) -> AccessToken:
        request = build_token_request(credentials)
        repetitions = self._repetitions(creates_task=False)
        while True:
            self.pacer.unanswered()  # who needs the token may be the one call that tries the gate: this goes before it
            try:
                return await self._send(request, parse_token, token=None, priority=Priority.REPEAT)
            except FaceWarpError as error:
                if not await self._wait_after(error, repetitions):
                    raise

    def _repetitions(self, *, creates_task: bool) -> Repetitions:
        give_up_at = time.monotonic() + self._timeouts.repeat_s
        return Repetitions(self._retry, creates_task=creates_task, give_up_at=give_up_at)

    async def _wait_after(self, error: FaceWarpError, repetitions: Repetitions) -> bool:
        delay_s = repetitions.delay_s(error, now=time.monotonic(), jitter=_jitter())
        if delay_s is None:
            return False
        logger.debug("repeating in %.1f s after: %s", delay_s, error)
        await anyio.sleep(delay_s)
        return True

    async def _send(
        self,
        request: ApiRequest,
        parse: Callable[[Answer], T],
        *,
        token: str | None,
        priority: Priority | Turn,
        sending: Sending | None = None,
    ) -> T:
        turn = await self.pacer.acquire(priority) if isinstance(priority, Priority) else priority
        begun = time.monotonic()
        try:
            if sending is not None:
                await sending.leaves()
            self.calls_made[request.path] += 1
            turn.leaves()
            answer = await exchange(self._http, self._base_url, request, token=token, timeouts=self._timeouts)
        except BaseException as error:
            if isinstance(error, ConnectError):  # nothing was sent
                self.calls_made[request.path] -= 1
            self.pacer.unanswered()
            raise
        logger.debug(
            "%s %s -> HTTP %d in %.3f s", request.method, request.target, answer.status, time.monotonic() - begun
        )
        try:
            value = parse(answer)
        except FaceWarpError as error:
            if isinstance(error, RateLimitedError):
                self.pacer.refused(_bounded(error.retry_after_s, self._timeouts.repeat_s))
            else:
                self.pacer.accepted()
            raise
        self.pacer.accepted()
        return value


def _bounded(retry_after_s: float | None, longest_s: float) -> float | None:
    """Close the gate to all calls for no longer than one call may take: no single answer stops a client for hours."""
    return None if retry_after_s is None else min(retry_after_s, longest_s)


def _in_doubt(error: FaceWarpError) -> InDoubtError:
    return InDoubtError(
        f"a task may or may not have been created: {error.message}", code=error.code, http_status=error.http_status
    )
