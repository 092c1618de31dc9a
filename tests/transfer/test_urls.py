"""Presigned URLs: those that lapse are asked for anew, and neither secrets nor redirects lead elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from attrs import evolve

from facewarp_async.client import FaceSwapClient
from facewarp_async.config import ApiKey, Provider
from facewarp_async.errors import ConnectionLostError, StorageError, UrlExpiredError
from facewarp_async.files import inspect_now
from facewarp_async.models import ImageResult
from facewarp_async.server import GET, PUT, Fault, FaultRule, InstantRunner, LocalService
from facewarp_async.transfer import Transfers
from facewarp_async.wire.requests import ACCESS_URL_PATH, UPLOAD_URL_PATH
from tests.transfer.storages import MB, ODD_TARGET, ONCE, giving

pytestmark = pytest.mark.anyio

MakeClient = Callable[..., FaceSwapClient]
MakeFile = Callable[..., Path]
StartPeer = Callable[..., AbstractAsyncContextManager[Any]]


async def test_nothing_of_a_session_of_the_callers_reaches_the_storage(
    start_peer: StartPeer, make_client: MakeClient, make_file: MakeFile, tmp_path: Path
) -> None:
    """Neither its Authorization, nor its other headers, nor its cookies; the API gets them all."""

    async def answer(request: Any, _writer: asyncio.StreamWriter) -> bytes:
        if request.method == "POST":
            url = peer.url + ODD_TARGET
            return bytes(peer.envelope({"upload_url": url, "key": "k", "url": url}, headers="Set-Cookie: a=1\r\n"))
        return bytes(peer.reply(b"x" * 10, headers="Set-Cookie: b=2\r\n"))

    async with start_peer(answer) as peer:
        peer.url = peer.url.replace("127.0.0.1", "localhost")  # of addresses, no cookies are kept
        async with (
            aiohttp.ClientSession(
                headers={"X-Mine": "1", "Authorization": "Basic mine"},
                cookies={"c": "3"},
                cookie_jar=aiohttp.CookieJar(unsafe=True),
            ) as http,
            make_client(
                Provider("peer", peer.url, requests_per_second=None), ApiKey("the-api-key"), http=http
            ) as client,
        ):
            await client.request_upload("a.png")
            await client.upload(make_file())
            result = ImageResult(task_id=1, key="k", url=peer.url + ODD_TARGET)
            await client.download(result, tmp_path / "out.png")
            api = [request for request in peer.received if request.method == "POST"]
            storage = [request for request in peer.received if request.method != "POST"]
    assert [request.method for request in storage] == ["PUT", "GET"]
    for request in storage:
        assert not {"authorization", "cookie", "x-mine"} & request.headers.keys()
        assert request.target == ODD_TARGET
    assert all(request.headers["authorization"] == "Bearer the-api-key" for request in api)
    assert "a=1" in api[-1].headers["cookie"]


async def test_redirects_of_the_storage_are_not_followed(
    start_peer: StartPeer, connect: Callable[..., Transfers], make_file: MakeFile, tmp_path: Path
) -> None:
    async def redirect(_request: Any, _writer: asyncio.StreamWriter) -> bytes:
        return bytes(peer.reply(status="307 Temporary Redirect", headers=f"Location: {elsewhere.url}/x\r\n"))

    async def answer(_request: Any, _writer: asyncio.StreamWriter) -> bytes:
        return bytes(elsewhere.reply(b"x"))

    async with start_peer(redirect) as peer, start_peer(answer) as elsewhere:
        transfers = connect()
        with pytest.raises(StorageError, match="HTTP 307"):
            await transfers.upload(inspect_now(make_file()), giving(peer.url + "/x"))
        with pytest.raises(StorageError, match="HTTP 307"):
            await transfers.download(giving(peer.url + "/x"), tmp_path / "out.png")
        assert (len(peer.received), elsewhere.received) == (2, [])


async def test_a_lapsed_url_is_asked_for_anew(local: LocalService, client: FaceSwapClient, make_file: MakeFile) -> None:
    local.faults.add(FaultRule(Fault.EXPIRED_URL, PUT, nth=1))
    asset = await client.upload(make_file())
    assert local.ledger.calls[UPLOAD_URL_PATH] == 2
    assert local.ledger.uploads == {asset.key: 1}, "the asset is that of the second URL"


async def test_a_url_that_lapsed_by_the_clock_is_asked_for_anew(make_client: MakeClient, make_file: MakeFile) -> None:
    late = timedelta(0)

    async with LocalService(runner=InstantRunner(), clock=lambda: datetime.now(UTC) + late) as service:
        async with make_client(service.provider, service.auth) as client:
            grants = [await client.request_upload("a.png")]
            late = timedelta(seconds=1801)

            async def grant_url() -> str:
                if len(grants) == 1:
                    grants.append(await client.request_upload("a.png"))
                    return grants[0].url
                return grants[1].url

            await client._connection.transfers.upload(inspect_now(make_file()), grant_url)
        assert service.ledger.refusals[PUT, 403] == 1
        assert service.ledger.uploads == {grants[1].key: 1}


async def test_a_url_that_is_always_refused_is_an_error_after_three(
    local: LocalService, client: FaceSwapClient, make_file: MakeFile
) -> None:
    local.faults.add(FaultRule(Fault.EXPIRED_URL, PUT))
    with pytest.raises(UrlExpiredError) as caught:
        await client.upload(make_file())
    assert (caught.value.storage_code, caught.value.http_status) == ("AccessDenied", 403)
    assert local.ledger.calls[PUT] == local.ledger.calls[UPLOAD_URL_PATH] == 3


@pytest.mark.parametrize(
    "url",
    [
        "",
        "x",
        "/x",
        "//h/x",
        "ftp://h/x",
        "http://",
        "http://[",
        "http://h:99999/x",
        "http://h:0/x",
        "file:///etc/passwd",
    ],
)
async def test_a_url_that_is_none_is_a_typed_error(
    connect: Callable[..., Transfers], make_file: MakeFile, tmp_path: Path, url: str
) -> None:
    with pytest.raises(StorageError, match="presigned URL that is none"):
        await connect().upload(inspect_now(make_file()), giving(url))
    with pytest.raises(StorageError, match="presigned URL that is none"):
        await connect().download(giving(url), tmp_path / "out.png")


async def test_a_url_cannot_smuggle_a_header(
    start_peer: StartPeer, connect: Callable[..., Transfers], make_file: MakeFile
) -> None:
    async def answer(_request: Any, _writer: asyncio.StreamWriter) -> bytes:
        return bytes(peer.reply())

    async with start_peer(answer) as peer:
        with suppress(StorageError, ConnectionLostError):
            await connect(retry=ONCE).upload(
                inspect_now(make_file()), giving(peer.url + "/x?a=1 HTTP/1.1\r\nX-Bad: 1\r\n")
            )
        assert all("x-bad" not in request.headers for request in peer.received)


async def test_a_lapsed_result_url_is_renewed_and_what_is_there_is_kept(
    local: LocalService, client: FaceSwapClient, make_file: MakeFile, tmp_path: Path
) -> None:
    media = make_file(size=3 * MB)
    result = await client.swap_image(media, make_file("face.png"))
    local.faults.add(FaultRule(Fault.CUT_GET, GET, nth=1))
    local.faults.add(FaultRule(Fault.EXPIRED_URL, GET, nth=1))
    told: list[int] = []
    await client.download(result, tmp_path / "out.png", on_progress=lambda done, _total: told.append(done))
    assert local.ledger.calls[ACCESS_URL_PATH] == 1
    assert local.ledger.calls[GET] == 3
    assert (tmp_path / "out.png").read_bytes() == media.read_bytes()
    assert told == sorted(told), "it never began again"


async def test_a_result_url_that_is_always_refused_is_an_error_after_three(
    local: LocalService, client: FaceSwapClient, make_file: MakeFile, tmp_path: Path
) -> None:
    result = await client.swap_image(make_file(), make_file("face.png"))
    local.faults.add(FaultRule(Fault.EXPIRED_URL, GET))
    with pytest.raises(UrlExpiredError) as caught:
        await client.download(result, tmp_path / "out" / "out.png")
    assert (local.ledger.calls[GET], local.ledger.calls[ACCESS_URL_PATH]) == (3, 2)
    assert caught.value.task_id == result.task_id
    assert list((tmp_path / "out").iterdir()) == []


async def test_plain_storage_is_refused_where_the_api_is_not_plain(
    local: LocalService, make_client: MakeClient, tmp_path: Path
) -> None:
    provider = evolve(local.provider, base_url="https://127.0.0.1:1")
    result = ImageResult(task_id=1, key="k", url=local.provider.base_url + "/x")
    async with make_client(provider, local.auth) as client:
        with pytest.raises(StorageError, match="plain http"):
            await client.download(result, tmp_path / "out.png")
    assert local.ledger.calls[GET] == 0
