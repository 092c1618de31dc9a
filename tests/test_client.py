"""The client's life, its waits, and what its errors know."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import pytest

from facewarp_async.client import FaceSwapClient
from facewarp_async.config import MIOCREATE, VIDNOZ, ApiKey, ClientCredentials, Provider, Timeouts
from facewarp_async.errors import (
    ConfigurationError,
    FacePolicyError,
    FaceWarpError,
    HttpError,
    NoFaceError,
    Recovery,
    ResultGoneError,
    SourceNotFoundError,
    TaskFailedError,
    TaskTimeoutError,
)
from facewarp_async.models import Asset, FaceDetection, ImageResult, TaskKind, TaskStatus, VideoResult
from facewarp_async.testing import CREATES, FailureStyle, FakeService, Fault, FaultRule
from facewarp_async.wire.requests import ACCESS_URL_PATH, TASK_PATH, UPLOAD_URL_PATH
from tests.patience import seconds

pytestmark = pytest.mark.anyio

MakeClient = Callable[..., FaceSwapClient]
MakeFile = Callable[..., Path]
StartPeer = Callable[..., AbstractAsyncContextManager[Any]]


@pytest.fixture
async def client(facewarp_service: FakeService, make_client: MakeClient) -> AsyncIterator[FaceSwapClient]:
    async with make_client(facewarp_service.provider, facewarp_service.auth) as client:
        yield client


# Its life


async def test_a_client_may_be_closed_twice_and_unused(facewarp_service: FakeService, make_client: MakeClient) -> None:
    client = make_client(facewarp_service.provider, facewarp_service.auth)
    await client.aclose()
    await client.aclose()
    async with make_client(facewarp_service.provider, facewarp_service.auth) as client:
        await client.request_upload("a.png")
        await client.aclose()


async def test_a_closed_client_says_so(
    facewarp_service: FakeService, make_client: MakeClient, make_file: MakeFile
) -> None:
    async with make_client(facewarp_service.provider, facewarp_service.auth) as client:
        await client.request_upload("a.png")
    for call in (client.request_upload("a.png"), client.swap_image(make_file(), make_file("b.png"))):
        with pytest.raises(ConfigurationError, match="the client is closed"):
            await call
    assert facewarp_service.ledger.calls[UPLOAD_URL_PATH] == 1


async def test_a_client_tells_of_its_calls_before_and_after_its_life(
    facewarp_service: FakeService, make_client: MakeClient
) -> None:
    client = make_client(facewarp_service.provider, facewarp_service.auth)
    assert client.calls_made == {}
    async with client:
        await client.request_upload("a.png")
    assert client.calls_made == {UPLOAD_URL_PATH: 1}


@pytest.mark.parametrize("way", ["call", "download"])
async def test_what_is_under_way_when_the_client_is_closed_ends_in_a_typed_error(
    start_peer: StartPeer, make_client: MakeClient, tmp_path: Path, way: str
) -> None:
    asked = asyncio.Event()

    async def answer(_request: Any, _writer: asyncio.StreamWriter) -> None:
        asked.set()
        await asyncio.Event().wait()

    async with start_peer(answer) as peer:
        client = make_client(Provider("peer", peer.url, requests_per_second=None), ApiKey("the-api-key"))
        result = ImageResult(task_id=1, key="k", url=peer.url + "/x")
        under_way = client.request_upload("a.png") if way == "call" else client.download(result, tmp_path / "out.png")
        call: asyncio.Future[object] = asyncio.ensure_future(under_way)
        await asked.wait()
        await client.aclose()
        with anyio.fail_after(2):
            await asyncio.wait([call])
        assert isinstance(call.exception(), FaceWarpError)


def test_a_client_belongs_to_the_loop_of_its_first_use(make_client: MakeClient) -> None:
    async def use(client: FaceSwapClient, provider: Provider | None = None) -> None:
        await client.request_upload("a.png")

    async def begin() -> FaceSwapClient:
        async with FakeService() as service:
            client = make_client(service.provider, service.auth)
            await use(client)
            await client.aclose()
            client = make_client(service.provider, service.auth)
            await use(client)
            return client

    async def go_on(client: FaceSwapClient) -> None:
        with pytest.raises(ConfigurationError, match="belongs to the event loop"):
            await use(client)

    runner = asyncio.Runner()
    client = runner.run(begin())
    asyncio.run(go_on(client))
    runner.run(client.aclose())
    runner.close()


async def test_a_client_can_be_made_where_no_loop_runs(facewarp_service: FakeService, make_client: MakeClient) -> None:
    client = await anyio.to_thread.run_sync(lambda: make_client(facewarp_service.provider, facewarp_service.auth))
    async with client:
        assert (await client.request_upload("a.png")).key


async def test_a_session_of_the_callers_stays_open(facewarp_service: FakeService, make_client: MakeClient) -> None:
    async with aiohttp.ClientSession() as http:
        for _ in range(2):
            async with make_client(facewarp_service.provider, facewarp_service.auth, http=http) as client:
                asset = await client.request_upload("a.png")
                assert asset.key
        assert not http.closed
        async with http.get(facewarp_service.provider.base_url) as response:
            assert response.status == 200


async def test_a_closed_session_of_the_callers_is_told_as_such(
    facewarp_service: FakeService, make_client: MakeClient
) -> None:
    async with aiohttp.ClientSession() as http:
        pass
    async with make_client(facewarp_service.provider, facewarp_service.auth, http=http) as client:
        with pytest.raises(ConfigurationError, match="session that was given"):
            await client.request_upload("a.png")


async def test_a_cancelled_block_closes_its_client(facewarp_service: FakeService, make_client: MakeClient) -> None:
    """Warnings are errors here: a session that stayed open would say so."""
    with anyio.CancelScope() as scope:
        async with make_client(facewarp_service.provider, facewarp_service.auth) as client:
            await client.request_upload("a.png")
            scope.cancel()
            await anyio.sleep(5)
    with pytest.raises(ConfigurationError):
        await client.request_upload("a.png")


@pytest.mark.parametrize(
    ("environ", "provider", "credentials"),
    [
        ({"FACEWARP_API_KEY": "k"}, VIDNOZ, ApiKey("k")),
        (
            {"FACEWARP_PROVIDER": "MioCreate", "FACEWARP_API_KEY": "k", "FACEWARP_CLIENT_ID": "i"},
            MIOCREATE,
            ApiKey("k"),
        ),
        ({"FACEWARP_CLIENT_ID": "i", "FACEWARP_CLIENT_SECRET": "s"}, VIDNOZ, ClientCredentials("i", "s")),
    ],
)
async def test_a_client_is_made_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], provider: Provider, credentials: Any
) -> None:
    for name in ("PROVIDER", "BASE_URL", "API_KEY", "CLIENT_ID", "CLIENT_SECRET"):
        monkeypatch.delenv(f"FACEWARP_{name}", raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    client = FaceSwapClient.from_env()
    assert client.provider == provider
    assert client._connection._credentials == credentials


async def test_a_client_from_the_environment_speaks_to_its_base_url(facewarp_service: FakeService) -> None:
    async with FaceSwapClient.from_env(facewarp_service.environ) as client:
        assert (await client.request_upload("a.png")).key


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({}, "FACEWARP_API_KEY, or FACEWARP_CLIENT_ID and FACEWARP_CLIENT_SECRET"),
        ({"FACEWARP_CLIENT_ID": "i"}, "FACEWARP_CLIENT_SECRET"),
        ({"FACEWARP_PROVIDER": "other", "FACEWARP_API_KEY": "k"}, "FACEWARP_PROVIDER"),
    ],
)
def test_an_environment_that_does_not_do_is_named(environ: dict[str, str], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        FaceSwapClient.from_env(environ)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"provider": "vidnoz"}, "such as VIDNOZ"),
        ({"credentials": "the-secret-key"}, r"ApiKey\(…\)"),
        ({"poll_policy": "quick"}, "poll_policy is 'quick'"),
    ],
)
def test_what_a_client_cannot_be_made_of_is_told_at_once(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told) as caught:
        FaceSwapClient(**{"provider": VIDNOZ, "credentials": ApiKey("the-secret-key"), **options})
    assert "the-secret-key" not in str(caught.value)


# Single calls


async def test_each_call_of_the_protocol_is_one_coroutine(
    client: FaceSwapClient, facewarp_service: FakeService, make_file: MakeFile
) -> None:
    media, face = await client.upload(make_file()), await client.upload(str(make_file("face.jpg")))
    video = await client.upload(make_file("video.mp4"))
    detection = await client.wait_for_task(await client.create_face_detection(media))
    assert isinstance(detection, FaceDetection)
    pairs = [(detection.faces[0], face)]
    moving = await client.wait_for_task(await client.create_face_detection(video))
    assert isinstance(moving, FaceDetection)
    created = [
        await client.create_image_swap(media, face, hd=True),
        await client.create_video_swap(video, face),
        await client.create_multi_image_swap(detection.task_id, pairs),
        await client.create_multi_video_swap(moving.task_id, [(moving.faces[0], face)]),
    ]
    results = [await client.wait_for_task(task_id) for task_id in created]
    assert [type(result) for result in results] == [ImageResult, VideoResult, ImageResult, VideoResult]
    assert [result.task_id for result in results] == created
    assert (await client.get_task(created[0], TaskKind.IMAGE_SWAP)).status is TaskStatus.FINISHED
    assert "X-Amz-Signature=" in await client.access_url(media.key)


async def test_a_deleted_key_is_told_by_its_code_and_cannot_be_repeated(client: FaceSwapClient) -> None:
    with pytest.raises(ResultGoneError, match="for a result is paid for again") as caught:
        await client.access_url("no/such/key")
    assert isinstance(caught.value, SourceNotFoundError)
    assert (caught.value.code, caught.value.http_status, caught.value.recovery) == (702, 200, Recovery.GIVE_UP)


# Waiting


@pytest.fixture
async def media(client: FaceSwapClient, make_file: MakeFile) -> tuple[Asset, Asset]:
    return await client.upload(make_file("media.png")), await client.upload(make_file("face.png"))


@pytest.mark.parametrize("fault", [Fault.SERVER_ERROR, Fault.BAD_GATEWAY, Fault.RESET_AFTER, Fault.HALF_DOCUMENT])
async def test_waiting_survives_trouble_on_the_way(
    facewarp_service: FakeService, client: FaceSwapClient, media: tuple[Asset, Asset], fault: Fault
) -> None:
    """More of it than one call is repeated."""
    task_id = await client.create_image_swap(*media)
    facewarp_service.faults.add(FaultRule(fault, TASK_PATH, nth=range(1, 9)))
    assert isinstance(await client.wait_for_task(task_id, TaskKind.IMAGE_SWAP), ImageResult)
    assert facewarp_service.ledger.calls[TASK_PATH] == 9


async def test_a_wait_that_takes_too_long_keeps_the_task(make_client: MakeClient, make_file: MakeFile) -> None:
    async with (
        FakeService() as service,
        make_client(service.provider, service.auth) as client,
    ):
        service.hold_tasks()
        media, face = await client.upload(make_file()), await client.upload(make_file("face.png"))
        task_id = await client.create_image_swap(media, face)
        with pytest.raises(TaskTimeoutError, match=r"within 0\.05 s") as caught:
            await client.wait_for_task(task_id, timeout_s=0.05)
        assert isinstance(caught.value, TimeoutError)
        assert (caught.value.task_id, caught.value.paid) == (task_id, True)
        service.release_tasks()
        assert (await client.wait_for_task(task_id)).task_id == task_id
        assert len(service.ledger.creations) == 1


async def test_an_answer_that_does_not_come_does_not_outlast_the_wait(
    facewarp_service: FakeService, client: FaceSwapClient, media: tuple[Asset, Asset]
) -> None:
    task_id = await client.create_image_swap(*media)
    facewarp_service.faults.add(FaultRule(Fault.SLOW, TASK_PATH, delay_s=20))
    with pytest.raises(TaskTimeoutError), anyio.fail_after(seconds(0.5)):
        await client.wait_for_task(task_id, timeout_s=0.1)


async def test_a_finished_task_without_a_result_is_looked_at_again(
    facewarp_service: FakeService, client: FaceSwapClient, media: tuple[Asset, Asset]
) -> None:
    task_id = await client.create_image_swap(*media)
    await facewarp_service.settled()
    facewarp_service.faults.add(FaultRule(Fault.EMPTY_RESULT, TASK_PATH, times=4))
    assert isinstance(await client.wait_for_task(task_id), ImageResult)
    assert facewarp_service.ledger.calls[TASK_PATH] == 5


async def test_a_finished_task_that_never_has_a_result_is_a_failure(
    facewarp_service: FakeService, client: FaceSwapClient, media: tuple[Asset, Asset]
) -> None:
    task_id = await client.create_image_swap(*media)
    await facewarp_service.settled()
    facewarp_service.faults.add(FaultRule(Fault.EMPTY_RESULT, TASK_PATH))
    with pytest.raises(TaskFailedError, match="without a result") as caught:
        await client.wait_for_task(task_id)
    assert caught.value.task_id == task_id
    assert facewarp_service.ledger.calls[TASK_PATH] == 5


@pytest.mark.parametrize("style", list(FailureStyle))
async def test_a_failed_task_is_an_error_that_knows_it(
    make_client: MakeClient, make_file: MakeFile, style: FailureStyle
) -> None:
    async with (
        FakeService(failure_style=style) as service,
        make_client(service.provider, service.auth) as client,
    ):
        service.fail_tasks(602, message="no face")
        media, face = await client.upload(make_file()), await client.upload(make_file("face.png"))
        task_id = await client.create_image_swap(media, face)
        await service.settled()
        with pytest.raises(NoFaceError if style is FailureStyle.CODE else TaskFailedError, match="no face") as caught:
            await client.wait_for_task(task_id)
    assert caught.value.task_id == task_id
    assert service.ledger.calls[TASK_PATH] == 1


@pytest.mark.parametrize("later", [False, True])
async def test_a_task_that_is_not_done_says_how_far_it_is(
    make_client: MakeClient, make_file: MakeFile, later: bool
) -> None:
    async with (
        FakeService(workers=1, later_statuses=later) as service,
        make_client(service.provider, service.auth) as client,
    ):
        service.hold_tasks()
        media, face = await client.upload(make_file()), await client.upload(make_file("face.png"))
        first, second = [await client.create_image_swap(media, face) for _ in range(2)]
        assert (await client.get_task(first)).status is TaskStatus.PROCESSING
        assert (await client.get_task(second)).status is TaskStatus.WAITING
        service.release_tasks()
        await client.wait_for_task(second)


async def test_an_unknown_task_is_an_error_that_names_it(client: FaceSwapClient) -> None:
    with pytest.raises(FaceWarpError) as caught:
        await client.wait_for_task(12345)
    assert (caught.value.code, caught.value.task_id) == (400, 12345)


@pytest.mark.parametrize("fault", [Fault.WRONG_TYPES, Fault.SLOW])
async def test_odd_answers_are_read(
    facewarp_service: FakeService, client: FaceSwapClient, make_file: MakeFile, tmp_path: Path, fault: Fault
) -> None:
    facewarp_service.faults.add(
        FaultRule(fault, {*CREATES, TASK_PATH, UPLOAD_URL_PATH, ACCESS_URL_PATH}, delay_s=0.005)
    )
    result = await client.swap_image(make_file(), make_file("face.png"))
    assert isinstance(result.size, int)
    await client.download(result, tmp_path / "out.png")


# Errors


async def test_an_error_knows_its_code_status_job_stage_and_task(
    facewarp_service: FakeService, client: FaceSwapClient, make_file: MakeFile
) -> None:
    facewarp_service.faults.add(FaultRule(Fault.TASK_FAILS, CREATES, code=605, message="not this face"))
    with pytest.raises(FacePolicyError) as caught:
        await client.swap_image(make_file("media.png"), make_file("face.png"))
    error = caught.value
    assert (error.code, error.http_status, error.stage) == (605, 200, "wait")
    assert error.task_id == facewarp_service.ledger.creations[0].task_id
    assert getattr(error.job, "media", None) == make_file("media.png")
    assert str(error) == f"not this face (code 605, task {error.task_id})"


async def test_an_error_without_an_envelope_shows_the_beginning_of_what_came(
    facewarp_service: FakeService, make_client: MakeClient
) -> None:
    facewarp_service.faults.add(FaultRule(Fault.BAD_GATEWAY, UPLOAD_URL_PATH))
    async with make_client(
        facewarp_service.provider, facewarp_service.auth, timeouts=Timeouts(repeat_s=0.01)
    ) as client:
        with pytest.raises(HttpError) as caught:
            await client.request_upload("a.png")
    assert caught.value.http_status == 502
    assert caught.value.body_start.startswith("<html><head><title>502 Bad Gateway")
