"""The bearer token: fixed, or renewed ahead of its end by one refresh that serves all callers."""

from __future__ import annotations

import copy
import time
from collections.abc import Awaitable, Callable

import anyio

from facewarp_async.config import ApiKey, ClientCredentials
from facewarp_async.errors import AuthenticationError, FaceWarpError
from facewarp_async.models import AccessToken

_AHEAD_S = 60.0
_AHEAD_SHARE = 0.1


class FixedToken:
    """An API key: it is what it is."""

    def __init__(self, credentials: ApiKey) -> None:
        self._key = credentials.key

    async def get(self) -> str:
        """Return the key."""
        return self._key

    async def renew(self, refused: str) -> bool:
        """Return ``False``: a refused key stays refused."""
        return refused != self._key


class RenewedToken:
    """Access tokens for a client id and secret.

    Args:
        fetch: Asks the service for a token.
        clock: Steady seconds.
    """

    def __init__(
        self, fetch: Callable[[], Awaitable[AccessToken]], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._lock = anyio.Lock()
        self._value = ""
        self._renew_at = float("-inf")
        self._failure: FaceWarpError | None = None

    async def get(self) -> str:
        """Return a token that still lives, fetching one if need be.

        Raises:
            FaceWarpError: The service gave none. A refusal of the credentials is final and not asked for again.
        """
        if self._clock() >= self._renew_at:
            await self._replace(self._value)
        return self._value

    async def renew(self, refused: str) -> bool:
        """Replace a token that the service refused, unless another caller has done so; ``True``: try again.

        Raises:
            FaceWarpError: The service gave none.
        """
        await self._replace(refused)
        return True

    async def _replace(self, old: str) -> None:
        """Have another token than `old`. Whoever waits for a refresh shares its end, be it a token or an error."""
        known = self._failure
        async with self._lock:
            failure = self._failure
            if failure is not None and (failure is not known or isinstance(failure, AuthenticationError)):
                raise copy.copy(failure) from failure
            if old == self._value:
                await self._refresh()

    async def _refresh(self) -> None:
        asked_at = self._clock()
        try:
            token = await self._fetch()
        except FaceWarpError as error:
            self._failure = error
            raise
        self._failure, self._value = None, token.value
        self._renew_at = asked_at + token.expires_in_s - min(_AHEAD_S, token.expires_in_s * _AHEAD_SHARE)


def token_source(
    credentials: ApiKey | ClientCredentials, fetch: Callable[[ClientCredentials], Awaitable[AccessToken]]
) -> FixedToken | RenewedToken:
    """Return the token source for the credentials."""
    if isinstance(credentials, ApiKey):
        return FixedToken(credentials)
    return RenewedToken(lambda: fetch(credentials))
