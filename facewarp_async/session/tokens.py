"""The bearer token: fixed, or renewed ahead of its end by one refresh that serves all callers."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import anyio

from facewarp_async.config import ApiKey, ClientCredentials
from facewarp_async.errors import AuthenticationError
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
        self._refusal: AuthenticationError | None = None

    async def get(self) -> str:
        """Return a token that still lives, fetching one if need be.

        Raises:
            FaceWarpError: The service gave none. A refusal of the credentials is final and not asked for again.
        """
        if self._clock() >= self._renew_at:
            async with self._lock:
                if self._clock() >= self._renew_at:
                    await self._refresh()
        return self._value

    async def renew(self, refused: str) -> bool:
        """Replace a token that the service refused, unless another caller has done so; ``True``: try again.

        Raises:
            FaceWarpError: The service gave none.
        """
        async with self._lock:
            if refused == self._value:
                await self._refresh()
        return True

    async def _refresh(self) -> None:
        if self._refusal is not None:
            raise AuthenticationError(self._refusal.message, http_status=self._refusal.http_status)
        asked_at = self._clock()
        try:
            token = await self._fetch()
        except AuthenticationError as error:
            self._refusal = error
            raise
        self._value = token.value
        self._renew_at = asked_at + token.expires_in_s - min(_AHEAD_S, token.expires_in_s * _AHEAD_SHARE)


def token_source(
    credentials: ApiKey | ClientCredentials, fetch: Callable[[ClientCredentials], Awaitable[AccessToken]]
) -> FixedToken | RenewedToken:
    """Return the token source for the credentials."""
    if isinstance(credentials, ApiKey):
        return FixedToken(credentials)
    return RenewedToken(lambda: fetch(credentials))
