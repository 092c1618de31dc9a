"""Creating a task is paid for: sent again only where the service surely did not act, and never silently."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from facewarp_async.client import FaceSwapClient
from facewarp_async.config import ApiKey, ClientCredentials, Provider, Timeouts
from facewarp_async.errors import (
    AuthenticationError,
    BadRequestError,
    CreditsExhaustedError,
    FaceWarpError,
    InDoubtError,
    MediaPolicyError,
    RateLimitedError,
    Recovery,
    ServerError,
    ServiceError,
    TaskFailedError,
    UnsupportedFormatError,
)
from facewarp_async.models import Asset
from facewarp_async.server import API, CREATES, Fault, FaultPlan, FaultRule, InstantRunner, LocalService
from facewarp_async.wire.requests import TOKEN_PATH

pytestmark = pytest.mark.anyio

Assets = tuple[Asset, Asset]
MakeClient = Callable[..., FaceSwapClient]
StartPeer = Callable[..., AbstractAsyncContextManager[Any]]

SWAP = "/v1/task/face-swap"


@pytest.fixture
async def assets(client: FaceSwapClient, make_file: Any) -> Assets:
    return await client.upload(make_file("media.png")), await client.upload(make_file("face.png"))


@pytest.mark.parametrize(
    "rule",
    [
        FaultRule(Fault.RATE_LIMITED, CREATES, nth=1, retry_after_s=0),
        FaultRule(Fault.RATE_LIMITED, CREATES, nth=1, retry_after_s=0, http_status=200),
    ],
    ids=["429", "802"],
)
async def test_a_create_is_sent_again_after_a_refusal_for_too_many_requests(
    local: LocalService, client: FaceSwapClient, assets: Assets, rule: FaultRule
) -> None:
    local.faults.add(rule)
    task_id = await client.create_image_swap(*assets)
    assert [creation.task_id for creation in local.ledger.creations] == [task_id]
    assert local.ledger.calls[SWAP] == 2


async def test_a_create_is_sent_again_with_a_fresh_token_after_a_401(
    local: LocalService, client: FaceSwapClient, assets: Assets, make_client: MakeClient
) -> None:
    local.faults.add(FaultRule(Fault.EXPIRED_TOKEN, CREATES, nth=1))
    async with make_client(local.provider, local.client_credentials) as renewing:
        task_id = await renewing.create_image_swap(*assets)
    assert [creation.task_id for creation in local.ledger.creations] == [task_id]
    assert local.ledger.calls[TOKEN_PATH] == 2


class _FirstNowhere(AbstractResolver):
    """Sends the first connections to a port where nobody listens."""

    def __init__(self, port: int, *, failures: int) -> None:
        self._failures = failures
        self._port = port
        self.asked = 0
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused

    async def resolve(self, host: str, port: int = 0, family: int = socket.AF_INET) -> list[ResolveResult]:
        self.asked += 1
        port = self._socket.getsockname()[1] if self.asked <= self._failures else self._port
        return [
            ResolveResult(hostname=host, host="127.0.0.1", port=port, family=socket.AF_INET, proto=0, flags=0),
        ]

    async def close(self) -> None:
        self._socket.close()


async def test_a_create_is_sent_again_when_no_connection_was_made(
    local: LocalService, assets: Assets, make_client: MakeClient
) -> None:
    port = int(local.provider.base_url.rpartition(":")[2])
    resolver = _FirstNowhere(port, failures=2)
    connector = aiohttp.TCPConnector(resolver=resolver, use_dns_cache=False)
    provider = Provider("named", "http://service.test:1", requests_per_second=None)
    async with (
        aiohttp.ClientSession(connector=connector) as http,
        make_client(provider, local.auth, http=http) as client,
    ):
        task_id = await client.create_image_swap(*assets)
    await resolver.close()
    assert resolver.asked == 3
    assert [creation.task_id for creation in local.ledger.creations] == [task_id]


@pytest.mark.parametrize(
    ("rule", "http_status"),
    [
        (FaultRule(Fault.RESET_AFTER, CREATES), None),
        (FaultRule(Fault.RESET_BEFORE, CREATES), None),
        (FaultRule(Fault.SERVER_ERROR, CREATES, acts=True), 500),
        (FaultRule(Fault.BAD_GATEWAY, CREATES, acts=True), 502),
        (FaultRule(Fault.HALF_DOCUMENT, CREATES), 200),
        (FaultRule(Fault.SERVER_ERROR, CREATES), 500),
    ],
    ids=["reset after", "reset before", "500", "502", "half document", "500 without acting"],
)
async def test_a_lost_answer_leaves_a_create_in_doubt_and_it_is_not_sent_again(
    local: LocalService, client: FaceSwapClient, assets: Assets, rule: FaultRule, http_status: int | None
) -> None:
    local.faults.add(rule)
    with pytest.raises(InDoubtError) as caught:
        await client.create_image_swap(*assets)
    assert local.ledger.calls[SWAP] == 1
    assert len(local.ledger.creations) <= 1
    assert caught.value.http_status == http_status
    assert caught.value.paid is None
    assert caught.value.recovery is Recovery.ASK


async def test_a_time_out_leaves_a_create_in_doubt(
    local: LocalService, assets: Assets, make_client: MakeClient
) -> None:
    local.faults.add(FaultRule(Fault.SLOW, CREATES, delay_s=0.3))
    async with make_client(local.provider, local.auth, timeouts=Timeouts(request_s=0.05)) as client:
        with pytest.raises(InDoubtError, match=r"no answer within 0\.05 s"):
            await client.create_image_swap(*assets)
    assert local.ledger.calls[SWAP] == 1


@pytest.mark.parametrize(
    "data",
    [{"task_id": None}, {"task_id": "abc"}, {"task_id": {}}, {"task_id": True}, {"task_id": 1.5}, {}, None, []],
    ids=str,
)
async def test_a_success_without_a_task_id_leaves_a_create_in_doubt(
    start_peer: StartPeer, make_client: MakeClient, data: Any
) -> None:
    async def answer(_request: Any, _writer: asyncio.StreamWriter) -> bytes:
        return bytes(peer.envelope(data))

    async with (
        start_peer(answer) as peer,
        make_client(Provider("peer", peer.url, requests_per_second=None), ApiKey("the-api-key")) as client,
    ):
        with pytest.raises(InDoubtError):
            await client.create_image_swap(Asset("m"), Asset("f"))
        assert len(peer.received) == 1


@pytest.mark.parametrize("status", ["200 OK", "500 Internal Server Error"])
async def test_an_answer_too_long_to_read_leaves_a_create_in_doubt(
    start_peer: StartPeer, make_client: MakeClient, status: str
) -> None:
    async def answer(_request: Any, _writer: asyncio.StreamWriter) -> bytes:
        return bytes(peer.reply(b" " * (4 * 1024 * 1024 + 1), status=status))

    async with (
        start_peer(answer) as peer,
        make_client(Provider("peer", peer.url, requests_per_second=None), ApiKey("the-api-key")) as client,
    ):
        with pytest.raises(InDoubtError, match="longer than"):
            await client.create_image_swap(Asset("m"), Asset("f"))
        assert len(peer.received) == 1


async def test_wrong_types_in_the_answer_to_a_create_are_read(
    local: LocalService, client: FaceSwapClient, assets: Assets
) -> None:
    local.faults.add(FaultRule(Fault.WRONG_TYPES, CREATES))
    assert await client.create_image_swap(*assets) == local.ledger.creations[0].task_id


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (400, BadRequestError),
        (601, TaskFailedError),
        (604, MediaPolicyError),
        (703, UnsupportedFormatError),
        (801, CreditsExhaustedError),
        (999, ServiceError),
    ],
)
async def test_a_definite_refusal_is_neither_in_doubt_nor_repeated(
    local: LocalService, client: FaceSwapClient, assets: Assets, code: int, error: type[FaceWarpError]
) -> None:
    local.faults.add(FaultRule(Fault.REFUSED, CREATES, code=code))
    with pytest.raises(error) as caught:
        await client.create_image_swap(*assets)
    assert (caught.value.code, local.ledger.calls[SWAP]) == (code, 1)
    assert caught.value.paid is False


async def test_code_500_in_an_envelope_leaves_a_create_in_doubt(
    local: LocalService, client: FaceSwapClient, assets: Assets
) -> None:
    local.faults.add(FaultRule(Fault.REFUSED, CREATES, code=500))
    with pytest.raises(InDoubtError) as caught:
        await client.create_image_swap(*assets)
    assert (caught.value.code, local.ledger.calls[SWAP]) == (500, 1)


async def test_a_redirected_create_is_not_followed_and_not_in_doubt(
    local: LocalService, client: FaceSwapClient, assets: Assets
) -> None:
    local.faults.add(FaultRule(Fault.REDIRECT, CREATES))
    with pytest.raises(FaceWarpError, match="HTTP 302"):
        await client.create_image_swap(*assets)
    assert local.ledger.calls[SWAP] == 1


@pytest.mark.parametrize("fault", [Fault.RESET_AFTER, Fault.SERVER_ERROR, Fault.BAD_GATEWAY, Fault.HALF_DOCUMENT])
async def test_a_failed_token_call_leaves_no_create_in_doubt(make_client: MakeClient, fault: Fault) -> None:
    faults = FaultPlan([FaultRule(fault, TOKEN_PATH)])
    async with (
        LocalService(runner=InstantRunner(), faults=faults) as service,
        make_client(service.provider, service.client_credentials) as client,
    ):
        with pytest.raises(FaceWarpError) as caught:
            await client.create_image_swap(Asset("m"), Asset("f"))
    assert not isinstance(caught.value, InDoubtError)
    assert service.ledger.calls[TOKEN_PATH] == 6, "the token call is repeated, as every call that is free"
    assert service.ledger.calls[SWAP] == 0


async def test_a_token_call_that_fails_after_a_401_leaves_no_create_in_doubt(
    local: LocalService, assets: Assets, make_client: MakeClient
) -> None:
    async with make_client(local.provider, local.client_credentials) as client:
        await client.access_url(assets[0].key)
        local.faults.add(FaultRule(Fault.EXPIRED_TOKEN, CREATES))
        local.faults.add(FaultRule(Fault.SERVER_ERROR, TOKEN_PATH))
        with pytest.raises(ServerError):
            await client.create_image_swap(*assets)
    assert len(local.ledger.creations) == 0


async def test_a_second_401_is_final(local: LocalService, assets: Assets, make_client: MakeClient) -> None:
    local.faults.add(FaultRule(Fault.EXPIRED_TOKEN, API))
    async with make_client(local.provider, local.client_credentials) as client:
        with pytest.raises(AuthenticationError):
            await client.create_image_swap(*assets)
    assert (local.ledger.calls[SWAP], local.ledger.calls[TOKEN_PATH]) == (2, 2)


async def test_a_create_refused_for_too_many_requests_gives_up_by_its_time_and_is_not_in_doubt(
    local: LocalService, assets: Assets, make_client: MakeClient
) -> None:
    local.faults.add(FaultRule(Fault.RATE_LIMITED, CREATES, retry_after_s=0))
    async with make_client(local.provider, local.auth, timeouts=Timeouts(repeat_s=0.5)) as client:
        with pytest.raises(RateLimitedError):
            await client.create_image_swap(*assets)
    assert local.ledger.calls[SWAP] > 2, "refusals do not count as attempts"
    assert len(local.ledger.creations) == 0


async def test_wrong_credentials_create_nothing(local: LocalService, assets: Assets, make_client: MakeClient) -> None:
    wrong = ClientCredentials(local.client_credentials.client_id, "not the secret")
    async with make_client(local.provider, wrong) as client:
        with pytest.raises(AuthenticationError):
            await client.create_image_swap(*assets)
    assert local.ledger.calls[SWAP] == 0


async def test_no_create_is_sent_again_where_a_kept_connection_closes_under_it(
    start_peer: StartPeer, make_client: MakeClient
) -> None:
    """aiohttp sends a request again by itself if a connection that was used before closes; never one that creates."""

    async def answer(request: Any, writer: asyncio.StreamWriter) -> bytes | None:
        if request.target == SWAP:
            writer.close()
            return None
        return peer.envelope({"url": "http://s/x"})  # type: ignore[no-any-return]  # the peer is any object here

    async with (
        start_peer(answer) as peer,
        make_client(Provider("p", peer.url, requests_per_second=None), ApiKey("k")) as client,
    ):
        for _ in range(3):
            await client.access_url("k")
            with pytest.raises(InDoubtError):
                await client.create_image_swap(Asset("m"), Asset("f"))
        creates = [request for request in peer.received if request.target == SWAP]
        assert len(creates) == 3
        assert [request.connection for request in creates] == [1, 2, 3], "each on a connection that was used before"
