"""One refresh serves every waiting call, ahead of expiry and after a 401."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import anyio
import pytest

from facewarp_async.client import FaceSwapClient
from facewarp_async.config import ApiKey, ClientCredentials
from facewarp_async.errors import AuthenticationError, FaceWarpError, ServerError
from facewarp_async.models import AccessToken
from facewarp_async.server import API, Fault, FaultRule, InstantRunner, LocalService
from facewarp_async.session.tokens import RenewedToken
from facewarp_async.wire.requests import ACCESS_URL_PATH, TOKEN_PATH, UPLOAD_URL_PATH

pytestmark = pytest.mark.anyio

MakeClient = Callable[..., FaceSwapClient]


class _Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class _Issuer:
    """Gives out tokens that live for a while, when it is let."""

    def __init__(self, lifetime_s: float = 100.0) -> None:
        self.asked = 0
        self.lifetime_s = lifetime_s
        self.let = anyio.Event()
        self.let.set()
        self.error: FaceWarpError | None = None

    async def __call__(self) -> AccessToken:
        self.asked += 1
        number = self.asked
        await self.let.wait()
        if self.error is not None:
            raise self.error
        return AccessToken(value=f"token-{number}", expires_in_s=self.lifetime_s)


async def gather_errors(count: int, call: Callable[[], object]) -> list[BaseException]:
    """Make calls at the same time and return the errors that each ends in."""
    errors: list[BaseException] = []

    async def one() -> None:
        try:
            await call()  # type: ignore[misc]  # any coroutine function
        except FaceWarpError as error:
            errors.append(error)

    async with anyio.create_task_group() as group:
        for _ in range(count):
            group.start_soon(one)
    return errors


@pytest.mark.parametrize(("lifetime_s", "ahead_s"), [(5909.0, 60.0), (100.0, 10.0), (1.0, 0.1)])
async def test_a_token_is_renewed_ahead_of_its_end_and_not_before(lifetime_s: float, ahead_s: float) -> None:
    clock, issuer = _Clock(), _Issuer(lifetime_s)
    tokens = RenewedToken(issuer, clock=clock)
    assert await tokens.get() == "token-1"
    clock.now += lifetime_s - ahead_s * 1.01
    assert await tokens.get() == "token-1"
    clock.now += ahead_s * 0.02
    assert await tokens.get() == "token-2"


async def test_the_life_of_a_token_counts_from_when_it_was_asked_for() -> None:
    clock, issuer = _Clock(), _Issuer(100.0)

    async def slow_fetch() -> AccessToken:
        clock.now += 95
        return await issuer()

    tokens = RenewedToken(slow_fetch, clock=clock)
    assert await tokens.get() == "token-1"
    assert await tokens.get() == "token-2", "when it arrived it had 5 s left, less than the margin"


async def test_a_token_without_a_life_is_used_once_and_never_loops() -> None:
    issuer = _Issuer(0.0)
    tokens = RenewedToken(issuer, clock=_Clock())
    assert [await tokens.get() for _ in range(3)] == ["token-1", "token-2", "token-3"]


async def test_fifty_callers_share_one_refresh() -> None:
    issuer = _Issuer()
    issuer.let = anyio.Event()
    tokens, got = RenewedToken(issuer, clock=_Clock()), list[str]()

    async def one() -> None:
        got.append(await tokens.get())

    async with anyio.create_task_group() as group:
        for _ in range(50):
            group.start_soon(one)
        await anyio.wait_all_tasks_blocked()
        issuer.let.set()
    assert (got, issuer.asked) == (["token-1"] * 50, 1)


async def test_fifty_refused_callers_share_one_refresh() -> None:
    issuer = _Issuer()
    tokens = RenewedToken(issuer, clock=_Clock())
    refused = await tokens.get()
    async with anyio.create_task_group() as group:
        for _ in range(50):
            group.start_soon(tokens.renew, refused)
    assert (await tokens.get(), issuer.asked) == ("token-2", 2)


async def test_a_token_that_another_caller_renewed_is_not_renewed_again() -> None:
    issuer = _Issuer()
    tokens = RenewedToken(issuer, clock=_Clock())
    old = await tokens.get()
    assert await tokens.renew(old)
    assert await tokens.renew(old)
    assert issuer.asked == 2


async def test_a_failed_refresh_fails_all_that_waited_for_it_and_the_next_caller_asks_again() -> None:
    issuer = _Issuer()
    issuer.let, issuer.error = anyio.Event(), ServerError("down", http_status=500)
    tokens = RenewedToken(issuer, clock=_Clock())
    async with anyio.create_task_group() as group:

        async def let() -> None:
            await anyio.wait_all_tasks_blocked()
            issuer.let.set()

        group.start_soon(let)
        errors = await gather_errors(50, tokens.get)
    assert (len(errors), issuer.asked) == (50, 1)
    assert all(type(error) is ServerError for error in errors)
    assert len({id(error) for error in errors}) == 50, "each caller's error is its own to annotate"
    issuer.error = None
    assert await tokens.get() == "token-2"


async def test_a_cancelled_refresh_is_taken_over_by_another_caller() -> None:
    issuer = _Issuer()
    issuer.let = anyio.Event()
    tokens, got = RenewedToken(issuer, clock=_Clock()), list[str]()

    async def one() -> None:
        got.append(await tokens.get())

    async with anyio.create_task_group() as group:
        leader = asyncio.ensure_future(tokens.get())
        await anyio.wait_all_tasks_blocked()
        group.start_soon(one)
        await anyio.wait_all_tasks_blocked()
        leader.cancel()
        await asyncio.wait([leader])
        issuer.let.set()
    assert got == ["token-2"]


async def test_refused_credentials_are_asked_about_once(local: LocalService, make_client: MakeClient) -> None:
    wrong = ClientCredentials(local.client_credentials.client_id, "not the secret")
    async with make_client(local.provider, wrong) as client:
        errors = await gather_errors(50, lambda: client.access_url("key"))
        errors += await gather_errors(1, lambda: client.access_url("key"))
    assert (len(errors), local.ledger.calls[TOKEN_PATH]) == (51, 1)
    assert all(isinstance(error, AuthenticationError) and error.http_status == 401 for error in errors)
    assert local.ledger.calls[ACCESS_URL_PATH] == 0


async def test_fifty_calls_that_meet_a_401_share_one_refresh(local: LocalService, make_client: MakeClient) -> None:
    async with make_client(local.provider, local.client_credentials) as client:
        await client.request_upload("a.png")
        local.faults.add(FaultRule(Fault.EXPIRED_TOKEN, UPLOAD_URL_PATH, times=50))
        async with anyio.create_task_group() as group:
            for _ in range(50):
                group.start_soon(client.request_upload, "a.png")
    assert local.ledger.calls[TOKEN_PATH] == 2
    assert local.ledger.calls[UPLOAD_URL_PATH] == 101


@pytest.mark.slow
async def test_calls_go_on_when_tokens_expire_in_between(make_client: MakeClient) -> None:
    async with (
        LocalService(runner=InstantRunner(), token_lifetime_s=0.1) as service,
        make_client(service.provider, service.client_credentials) as client,
    ):
        for _ in range(6):
            await client.request_upload("a.png")
            await anyio.sleep(0.05)
    assert 2 < service.ledger.calls[TOKEN_PATH] <= 6
    assert service.ledger.refusals[UPLOAD_URL_PATH, 401] == 0, "renewed ahead of the end"


async def test_a_refused_api_key_is_final(local: LocalService, make_client: MakeClient) -> None:
    async with make_client(local.provider, ApiKey("another-key")) as client:
        with pytest.raises(AuthenticationError) as caught:
            await client.request_upload("a.png")
    assert (caught.value.code, caught.value.http_status) == (401, 401)
    assert (local.ledger.calls[UPLOAD_URL_PATH], local.ledger.calls[TOKEN_PATH]) == (1, 0)


async def test_a_call_ends_at_its_second_401(local: LocalService, make_client: MakeClient) -> None:
    local.faults.add(FaultRule(Fault.EXPIRED_TOKEN, API))
    async with make_client(local.provider, local.client_credentials) as client:
        with pytest.raises(AuthenticationError):
            await client.request_upload("a.png")
    assert (local.ledger.calls[UPLOAD_URL_PATH], local.ledger.calls[TOKEN_PATH]) == (2, 2)
