"""Building requests: what goes on the wire, to the byte where it matters."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facewarp_async.config import ClientCredentials, PairOrder
from facewarp_async.models import TaskKind
from facewarp_async.wire.requests import (
    ApiRequest,
    FacePair,
    build_access_request,
    build_detection_request,
    build_multi_swap_request,
    build_swap_request,
    build_task_request,
    build_token_request,
    build_upload_request,
)


def body(request: ApiRequest) -> object:
    assert request.body is not None
    return json.loads(request.body)


@pytest.mark.parametrize(("hd", "is_hd"), [(True, 1), (False, 2)])
@pytest.mark.parametrize(
    ("kind", "path"),
    [(TaskKind.IMAGE_SWAP, "/v1/task/face-swap"), (TaskKind.VIDEO_SWAP, "/v1/task/video-face-swap")],
)
def test_a_swap_sends_the_tables_names(kind: TaskKind, path: str, hd: bool, is_hd: int) -> None:
    request = build_swap_request(kind, media_key="m", face_key="f", hd=hd)
    assert (request.method, request.target, request.creates_task) == ("POST", path, True)
    assert body(request) == {"main_key": "m", "target_key": "f", "is_hd": is_hd}


@pytest.mark.parametrize(
    ("order", "pair"),
    [
        (PairOrder.TABLES, {"target_part_key": "crop", "avatar_part_key": "face"}),
        (PairOrder.SAMPLES, {"target_part_key": "face", "avatar_part_key": "crop"}),
    ],
)
@pytest.mark.parametrize(
    ("kind", "path"),
    [
        (TaskKind.MULTI_IMAGE_SWAP, "/v1/task/multiple-face-swap"),
        (TaskKind.MULTI_VIDEO_SWAP, "/v1/task/multiple-video-face-swap"),
    ],
)
def test_a_multiple_swap_sends_pairs_in_the_providers_order_and_integers(
    kind: TaskKind, path: str, order: PairOrder, pair: dict[str, str]
) -> None:
    request = build_multi_swap_request(
        kind, pairs=[FacePair("crop", "face")], detection_id=105267189, hd=True, order=order
    )
    assert (request.target, request.creates_task) == (path, True)
    assert body(request) == {"avatar_key": [pair], "get_face_id": 105267189, "is_hd": 1}


def test_a_detection_is_paid_for() -> None:
    request = build_detection_request("m")
    assert (request.target, body(request), request.creates_task) == ("/v1/task/get-face", {"main_key": "m"}, True)


def test_the_other_calls_create_nothing() -> None:
    upload, access, task = build_upload_request("a.jpg"), build_access_request("k"), build_task_request(459)
    assert (upload.target, body(upload)) == ("/v1/source/upload-url", {"file_name": "a.jpg"})
    assert (access.target, body(access)) == ("/v1/source/access-url", {"key": "k"})
    assert (task.method, task.target, task.body) == ("GET", "/v1/task/detail?id=459", None)
    assert not any(request.creates_task for request in (upload, access, task))


def test_the_token_request_holds_the_secret_and_its_repr_does_not() -> None:
    request = build_token_request(ClientCredentials("id", "hush"))
    assert (request.method, request.target, request.creates_task) == ("POST", "/v1/oauth/token", False)
    assert body(request) == {"client_id": "id", "client_secret": "hush"}
    assert request.secrets == ("hush",)
    assert "hush" not in repr(request)


def test_a_call_is_known_by_its_path() -> None:
    assert build_task_request(459).path == "/v1/task/detail"
    assert build_upload_request("a.jpg").path == "/v1/source/upload-url"


@given(st.text())
def test_any_name_survives_the_json(name: str) -> None:
    assert body(build_upload_request(name)) == {"file_name": name}
