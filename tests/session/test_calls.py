"""Calls that are free to repeat, and answers of every kind: each ends in a value or a typed error, in bounded time."""

from __future__ import annotations

import asyncio
import gzip
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import aiohttp
import anyio
import pytest

from facewarp_async.client import FaceSwapClient
from facewarp_async.config import ApiKey, Provider, Timeouts
from facewarp_async.errors import (
    BadRequestError,
    ConnectError,
    ConnectionLostError,
    FaceWarpError,
    HttpError,
    MalformedAnswerError,
    RateLimitedError,
    RequestTimeoutError,
    ServerError,
)
from facewarp_async.policy.retry import RetryPolicy
from facewarp_async.server import Fault, FaultRule, LocalService
from facewarp_async.session.exchange import MAX_ANSWER_BYTES, parse_retry_after
from facewarp_async.wire.requests import UPLOAD_URL_PATH
from tests.patience import seconds

pytestmark = pytest.mark.anyio

MakeClient = Callable[..., FaceSwapClient]
StartPeer = Callable[..., AbstractAsyncContextManager[Any]]

GRANT = {"upload_url": "https://storage.test/x", "key": "k"}


def provider_at(url: str) -> Provider:
    return Provider("peer", url, requests_per_second=None)


@pytest.mark.parametrize(
    "fault",
    [
        Fault.RESET_BEFORE,
        Fault.RESET_AFTER,
        Fault.SERVER_ERROR,
        Fault.BAD_GATEWAY,
        Fault.HALF_DOCUMENT,
        Fault.RATE_LIMITED,
    ],
)
async def test_a_call_that_is_free_is_repeated_until_it_arrives(
    local: LocalService, client: FaceSwapClient, fault: Fault
) -> None:
    local.faults.add(FaultRule(fault, UPLOAD_URL_PATH, nth=[1, 2], retry_after_s=0))
    assert (await client.request_upload("a.png")).key
    assert local.ledger.calls[UPLOAD_URL_PATH] == 3


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault.RESET_BEFORE, ConnectionLostError),
        (Fault.SERVER_ERROR, ServerError),
        (Fault.BAD_GATEWAY, HttpError),
        (Fault.HALF_DOCUMENT, MalformedAnswerError),
    ],
)
async def test_a_call_is_sent_six_times_and_ends_in_the_last_failure(
    local: LocalService, client: FaceSwapClient, fault: Fault, error: type[FaceWarpError]
) -> None:
    local.faults.add(FaultRule(fault, UPLOAD_URL_PATH))
    with pytest.raises(error) as caught:
        await client.request_upload("a.png")
    assert type(caught.value) is error
    assert local.ledger.calls[UPLOAD_URL_PATH] == 6


async def test_a_definite_refusal_is_not_repeated(local: LocalService, client: FaceSwapClient) -> None:
    with pytest.raises(BadRequestError):
        await client.request_upload("")
    assert local.ledger.calls[UPLOAD_URL_PATH] == 1


async def test_delays_between_repetitions_grow(
    local: LocalService, make_client: MakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "facewarp_async.session")
    local.faults.add(FaultRule(Fault.SERVER_ERROR, UPLOAD_URL_PATH, nth=[1, 2, 3]))
    begun = asyncio.get_running_loop().time()
    async with make_client(local.provider, local.auth, retry=RetryPolicy(first_s=0.02, factor=2)) as client:
        await client.request_upload("a.png")
    assert asyncio.get_running_loop().time() - begun >= (0.02 + 0.04 + 0.08) / 2, "jitter takes half at most"
    assert sum("repeating in" in record.message for record in caplog.records) == 3


