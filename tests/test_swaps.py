"""The swaps made of several calls."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from attrs import evolve

from facewarp_async.client import FaceSwapClient
from facewarp_async.config import PairOrder
from facewarp_async.errors import (
    ConfigurationError,
    EmptyFileError,
    FaceWarpError,
    InDoubtError,
    MissingFileError,
    NoFaceError,
    SourceNotFoundError,
    Stage,
    TaskTimeoutError,
    UnsupportedFormatError,
    UploadRejectedError,
)
from facewarp_async.models import Asset, FaceDetection, ImageResult, MediaType, TaskKind, VideoResult
from facewarp_async.server import CREATES, PUT, Fault, FaultRule, InstantRunner, LocalService
from facewarp_async.wire.requests import CREATE_PATHS, TASK_PATH, UPLOAD_URL_PATH
from tests.patience import seconds

pytestmark = pytest.mark.anyio

MakeClient = Callable[..., FaceSwapClient]
MakeFile = Callable[..., Path]


async def test_a_picture_is_swapped_and_fetched(
    local: LocalService, client: FaceSwapClient, make_file: MakeFile, tmp_path: Path
) -> None:
    media = make_file("team.png")
    result = await client.swap_image(str(media), make_file("me.jpg"), hd=True)
    assert isinstance(result, ImageResult)
    assert (result.size, result.width, result.height) == (1000, 640, 480)
    assert await client.download(result, str(tmp_path / "out" / "o.png")) == tmp_path / "out" / "o.png"
    assert (tmp_path / "out" / "o.png").read_bytes() == media.read_bytes()
    assert result.thumbnail is not None
    await client.download(result.thumbnail, tmp_path / "thumbnail.png")
    assert len(local.ledger.creations) == 1


async def test_a_video_is_swapped(local: LocalService, client: FaceSwapClient, make_file: MakeFile) -> None:
    result = await client.swap_video(make_file("clip.mp4"), make_file("me.jpg"))
    assert isinstance(result, VideoResult)
    assert (result.duration_s, result.cover is not None, result.cover_thumbnail is not None) == (1.0, True, True)
    assert local.ledger.creations[0].kind is TaskKind.VIDEO_SWAP


async def test_faces_are_found_and_none_is_a_result(
    client: FaceSwapClient, make_file: MakeFile, make_client: MakeClient, tmp_path: Path
) -> None:
    found = await client.detect_faces(make_file())
    assert isinstance(found, FaceDetection)
    assert [len(face.kps) for face in found.faces] == [5, 5]
    await client.download(found.faces[1], tmp_path / "face.png")
    async with (
        LocalService(runner=InstantRunner(faces=0)) as nobody,
        make_client(nobody.provider, nobody.auth) as other,
    ):
        assert (await other.detect_faces(make_file())).faces == ()


@pytest.mark.parametrize("order", list(PairOrder))
@pytest.mark.parametrize("name", ["group.png", "group.mp4"])
async def test_several_faces_are_swapped_in_the_pair_order_of_the_provider(
    local: LocalService, make_client: MakeClient, make_file: MakeFile, order: PairOrder, name: str
) -> None:
    sent: list[Any] = []
    async with make_client(evolve(local.provider, pair_order=order), local.auth) as client:
        create = client._create_task

        async def watch(request: Any, **options: Any) -> int:
            sent.append(request)
            return await create(request, **options)

        client._create_task = watch  # type: ignore[method-assign]  # to see what is sent
        media = make_file(name)
        result = await client.swap_faces(media, {1: make_file("b.jpg"), 0: make_file("a.jpg")})
    detection, swap = local.ledger.creations
    is_video = media.suffix == ".mp4"
    assert isinstance(result, VideoResult if is_video else ImageResult)
    assert detection.kind is TaskKind.FACE_DETECTION
    assert swap.kind is (TaskKind.MULTI_VIDEO_SWAP if is_video else TaskKind.MULTI_IMAGE_SWAP)
    in_media = "target_part_key" if order is PairOrder.TABLES else "avatar_part_key"
    assert f'{{"{in_media}":"'.encode() in sent[1].body
    crops = (await _faces_of(local, make_client, detection.task_id)).faces
    assert swap.keys[-4::2] == (crops[1].key, crops[0].key), "the faces of the media, in the order of the mapping"


async def _faces_of(local: LocalService, make_client: MakeClient, task_id: int) -> FaceDetection:
    async with make_client(local.provider, local.auth) as client:
        result = await client.wait_for_task(task_id)
    assert isinstance(result, FaceDetection)
    return result


@pytest.mark.parametrize("index", [2, -1])
async def test_a_face_that_the_media_does_not_have_is_told_before_a_swap_is_paid_for(
    local: LocalService, client: FaceSwapClient, make_file: MakeFile, index: int
) -> None:
    with pytest.raises(NoFaceError, match=f"has no face {index}; it has 2, counted from 0"):
        await client.swap_faces(make_file(), {0: make_file("a.jpg"), index: make_file("b.jpg")})
    assert [creation.kind for creation in local.ledger.creations] == [TaskKind.FACE_DETECTION]


async def test_swapping_no_face_is_refused_before_anything_is_paid_for(
    local: LocalService, client: FaceSwapClient, make_file: MakeFile
) -> None:
    with pytest.raises(ConfigurationError, match="names no face"):
        await client.swap_faces(make_file(), {})
    assert len(local.ledger.creations) == 0


@pytest.mark.parametrize(
    ("swap", "media", "face", "error", "said"),
    [
        ("image", "gone.png", "me.jpg", MissingFileError, "gone.png"),
        ("image", "a.png", "gone.jpg", MissingFileError, "gone.jpg"),
        ("image", "empty.png", "me.jpg", EmptyFileError, "empty.png"),
        ("image", "clip.mp4", "me.jpg", UnsupportedFormatError, "swap_video"),
        ("image", "a.png", "clip.mp4", UnsupportedFormatError, "expected a picture of the face"),
        ("video", "a.png", "me.jpg", UnsupportedFormatError, "swap_image"),
        ("video", "clip.mp4", "clip.mp4", UnsupportedFormatError, "expected a picture of the face"),
    ],
)
async def test_a_file_that_cannot_be_used_fails_before_any_call(
    local: LocalService,
    client: FaceSwapClient,
    make_file: MakeFile,
    tmp_path: Path,
    swap: str,
    media: str,
    face: str,
    error: type[FaceWarpError],
    said: str,
) -> None:
    for name in ("a.png", "me.jpg", "clip.mp4"):
        make_file(name)
    (tmp_path / "empty.png").touch()
    call = client.swap_image if swap == "image" else client.swap_video
    with pytest.raises(error, match=said) as caught:
        await call(tmp_path / media, tmp_path / face)
    assert caught.value.stage is Stage.CHECK
    assert sum(local.ledger.calls.values()) == 0


async def test_assets_are_used_as_they_are(local: LocalService, client: FaceSwapClient, make_file: MakeFile) -> None:
    media, face = await client.upload(make_file()), await client.upload(make_file("me.jpg"))
    assert media.media_type is MediaType.PNG
    for _ in range(2):
        await client.swap_image(Asset(media.key), face)
    assert local.ledger.calls[PUT] == 2
    assert {creation.keys for creation in local.ledger.creations} == {(media.key, face.key)}


async def test_swaps_at_the_same_time_share_their_uploads(
    local: LocalService, client: FaceSwapClient, make_file: MakeFile
) -> None:
    face = make_file("me.jpg")
    async with anyio.create_task_group() as group:
        for index in range(10):
            group.start_soon(client.swap_image, make_file(f"{index}.png"), face)
    assert local.ledger.calls[PUT] == 11
    assert set(local.ledger.contents.values()) == {1}


async def test_only_the_upload_that_the_service_forgot_is_made_again(
    local: LocalService, client: FaceSwapClient, make_file: MakeFile
) -> None:
    media, face = make_file(), make_file("me.jpg")
    await client.swap_image(media, face)
    await local.forget(local.ledger.creations[0].keys[1])
    await client.swap_image(media, face)
    first, second = local.ledger.creations
    assert first.keys[0] == second.keys[0]
    assert first.keys[1] != second.keys[1]
    assert (local.ledger.calls[PUT], local.ledger.calls[CREATE_PATHS[TaskKind.IMAGE_SWAP]]) == (3, 3)


@pytest.mark.parametrize("code", [701, 702])
async def test_where_the_service_names_no_file_all_are_uploaded_again(
    local: LocalService, client: FaceSwapClient, make_file: MakeFile, code: int
) -> None:
    local.faults.add(FaultRule(Fault.REFUSED, CREATES, nth=1, code=code, message="a file has trouble"))
    await client.swap_image(make_file(), make_file("me.jpg"))
    assert local.ledger.calls[PUT] == 4
    assert len(local.ledger.creations) == 1


async def test_an_upload_is_made_again_once_and_no_more(
    local: LocalService, client: FaceSwapClient, make_file: MakeFile
) -> None:
    local.faults.add(FaultRule(Fault.FORGET_UPLOAD, PUT))
    with pytest.raises(UploadRejectedError) as caught:
        await client.swap_image(make_file(), make_file("me.jpg"))
    assert caught.value.stage is Stage.CREATE
    # The service names one at a time: both are lost, and each is sent once more.
    assert local.ledger.calls[PUT] <= 4
    assert len(local.ledger.creations) == 0


async def test_an_asset_that_the_service_does_not_know_is_not_asked_for_again(
    local: LocalService, client: FaceSwapClient, make_file: MakeFile
) -> None:
    with pytest.raises(SourceNotFoundError):
        await client.swap_image(Asset("no/such.png"), make_file("me.jpg"))
    assert local.ledger.calls[CREATE_PATHS[TaskKind.IMAGE_SWAP]] == 1


async def test_a_swap_in_doubt_is_not_made_again(
    local: LocalService, client: FaceSwapClient, make_file: MakeFile
) -> None:
    local.faults.add(FaultRule(Fault.RESET_AFTER, CREATES))
    with pytest.raises(InDoubtError) as caught:
        await client.swap_image(make_file("media.png"), make_file("me.jpg"))
    assert (len(local.ledger.creations), caught.value.stage) == (1, Stage.CREATE)


async def test_a_swap_that_takes_too_long_names_its_task(make_client: MakeClient, make_file: MakeFile) -> None:
    async with (
        LocalService(runner=InstantRunner(duration_s=30)) as service,
        make_client(service.provider, service.auth) as client,
    ):
        with pytest.raises(TaskTimeoutError) as caught:
            await client.swap_image(make_file(), make_file("me.jpg"), timeout_s=0.05)
        assert caught.value.task_id == service.ledger.creations[0].task_id
        assert caught.value.stage is Stage.WAIT


async def test_a_cancelled_swap_ends_at_once_and_leaves_the_client_usable(
    make_client: MakeClient, make_file: MakeFile
) -> None:
    looked = asyncio.Event()

    class Runner(InstantRunner):
        async def run(self, work: Any) -> Any:
            looked.set()
            return await super().run(work)

    async with (
        LocalService(runner=Runner(duration_s=0.5)) as service,
        make_client(service.provider, service.auth) as client,
    ):
        async with anyio.create_task_group() as group:
            group.start_soon(client.swap_image, make_file(), make_file("me.jpg"))
            await looked.wait()
            cancelled_at = anyio.current_time()
            group.cancel_scope.cancel()
        assert anyio.current_time() - cancelled_at < seconds(1)
        task_id = service.ledger.creations[0].task_id
        assert (await client.wait_for_task(task_id)).task_id == task_id, "what was paid for is still there"


async def test_a_file_that_is_replaced_between_two_swaps_is_uploaded_anew(
    local: LocalService, client: FaceSwapClient, make_file: MakeFile
) -> None:
    media, face = make_file(salt=b"one"), make_file("me.jpg")
    await client.swap_image(media, face)
    make_file(salt=b"two")
    os.utime(media, ns=(1, 1))
    await client.swap_image(media, face)
    assert local.ledger.calls[PUT] == 3


async def test_a_swap_over_a_service_full_of_faults_pays_once(
    local: LocalService, client: FaceSwapClient, make_file: MakeFile
) -> None:
    local.faults.add(
        FaultRule(
            (Fault.RESET_BEFORE, Fault.SERVER_ERROR, Fault.BAD_GATEWAY, Fault.HALF_DOCUMENT, Fault.RATE_LIMITED),
            {UPLOAD_URL_PATH, TASK_PATH, PUT},
            every=2,
            retry_after_s=0,
        )
    )
    for index in range(3):
        await client.swap_image(make_file(f"{index}.png"), make_file("me.jpg"))
    assert len(local.ledger.creations) == 3
    assert local.ledger.paid_twice() == []
