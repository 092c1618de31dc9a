"""Who may call: the API key, and access tokens that need no memory."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from enum import Enum

from attrs import field, frozen

from facewarp_async.config import ApiKey, ClientCredentials
from facewarp_async.server.answers import Refusal


class Caller(Enum):
    """Whose request limit a call counts against."""

    API_KEY = "the API key"
    CLIENT = "the client id and secret"


@frozen
class Authoriser:
    """Checks credentials and gives out tokens.

    A token says when it expires and is signed, so that it outlives a restart of the service.

    Attributes:
        api_key: The key that is accepted as a token.
        client: The client id and secret that are exchanged for tokens.
        secret: What tokens are signed with.
        lifetime_s: How long a token lives.
    """

    api_key: ApiKey
    client: ClientCredentials
    secret: str = field(repr=False)
    lifetime_s: float

    def give_token(self, client_id: str, client_secret: str, *, now: float) -> str:
        """Exchange a client's id and secret for a token; `now` in seconds since 1970.

        Raises:
            Refusal: 401.
        """
        known = _same(client_id, self.client.client_id) & _same(client_secret, self.client.client_secret)
        if not known:
            raise Refusal(401, "the client id or secret is wrong", http_status=401)
        text = f"{now + self.lifetime_s:.3f}:{secrets.token_hex(8)}"
        return base64.urlsafe_b64encode(f"{text}:{self._sign(text)}".encode()).decode()

    def check(self, header: str | None, *, now: float) -> Caller:
        """Read an ``Authorization`` header.

        Raises:
            Refusal: 401.
        """
        scheme, _, token = (header or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Refusal(401, "a bearer token is missing", http_status=401)
        if _same(token, self.api_key.key):
            return Caller.API_KEY
        if self._is_current(token, now):
            return Caller.CLIENT
        raise Refusal(401, "the token is invalid or expired", http_status=401)

    def _is_current(self, token: str, now: float) -> bool:
        try:
            text, _, signature = base64.urlsafe_b64decode(token).decode().rpartition(":")
            expires = float(text.partition(":")[0])
        except ValueError:  # binascii's and the decoder's errors are ValueErrors
            return False
        return _same(signature, self._sign(text)) and now < expires

    def _sign(self, text: str) -> str:
        return hmac.new(self.secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), expected.encode())
