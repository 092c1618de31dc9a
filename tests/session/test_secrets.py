"""Tokens, client secrets and URL signatures are in nothing that a program may print."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from facewarp_async.client import FaceSwapClient
from facewarp_async.config import ApiKey, ClientCredentials, Provider, Timeouts
from facewarp_async.errors import FaceWarpError, RequestTimeoutError
from facewarp_async.models import ImageResult
from facewarp_async.policy.retry import RetryPolicy
from facewarp_async.server import FaultPlan, InstantRunner, LocalService

pytestmark = pytest.mark.anyio

MakeClient = Callable[..., FaceSwapClient]
StartPeer = Callable[..., AbstractAsyncContextManager[Any]]

KEY, SECRET, SIGNATURE = "the-secret-api-key", "the-client-secret", "0123456789abcdef" * 4
CREDENTIALS = [ApiKey(KEY), ClientCredentials("the-client-id", SECRET)]


def told(error: BaseException) -> str:
    """Everything that a program might print of an error, and of those behind it that are shown with it."""
    texts = ["".join(traceback.format_exception(error, chain=True))]
    shown: BaseException | None = error
    while shown is not None:
        texts += [str(shown), repr(shown), repr(shown.args), repr(vars(shown))]
        shown = shown.__cause__ or (None if shown.__suppress_context__ else shown.__context__)
    return "\n".join(texts)


@pytest.fixture
def everything_logged(caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    """All that was logged since the test began, by anybody, at any level."""
    caplog.set_level(logging.DEBUG)
    return lambda: caplog.text + "".join(repr(record.args) for record in caplog.records)


def check(text: str) -> None:
    for secret in (KEY, SECRET, SIGNATURE):
        assert secret not in text


def url_at(base: str) -> str:
    return f"{base}/bucket/k%2Fx?X-Amz-Credential=ID%2Fauto&X-Amz-Expires=1800&X-Amz-Signature={SIGNATURE}"


def result_at(base: str) -> ImageResult:
    return ImageResult(task_id=7, key="k", url=url_at(base))


def go(way: str, client: FaceSwapClient, file: Path, result: ImageResult, target: Path) -> Awaitable[object]:
    """Do one of the three things that a client does with a server."""
    match way:
        case "call":
            return client.request_upload("a.png")
        case "upload":
            return client.upload(file)
        case _:
            return client.download(result, target)


@pytest.mark.parametrize("credentials", CREDENTIALS, ids=["key", "client"])
@pytest.mark.parametrize("enveloped", [True, False])
@pytest.mark.parametrize("status", ["200 OK", "400 Bad Request", "502 Bad Gateway"])
async def test_an_answer_that_repeats_the_request_tells_no_secret(
    start_peer: StartPeer,
    make_client: MakeClient,
    everything_logged: Callable[[], str],
    credentials: ApiKey | ClientCredentials,
    enveloped: bool,
    status: str,
) -> None:
    async def answer(request: Any, _writer: asyncio.StreamWriter) -> bytes:
        told = (request.head + request.body).decode()
        if enveloped:
            return bytes(peer.envelope(code=400, message=told, status=status))
        return bytes(peer.reply(told[-200:].encode(), status=status))

    async with (
        start_peer(answer) as peer,
        make_client(Provider("peer", peer.url, requests_per_second=None), credentials) as client,
    ):
        with pytest.raises(FaceWarpError) as caught:
            await client.request_upload("a.png")
    check(told(caught.value))
    check(everything_logged())
    check(repr(client) + repr(credentials))


@pytest.mark.parametrize("garbage", [b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", b""])
@pytest.mark.parametrize("way", ["call", "upload", "download"])
async def test_a_peer_that_speaks_no_http_makes_errors_without_secrets(
    start_peer: StartPeer,
    make_client: MakeClient,
    make_file: Callable[..., Path],
    everything_logged: Callable[[], str],
    tmp_path: Path,
    way: str,
    garbage: bytes,
) -> None:
    async def answer(request: Any, writer: asyncio.StreamWriter) -> bytes | None:
        if way == "upload" and request.method == "POST":
            return bytes(peer.envelope({"upload_url": url_at(peer.url), "key": "k"}))
        writer.write(garbage)
        await writer.drain()
        writer.close()
        return None

    async with (
        start_peer(answer) as peer,
        make_client(Provider("peer", peer.url, requests_per_second=None), CREDENTIALS[0]) as client,
    ):
        with pytest.raises(FaceWarpError) as caught:
            await go(way, client, make_file(), result_at(peer.url), tmp_path / "out.png")
    check(told(caught.value))
    check(everything_logged())


@pytest.mark.parametrize("way", ["call", "upload", "download"])
async def test_a_connection_that_is_never_made_tells_no_secret(
    start_peer: StartPeer,
    make_client: MakeClient,
    make_file: Callable[..., Path],
    everything_logged: Callable[[], str],
    tmp_path: Path,
    full_backlog: str,
    way: str,
) -> None:
    async def answer(_request: Any, _writer: asyncio.StreamWriter) -> bytes:
        return bytes(peer.envelope({"upload_url": url_at(full_backlog), "key": "k"}))

    options: dict[str, Any] = {"timeouts": Timeouts(connect_s=0.05), "retry": RetryPolicy(attempts=1)}
    async with start_peer(answer) as peer:
        base = full_backlog if way == "call" else peer.url
        provider = Provider("peer", base, requests_per_second=None)
        async with make_client(provider, CREDENTIALS[0], **options) as client:
            with pytest.raises(FaceWarpError, match="no connection") as caught:
                await go(way, client, make_file(), result_at(full_backlog), tmp_path / "out.png")
    assert not isinstance(caught.value, RequestTimeoutError), "nothing was sent: it may be repeated"
    check(told(caught.value))
    check(everything_logged())


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
async def test_a_run_full_of_faults_writes_no_secret(
    make_client: MakeClient,
    make_file: Callable[..., Path],
    everything_logged: Callable[[], str],
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    seed: int,
) -> None:
    faults = FaultPlan.everywhere(0.5, seed)
    timeouts = Timeouts(request_s=2, stall_s=2, repeat_s=2, image_task_s=2)
    texts = []
    async with (
        LocalService(
            runner=InstantRunner(), faults=faults, api_key=KEY, client_id="the-client-id", client_secret=SECRET
        ) as service,
        make_client(service.provider, CREDENTIALS[seed % 2], timeouts=timeouts) as client,
    ):
        for index in range(4):
            try:
                result = await client.swap_image(make_file(f"{index}.png"), make_file("face.png"))
                texts.append(repr(result))
                await client.download(result, tmp_path / "out" / f"{index}.png")
            except FaceWarpError as error:
                texts.append(told(error))
    text = "\n".join(texts) + everything_logged()
    check(text)
    assert "X-Amz-Signature=" not in text.replace("X-Amz-Signature=***", "")
    assert "Bearer " not in text.replace("Bearer ***", "")
    assert any("repeating in" in record.message for record in caplog.records), "the run met faults"
