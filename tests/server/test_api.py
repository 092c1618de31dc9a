"""The calls of the protocol over HTTP, and each code for the reason that it names."""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from facewarp_async.models import TaskKind
from facewarp_async.server.ledger import Creation

if TYPE_CHECKING:
    from tests.server.conftest import Harness, Serve

pytestmark = pytest.mark.anyio

SWAP, VIDEO, FACES = "/v1/task/face-swap", "/v1/task/video-face-swap", "/v1/task/get-face"
MULTI, MULTI_VIDEO = "/v1/task/multiple-face-swap", "/v1/task/multiple-video-face-swap"
GRANT, ACCESS = "/v1/source/upload-url", "/v1/source/access-url"


async def test_upload_grant_looks_like_the_vendors(harness: Harness) -> None:
    """The key has date, account and the name's extension; the URL leads to it and lapses after 30 minutes."""
    reply = await harness.call(GRANT, {"file_name": "../my demo.JPG"})
    key, url = reply.data["key"], reply.data["upload_url"]
    assert re.fullmatch(r"temporary/\d{8}/\d+/\d{13}-[0-9a-f-]{36}\.jpg", key)
    assert url.startswith(f"{harness.base}/storage/facewarp/{key}?X-Amz-Content-Sha256=UNSIGNED-PAYLOAD&")
    assert "%2F" in url
    assert "X-Amz-Expires=1800&" in url
    assert (reply.status, reply.code, reply.message) == (200, 200, "ok")
    assert reply.headers["Content-Type"].startswith("application/json")


async def test_an_upload_comes_back_through_its_access_url(harness: Harness, png: bytes) -> None:
    """What was put is what the access URL gives, for three days."""
    url = await harness.access(await harness.upload(png))
    assert "X-Amz-Expires=259200&" in url
    reply = await harness.request("GET", url)
    assert (reply.status, reply.body) == (200, png)


async def test_image_swap_has_the_documented_fields(harness: Harness, png: bytes) -> None:
    """A finished image swap has exactly the fields of the page, and its URLs work without authorisation."""
    fields = await harness.finish(await harness.swap(png))
    assert fields.keys() == {
        *("size", "width", "height", "merge_key", "merge_url"),
        *("thumbnail_key", "thumbnail_url", "thumbnail_width", "thumbnail_height"),
    }
    assert fields["size"] == len(png)
    assert re.fullmatch(r"\d+/asset/\d{6}/\d{13}-[0-9a-f-]{36}\.png", fields["merge_key"])
    for name in ("merge_url", "thumbnail_url"):
        assert (await harness.request("GET", fields[name])).body == png


async def test_video_swap_has_the_documented_fields(harness: Harness, mp4: bytes) -> None:
    """A finished video swap has exactly the fields of the page."""
    keys = {"main_key": await harness.upload(mp4, "a.mp4"), "target_key": await harness.upload()}
    fields = await harness.finish(await harness.create(VIDEO, **keys, is_hd="1"))
    assert fields.keys() == {
        *("size", "duration", "merge_key", "merge_url", "merge_width", "merge_height"),
        *("cover_key", "cover_url", "cover_width", "cover_height"),
        *("cover_thumbnail_key", "cover_thumbnail_url", "thumbnail_width", "thumbnail_height"),
    }
    assert isinstance(fields["duration"], float)
    assert fields["merge_key"].endswith(".mp4")
    assert (await harness.request("GET", fields["merge_url"])).body == mp4


async def test_detection_has_the_documented_fields(harness: Harness) -> None:
    """A finished detection is a list of crops with five points each."""
    faces = await harness.finish(await harness.create(FACES, main_key=await harness.upload()))
    assert len(faces) == 2
    for face in faces:
        assert face.keys() == {"kps", "size", "width", "height", "avatar_part_key", "avatar_part_url"}
        assert list(face["kps"]) == ["1", "2", "3", "4", "5"]
        assert all(isinstance(point[axis], int) for point in face["kps"].values() for axis in "xy")
        assert (await harness.request("GET", face["avatar_part_url"])).status == 200


async def _multi(harness: Harness, media: bytes) -> tuple[list[str], str, int]:
    detection = await harness.create(FACES, main_key=await harness.upload(media))
    faces = await harness.finish(detection)
    return [face["avatar_part_key"] for face in faces], await harness.upload(), detection


