"""One HTTP exchange with the API, and what aiohttp's failures mean. Nothing of aiohttp's leaves this module."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime

import aiohttp
import anyio
from yarl import URL

from facewarp_async.config import Timeouts
from facewarp_async.errors import ConnectError, ConnectionLostError, HttpError, RequestTimeoutError
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
        ConnectError: The connection was never made.
        ConnectionLostError: It was cut.
        RequestTimeoutError: There was no answer in time.
        HttpError: The answer is longer than `MAX_ANSWER_BYTES`.
    """
    headers = {"Accept": "application/json"}
    if request.body is not None:
        headers["Content-Type"] = "application/json"
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    name = f"{request.method} {request.target.partition('?')[0]}"
    try:
        with anyio.fail_after(timeouts.connect_s + timeouts.request_s):
            async with http.request(
                request.method,
                URL(base_url + request.target, encoded=True),
                data=request.body,
                headers=headers,
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=timeouts.connect_s, sock_read=timeouts.request_s
                ),
                allow_redirects=False,
                raise_for_status=False,
            ) as response:
                body = await _read_bounded(response, name)
                retry_after_s = parse_retry_after(response.headers.get("Retry-After"), now=time.time())
                return Answer(status=response.status, body=_scrub(body, token), retry_after_s=retry_after_s)
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
        raise ConnectError(f"{name}: no connection to {URL(base_url).host}: {_reason(error)}") from error
    except TimeoutError as error:
        raise RequestTimeoutError(f"{name}: no answer within {timeouts.request_s:g} s") from error
    except (aiohttp.ClientError, OSError) as error:
        raise ConnectionLostError(f"{name}: the connection was cut: {_reason(error)}") from error


async def _read_bounded(response: aiohttp.ClientResponse, name: str) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            response.close()
            raise HttpError(f"{name}: the answer is longer than {MAX_ANSWER_BYTES} bytes", http_status=response.status)
    return bytes(body)


def _scrub(body: bytes, token: str | None) -> bytes:
    return body.replace(token.encode(), b"***") if token else body


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__


def parse_retry_after(value: str | None, *, now: float) -> float | None:
    """Read a ``Retry-After`` header, seconds or an HTTP date; ``None`` where it is missing or senseless."""
    if not value:
        return None
    try:
        seconds = float(value) if value.strip().isdecimal() else parsedate_to_datetime(value).timestamp() - now
    except (ValueError, OverflowError):
        return None
    return min(max(seconds, 0.0), 3600.0)
