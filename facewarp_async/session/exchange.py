"""One HTTP exchange with the API, and what aiohttp's failures mean. Nothing of aiohttp's leaves this module."""

from __future__ import annotations

import math
import time
from email.utils import parsedate_to_datetime
from functools import lru_cache

import aiohttp
from yarl import URL

from facewarp_async.config import Timeouts
from facewarp_async.errors import (
    ConfigurationError,
    ConnectError,
    ConnectionLostError,
    HttpError,
    MalformedAnswerError,
    RequestTimeoutError,
)
from facewarp_async.redaction import clean_text
from facewarp_async.wire.answers import Answer
from facewarp_async.wire.requests import ApiRequest

MAX_ANSWER_BYTES = 4 * 1024 * 1024
"""The longest answer that is read. The service's longest are lists of faces, some kilobytes long."""


async def exchange(
    http: aiohttp.ClientSession, base_url: str, request: ApiRequest, *, token: str | None, timeouts: Timeouts
) -> Answer:
    """Send a request once and read its answer.

    Redirects are not followed, so that no credentials reach another host. Cancelling closes the connection; the service
    may act all the same.

    Raises:
        ConfigurationError: The token cannot be sent, or the session was closed.
        ConnectError: The connection was never made.
        ConnectionLostError: It was cut.
        RequestTimeoutError: There was no answer in time.
        HttpError: The answer is longer than `MAX_ANSWER_BYTES`; `MalformedAnswerError` for one that is a success.
    """
    if http.closed:
        raise ConfigurationError("the client was closed while it was used")
    headers = {"Accept": "application/json"}
    if request.body is not None:
        headers["Content-Type"] = "application/json"
    if token is not None:
        headers["Authorization"] = _bearer(token)
    name = f"{request.method} {request.target.partition('?')[0]}"
    secrets = (*request.secrets, token) if token else request.secrets
    try:
        async with http.request(
            request.method,
            URL(base_url + request.target, encoded=True),
            data=request.body,
            headers=headers,
            timeout=_http_timeout(timeouts),
            allow_redirects=False,
            raise_for_status=False,
        ) as response:
            body = await _read_bounded(response, name)
            retry_after_s = parse_retry_after(response.headers.get("Retry-After"), now=time.time())
            return Answer(status=response.status, body=body, retry_after_s=retry_after_s, secrets=secrets)
    # Without their causes: aiohttp's errors hold the request, and that holds the token.
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
        raise ConnectError(f"{name}: no connection to {URL(base_url).host}: {_reason(error, secrets)}") from None
    except TimeoutError:
        raise RequestTimeoutError(f"{name}: no answer within {timeouts.request_s:g} s") from None
    except (aiohttp.ClientError, OSError) as error:
        raise ConnectionLostError(f"{name}: the connection was cut: {_reason(error, secrets)}") from None


@lru_cache(maxsize=8)
def _http_timeout(timeouts: Timeouts) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(
        total=timeouts.connect_s + timeouts.request_s, sock_connect=timeouts.connect_s, sock_read=timeouts.request_s
    )


def _bearer(token: str) -> str:
    if not token.isprintable():
        raise ConfigurationError("the API key has a line break, or another character that no header can hold")
    return f"Bearer {token}"


async def _read_bounded(response: aiohttp.ClientResponse, name: str) -> bytes:
    pieces, length = [], 0
    while piece := await response.content.readany():
        pieces.append(piece)
        length += len(piece)
        if length > MAX_ANSWER_BYTES:
            response.close()
            cls = MalformedAnswerError if 200 <= response.status < 300 else HttpError
            raise cls(f"{name}: the answer is longer than {MAX_ANSWER_BYTES} bytes", http_status=response.status)
    return b"".join(pieces)


def _reason(error: BaseException, secrets: tuple[str, ...]) -> str:
    return clean_text(str(error), secrets) or type(error).__name__


def parse_retry_after(value: str | None, *, now: float) -> float | None:
    """Read a ``Retry-After`` header, seconds or an HTTP date; ``None`` where it is missing or senseless."""
    if not value:
        return None
    try:
        seconds = _to_seconds(value, now)
    except (ValueError, OverflowError):
        return None
    return None if math.isnan(seconds) else min(max(seconds, 0.0), 3600.0)


def _to_seconds(value: str, now: float) -> float:
    try:
        return float(value)
    except ValueError:
        return parsedate_to_datetime(value).timestamp() - now