@pytest.mark.parametrize("order", [("target_part_key", "avatar_part_key"), ("avatar_part_key", "target_part_key")])
@pytest.mark.parametrize("as_text", [False, True])
async def test_multi_swap_takes_both_readings_of_a_pair(
    harness: Harness, png: bytes, order: tuple[str, str], as_text: bool
) -> None:
    """The crop's key tells which of the two is the face in the media; numbers may be strings."""
    crops, face, detection = await _multi(harness, png)
    pairs = [{order[0]: crop, order[1]: face} for crop in reversed(crops)]
    number: Any = str if as_text else int
    task = await harness.create(MULTI, avatar_key=pairs, get_face_id=number(detection), is_hd=number(1))
    assert (await harness.finish(task))["size"] == len(png)
    stored = harness.service._gate.api.state.tasks[task]
    assert stored.pairs == tuple((crop, face) for crop in reversed(crops))
    assert stored.hd


@pytest.mark.parametrize("turned", [False, True])
async def test_a_pair_of_two_crops_is_read_as_the_other_pairs(harness: Harness, png: bytes, turned: bool) -> None:
    """Where both keys are crops, the other pairs tell their order, else the tables do."""
    crops, face, detection = await _multi(harness, png)
    first = (crops[0], crops[1]) if not turned else (crops[1], crops[0])
    second = (crops[1], face) if not turned else (face, crops[1])
    pairs = [{"target_part_key": target, "avatar_part_key": avatar} for target, avatar in (first, second)]
    task = await harness.create(MULTI, avatar_key=pairs, get_face_id=detection, is_hd=2)
    stored = harness.service._gate.api.state.tasks[task]
    assert stored.pairs == ((crops[0], crops[1]), (crops[1], face))


async def test_multi_video_swap(harness: Harness, mp4: bytes) -> None:
    """Faces found in a video are changed by the video's call, and by that alone."""
    crops, face, detection = await _multi(harness, mp4)
    body = {
        "avatar_key": [{"target_part_key": crops[0], "avatar_part_key": face}],
        "get_face_id": detection,
        "is_hd": 2,
    }
    assert "duration" in await harness.finish(await harness.create(MULTI_VIDEO, **body))
    assert (await harness.call(MULTI, body)).code == 703


async def test_token_call(harness: Harness) -> None:
    """Client id and secret give a token that is as good as the key; anything else gives 401."""
    client = harness.service.client_credentials
    right = {"client_id": client.client_id, "client_secret": client.client_secret}
    reply = await harness.request("POST", "/v1/oauth/token", json=right)
    assert reply.data["expires_in"] == 5909
    assert (await harness.call(GRANT, {"file_name": "a.png"}, token=reply.data["access_token"])).code == 200
    for wrong in ({**right, "client_secret": "no"}, {**right, "client_id": "no"}):
        reply = await harness.request("POST", "/v1/oauth/token", json=wrong)
        assert (reply.status, reply.code) == (401, 401)
    assert (await harness.request("POST", "/v1/oauth/token", json={"client_id": "x"})).code == 400


async def test_tokens_expire_and_cannot_be_made_up(serve: Serve) -> None:
    """A token is good for its lifetime, and only as it was given."""
    now = datetime(2024, 8, 16, tzinfo=UTC)
    async with serve(clock=lambda: now, token_lifetime_s=60.5) as harness:
        client = harness.service.client_credentials
        login = {"client_id": client.client_id, "client_secret": client.client_secret}
        data = (await harness.request("POST", "/v1/oauth/token", json=login)).data
        token = data["access_token"]
        assert data["expires_in"] == 60.5
        text, _, signature = base64.urlsafe_b64decode(token).decode().rpartition(":")
        later = base64.urlsafe_b64encode(f"9{text}:{signature}".encode()).decode()
        assert (await harness.call(GRANT, {"file_name": "a"}, token=later)).code == 401
        now += timedelta(seconds=60)
        assert (await harness.call(GRANT, {"file_name": "a"}, token=token)).code == 200
        now += timedelta(seconds=1)
        assert (await harness.call(GRANT, {"file_name": "a"}, token=token)).code == 401


async def test_a_body_that_stands_still_is_given_up(serve: Serve) -> None:
    """A call whose body does not arrive is answered after a while."""
    async with serve(stall_s=0.05) as harness:
        head = f"POST {GRANT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {harness.service.auth.key}\r\n"
        answer = await harness.raw(head.encode() + b"Content-Length: 9\r\n\r\n{", until=b"}")
        assert answer.startswith(b"HTTP/1.1 408")
        assert b'"code":400' in answer


async def test_401_without_a_good_token(harness: Harness) -> None:
    """Every call needs a token, unknown paths too: nothing is told to strangers."""
    stranger: list[dict[str, str]] = [{}, {"Authorization": "Bearer no"}, {"Authorization": "Basic abc"}]
    stranger.append({"Authorization": "Bearer " + "é" * 10})
    for headers in stranger:
        for method, path in (("POST", GRANT), ("POST", SWAP), ("GET", "/v1/task/detail?id=1"), ("GET", "/v1/secret")):
            reply = await harness.request(method, path, headers=headers)
            assert (reply.status, reply.code, reply.data) == (401, 401, None)