async def test_all_repetitions_together_end_in_the_time_allowed(local: LocalService, make_client: MakeClient) -> None:
    local.faults.add(FaultRule(Fault.SERVER_ERROR, UPLOAD_URL_PATH))
    retry = RetryPolicy(attempts=1000, first_s=0.01, longest_s=0.01)
    async with make_client(local.provider, local.auth, retry=retry, timeouts=Timeouts(repeat_s=0.1)) as client:
        with pytest.raises(ServerError), anyio.fail_after(2):
            await client.request_upload("a.png")


async def test_no_connection_is_an_error_of_its_own(make_client: MakeClient, unused_port: int) -> None:
    async with make_client(provider_at(f"http://127.0.0.1:{unused_port}"), ApiKey("the-api-key")) as client:
        with pytest.raises(ConnectError, match=r"POST /v1/source/upload-url: no connection to 127\.0\.0\.1"):
            await client.request_upload("a.png")


async def test_a_name_that_does_not_resolve_is_a_failed_connection(make_client: MakeClient) -> None:
    retry = RetryPolicy(attempts=1)
    async with make_client(provider_at("http://no-such-host.invalid"), ApiKey("the-api-key"), retry=retry) as client:
        with pytest.raises(ConnectError):
            await client.request_upload("a.png")


@pytest.mark.parametrize(
    "drip", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["silence", "a byte now and then"]
)
async def test_an_answer_that_does_not_come_ends_in_time(
    start_peer: StartPeer, make_client: MakeClient, drip: bool
) -> None:
    async def answer(_request: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while drip:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.02)
        await asyncio.Event().wait()

    timeouts = Timeouts(connect_s=1, request_s=0.1)  # the loop that connects may be busy; both together bound a drip
    async with (
        start_peer(answer) as peer,
        make_client(
            provider_at(peer.url), ApiKey("the-api-key"), timeouts=timeouts, retry=RetryPolicy(attempts=1)
        ) as client,
    ):
        with pytest.raises(RequestTimeoutError, match=r"no answer within 0\.1 s"), anyio.fail_after(seconds(3)):
            await client.request_upload("a.png")


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip bomb"])
async def test_an_answer_is_read_to_a_bound(start_peer: StartPeer, make_client: MakeClient, packed: bool) -> None:
    sent = 0

    async def answer(_request: Any, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        head = "Content-Encoding: gzip\r\n" if packed else ""
        body = gzip.compress(bytes(100 * 1024 * 1024), 1) if packed else bytes(64 * 1024)
        writer.write(peer.reply(b"", headers=head, length=len(body) if packed else 10**12))
        while not writer.is_closing():
            writer.write(body)
            await writer.drain()
            sent += len(body)

    async with (
        start_peer(answer) as peer,
        make_client(provider_at(peer.url), ApiKey("the-api-key"), retry=RetryPolicy(attempts=1)) as client,
    ):
        with pytest.raises(MalformedAnswerError, match=f"longer than {MAX_ANSWER_BYTES} bytes"):
            await client.request_upload("a.png")
    assert sent < 16 * 1024 * 1024


async def test_redirects_are_not_followed(local: LocalService, client: FaceSwapClient, start_peer: StartPeer) -> None:
    async def answer(_request: Any, _writer: asyncio.StreamWriter) -> bytes:
        return bytes(elsewhere.envelope(GRANT))

    async with start_peer(answer) as elsewhere:
        local.faults.add(FaultRule(Fault.REDIRECT, UPLOAD_URL_PATH, location=elsewhere.url + UPLOAD_URL_PATH))
        with pytest.raises(HttpError, match="HTTP 302") as caught:
            await client.request_upload("a.png")
        assert (caught.value.http_status, elsewhere.received) == (302, [])


@pytest.mark.parametrize("as_date", [False, True], ids=["seconds", "date"])
@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
@pytest.mark.slow
async def test_retry_after_is_obeyed(
    start_peer: StartPeer, make_client: MakeClient, status: str, as_date: bool
) -> None:
    loop, asked = asyncio.get_running_loop(), list[float]()
    not_before = 0.0

    async def answer(_request: Any, _writer: asyncio.StreamWriter) -> bytes:
        nonlocal not_before
        asked.append(loop.time())
        if len(asked) > 1:
            return bytes(peer.envelope(GRANT))
        now = datetime.now(UTC)
        until = (now + timedelta(seconds=1.2)).replace(microsecond=0)
        not_before = loop.time() + ((until - now).total_seconds() if as_date else 0.3)
        value = format_datetime(until, usegmt=True) if as_date else "0.3"
        return bytes(peer.reply(status=status, headers=f"Retry-After: {value}\r\n"))

    async with start_peer(answer) as peer, make_client(provider_at(peer.url), ApiKey("the-api-key")) as client:
        await client.request_upload("a.png")
    assert asked[1] >= not_before - 0.005


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("0", 0.0),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("0.25", 0.25),
        ("-5", 0.0),
        ("999999", 3600.0),
        ("Thu, 01 Jan 1970 00:16:45 GMT", 5.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("Thu, 01 Jan 9999 00:00:00 GMT", 3600.0),
        ("soon", None),
        ("nan", None),
        ("inf", 3600.0),
        ("1, 2", None),
        ("²", None),
    ],
)
def test_retry_after_is_read(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, now=1000.0) == seconds