async def test_unknown_routes_and_methods(harness: Harness) -> None:
    """With a token, an unknown call is 404 and a wrong method 405, both in envelopes."""
    assert (await harness.call("/v1/other")).code == 404
    assert (await harness.call(SWAP)).code == 405
    assert (await harness.call("/v1/task/detail?id=1", {})).code == 405
    about = await harness.request("GET", "/")
    assert about.data.keys() == {"name", "version"}


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b"[" * 100_000])
async def test_400_for_bodies_that_are_no_objects(harness: Harness, body: bytes) -> None:
    """A body that is no JSON object is 400, with HTTP 200 as the vendors answer."""
    reply = await harness.call(GRANT, body)
    assert (reply.status, reply.code) == (200, 400)
    assert "body" in reply.message


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        (GRANT, {}, "file_name"),
        (GRANT, {"file_name": ""}, "file_name"),
        (GRANT, {"file_name": 5}, "file_name"),
        (GRANT, {"file_name": "a\x00.png"}, "file_name"),
        (GRANT, {"file_name": "x" * 2000}, "file_name"),
        (ACCESS, {}, "key"),
        (SWAP, {"key": "K", "target_key": "K"}, "main_key"),
        (SWAP, {"main_key": "K"}, "target_key"),
        (SWAP, {"main_key": "K", "target_key": "K", "is_hd": 3}, "is_hd"),
        (SWAP, {"main_key": "K", "target_key": "K", "is_hd": True}, "is_hd"),
        (SWAP, {"main_key": "K", "target_key": "K", "is_hd": "yes"}, "is_hd"),
        (SWAP, {"main_key": "K", "target_key": "K", "is_hd": 1.5}, "is_hd"),
        (FACES, {}, "main_key"),
        (MULTI, {"get_face_id": 1, "is_hd": 1}, "avatar_key"),
        (MULTI, {"avatar_key": [], "get_face_id": 1, "is_hd": 1}, "avatar_key"),
        (MULTI, {"avatar_key": ["K"], "get_face_id": 1, "is_hd": 1}, "avatar_key"),
        (
            MULTI,
            {"avatar_key": [{"target_part_key": "K"}], "get_face_id": 1, "is_hd": 1},
            "avatar_key[0].avatar_part_key",
        ),
        (MULTI, {"avatar_key": [{"target_part_key": "K", "avatar_part_key": "K"}], "is_hd": 1}, "get_face_id"),
        (MULTI, {"avatar_key": [{"target_part_key": "K", "avatar_part_key": "K"}], "get_face_id": 1}, "is_hd"),
        (
            MULTI,
            {"avatar_key": [{"target_part_key": "K", "avatar_part_key": "K"}], "get_face_id": "9" * 99, "is_hd": 1},
            "get_face_id",
        ),
    ],
)
async def test_400_names_the_parameter(harness: Harness, path: str, body: dict[str, Any], named: str) -> None:
    """A missing or wrong parameter is 400, and the message names it."""
    key = await harness.upload()
    reply = await harness.call(path, {name: key if value == "K" else value for name, value in body.items()})
    assert (reply.status, reply.code) == (200, 400)
    assert f"parameter {named} " in reply.message


async def test_400_for_detections_that_cannot_be_used(harness: Harness, png: bytes) -> None:
    """get_face_id must name a finished detection, and the pairs its faces, each once."""
    crops, face, detection = await _multi(harness, png)
    pair = {"target_part_key": crops[0], "avatar_part_key": face}
    swap = await harness.swap()
    for pairs, number, named in (
        ([pair], 999, "get_face_id"),
        ([pair], swap, "get_face_id"),
        ([pair, pair], detection, "twice"),
        ([{"target_part_key": face, "avatar_part_key": face}], detection, "avatar_key[0]"),
    ):
        reply = await harness.call(MULTI, {"avatar_key": pairs, "get_face_id": number, "is_hd": 1})
        assert reply.code == 400
        assert named in reply.message


@pytest.mark.parametrize("query", ["", "?id=", "?id=x", "?id=-1", "?id=1.5", "?id=999", "?id=%C2%B2"])
async def test_400_for_task_numbers(harness: Harness, query: str) -> None:
    """A number that is none, or of no task, is 400."""
    reply = await harness.call("/v1/task/detail" + query)
    assert reply.code == 400
    assert "parameter id " in reply.message


async def test_413_for_a_large_body(harness: Harness) -> None:
    """A call's body is bounded."""
    reply = await harness.call(GRANT, b'{"file_name": "' + b"x" * 600_000)
    assert (reply.status, reply.code) == (413, 400)


async def test_702_for_an_unknown_key(harness: Harness, png: bytes) -> None:
    """An unknown key is 702, and the message has the key, wherever it was given."""
    known = await harness.upload(png)
    crops, _, detection = await _multi(harness, png)
    pairs = [{"target_part_key": crops[0], "avatar_part_key": "no/such"}]
    for path, body in (
        (ACCESS, {"key": "no/such"}),
        (FACES, {"main_key": "no/such"}),
        (SWAP, {"main_key": known, "target_key": "no/such"}),
        (SWAP, {"main_key": "no/such", "target_key": known}),
        (MULTI, {"avatar_key": pairs, "get_face_id": detection, "is_hd": 1}),
    ):
        reply = await harness.call(path, body)
        assert (reply.status, reply.code) == (200, 702)
        assert "no/such" in reply.message


async def test_702_for_a_forgotten_upload(harness: Harness) -> None:
    """An upload that is past its time is unknown."""
    key = await harness.upload()
    await harness.service.forget(key)
    assert (await harness.call(FACES, {"main_key": key})).code == 702


async def test_701_for_a_key_without_an_upload(harness: Harness) -> None:
    """A key that was granted and never used, or used for nothing, is 701."""
    key, url = await harness.grant()
    assert (await harness.call(FACES, {"main_key": key})).code == 701
    assert (await harness.request("PUT", url, data=b"")).status == 200
    assert (await harness.call(FACES, {"main_key": key})).code == 701


async def test_703_for_other_formats(harness: Harness, png: bytes, mp4: bytes) -> None:
    """The first bytes decide, not the name; a video is no image and no face."""
    picture, video, other = await harness.upload(png), await harness.upload(mp4), await harness.upload(b"BM..", "a.png")
    for path, media, face in (
        (SWAP, other, picture),
        (SWAP, picture, other),
        (SWAP, video, picture),
        (VIDEO, picture, picture),
        (VIDEO, video, video),
    ):
        assert (await harness.call(path, {"main_key": media, "target_key": face})).code == 703
    assert (await harness.call(FACES, {"main_key": other})).code == 703


async def test_704_for_large_files(serve: Serve, png: bytes) -> None:
    """A file over the service's limit is stored, and refused when it is to be worked on."""
    async with serve(max_file_bytes=len(png)) as harness:
        assert (await harness.call(FACES, {"main_key": await harness.upload(png)})).code == 200
        assert (await harness.call(FACES, {"main_key": await harness.upload(png + b"!")})).code == 704


async def test_801_when_the_credits_run_out(serve: Serve) -> None:
    """Each created task costs one credit, and a refused one none."""
    async with serve(credits=2) as harness:
        key = await harness.upload()
        for expected in (200, 200, 801):
            assert (await harness.call(FACES, {"main_key": "no/such"})).code == 702
            assert (await harness.call(FACES, {"main_key": key})).code == expected
        assert harness.service.credits == 0
        await harness.service.add_credits(1)
        assert (await harness.call(FACES, {"main_key": key})).code == 200


async def test_802_over_the_request_limit(serve: Serve) -> None:
    """Calls over the limit are 802, for each credential apart; token and storage are not counted."""
    async with serve(requests_per_second=2) as harness:
        client = harness.service.client_credentials
        assert harness.service.provider.requests_per_second == 2
        login = {"client_id": client.client_id, "client_secret": client.client_secret}
        for _ in range(5):
            token = (await harness.request("POST", "/v1/oauth/token", json=login)).data["access_token"]
        _, url = await harness.grant()
        for _ in range(5):
            assert (await harness.request("PUT", url, data=b"x")).status == 200
        codes = [(await harness.call("/v1/task/detail?id=1")).code for _ in range(3)]
        assert codes == [400, 802, 802]
        assert (await harness.call("/v1/task/detail?id=1", token=token)).code == 400


async def test_the_ledger_counts(harness: Harness, png: bytes) -> None:
    """Calls, uploads, creations and refusals can be looked up."""
    first, second = await harness.upload(png), await harness.upload(png)
    _, task = [await harness.create(SWAP, main_key=first, target_key=second) for _ in range(2)]
    await harness.call(FACES, {"main_key": "no/such"})
    ledger = harness.service.ledger
    assert (ledger.calls[GRANT], ledger.calls["put"], ledger.calls[SWAP]) == (2, 2, 2)
    assert ledger.uploads == {first: 1, second: 1}
    assert list(ledger.contents.values()) == [2]
    assert ledger.refusals == {(FACES, 702): 1}
    again = Creation(task_id=task, kind=TaskKind.IMAGE_SWAP, keys=(first, second))
    assert list(ledger.creations)[1:] == [again]
    assert ledger.paid_twice() == [again]