async def test_a_session_of_the_callers_is_asked_with_the_clients_own_rules(
    start_peer: StartPeer, make_client: MakeClient
) -> None:
    """Its raise_for_status, time-out and default headers do not get in the way."""

    async def answer(_request: Any, _writer: asyncio.StreamWriter) -> bytes:
        return bytes(peer.envelope(code=702, message="unknown", status="404 Not Found"))

    async with (
        start_peer(answer) as peer,
        aiohttp.ClientSession(raise_for_status=True, headers={"Authorization": "Basic other", "X-Mine": "1"}) as http,
        make_client(provider_at(peer.url), ApiKey("the-api-key"), http=http) as client,
    ):
        with pytest.raises(FaceWarpError) as caught:
            await client.access_url("k")
        assert caught.value.code == 702
        headers = peer.received[0].headers
        assert (headers["authorization"], headers["x-mine"]) == ("Bearer the-api-key", "1")


@pytest.mark.parametrize("token", ["key", "code", "data", "200", "u", '"'])
async def test_an_api_key_that_occurs_in_answers_spoils_none(
    start_peer: StartPeer, make_client: MakeClient, token: str
) -> None:
    async def answer(_request: Any, _writer: asyncio.StreamWriter) -> bytes:
        return bytes(peer.envelope(GRANT))

    async with start_peer(answer) as peer, make_client(provider_at(peer.url), ApiKey(token)) as client:
        assert (await client.request_upload("a.png")).key == "k"


@pytest.mark.parametrize(
    "garbage",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"\x00" * 64,
    ],
    ids=["another protocol", "no status", "negative length", "zeros"],
)
async def test_what_is_no_http_is_a_lost_connection(
    start_peer: StartPeer, make_client: MakeClient, garbage: bytes
) -> None:
    async def answer(_request: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(garbage)
        await writer.drain()
        writer.close()

    async with (
        start_peer(answer) as peer,
        make_client(provider_at(peer.url), ApiKey("the-api-key"), retry=RetryPolicy(attempts=1)) as client,
    ):
        with pytest.raises(ConnectionLostError):
            await client.request_upload("a.png")


async def test_a_refusal_knows_what_it_was_told(local: LocalService, make_client: MakeClient) -> None:
    local.faults.add(FaultRule(Fault.RATE_LIMITED, UPLOAD_URL_PATH, retry_after_s=0))
    async with make_client(local.provider, local.auth, timeouts=Timeouts(repeat_s=0.01)) as client:
        with pytest.raises(RateLimitedError) as caught:
            await client.request_upload("a.png")
    assert (caught.value.code, caught.value.http_status, caught.value.retry_after_s) == (802, 429, 0.0)
