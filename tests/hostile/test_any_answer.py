"""Whatever bytes a service sends, a call returns or raises a FaceWarpError."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from facewarp_async.client import FaceSwapClient
from facewarp_async.config import Timeouts
from facewarp_async.errors import FaceWarpError
from facewarp_async.models import Asset, FaceDetection, ImageResult, TaskKind
from facewarp_async.policy.retry import RetryPolicy
from facewarp_async.wire.answers import Answer, parse_task
from tests.hostile.spoiling import Spoiling, spoilings

pytestmark = pytest.mark.anyio

MakeClientOf = Callable[..., AbstractAsyncContextManager[FaceSwapClient]]
RunCrooked = Callable[..., AbstractAsyncContextManager[Any]]

QUICK = {
    "timeouts": Timeouts(connect_s=5, request_s=5, stall_s=5, image_task_s=0.05, repeat_s=0.01),
    "retry": RetryPolicy(attempts=2, first_s=0, longest_s=0),
}
fuzzing = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)

# What goes wrong in a document: values that Python cannot take, and words of the protocol in the wrong place.
WORDS = (
    "code message data task_id id status additional_data upload_url key url merge_key merge_url access_token expires_in"
    " kps 1 x y avatar_part_key avatar_part_url"
)
names = st.sampled_from([*WORDS.split(), "9" * 5000])
numbers = st.sampled_from([0, -1, 1, 2, 200, 401, 500, 801, 10**40, -(10**4000), 1e308, float("nan"), float("inf")])
texts = st.sampled_from(["", "200", "--5", "9" * 5000, "\ud800", "\x00\x1b[2J", "http://[::1", "\u0661"]) | st.text(
    max_size=5
)
scalars = st.none() | st.booleans() | numbers | texts
documents = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=5),
    max_leaves=10,
)
envelopes = st.fixed_dictionaries({"code": st.just(200) | scalars, "message": scalars, "data": documents})


def encode(document: Any) -> bytes:
    """Write a document as a careless service might, half characters and ``NaN`` included."""
    return json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogatepass")


bodies = (
    st.binary(max_size=50)
    | (documents | envelopes).map(encode)
    | (documents | envelopes).map(json.dumps).map(str.encode)
)
HEADERS = (
    "Content-Length Transfer-Encoding Content-Encoding Retry-After ETag Content-Range Location Set-Cookie Content-Type"
    " Connection Upgrade Trailer X-\xe9"
)
VALUES = (
    '0|5|-1|chunked|gzip|deflate|br|zstd|identity|close|keep-alive|upgrade|bytes 0-4/5|bytes */*|"a"|a=b; Domain=\x00'
    "|nan|Mon, 99 Foo 99999|Thu, 01 Jan 0001 00:00:00 -9999|-inf|1e9|\u0661|text/html; charset=nonsense"
)
header_values = st.sampled_from([*VALUES.split("|"), "9" * 5000]) | st.text(max_size=8)
headers = st.lists(st.tuples(st.sampled_from([*HEADERS.split(), ""]), header_values), max_size=4)
STATUSES = [0, 99, 100, 101, 103, 204, 206, 302, 304, 401, 403, 404, 416, 429]


@st.composite
def raw_answers(draw: st.DrawFn) -> bytes:
    """Answers that are nearly right, or not at all."""
    version = draw(st.sampled_from(["HTTP/1.1"] * 6 + ["HTTP/1.0", "HTTP/2", "ICE/1.0"]))
    status = draw(st.just(200) | st.sampled_from(STATUSES) | st.integers(0, 1200))
    body = draw(bodies)
    given_headers = draw(headers)
    if draw(st.booleans()):
        given_headers.append(("Content-Length", str(len(body))))
    if draw(st.integers(0, 4)) == 0:
        given_headers.append(("Transfer-Encoding", "chunked"))
        body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    head = "".join(f"{name}: {value}\r\n" for name, value in given_headers)
    return f"{version} {status} x\r\n{head}\r\n".encode("utf-8", "surrogatepass") + body


def _result(url: str) -> ImageResult:
    return ImageResult(task_id=1, key="k", url=url)


CALLS: dict[str, Callable[[FaceSwapClient, Any, Path], Awaitable[object]]] = {
    "token": lambda client, service, file: client.access_url("k"),
    "upload-url": lambda client, service, file: client.request_upload("a.png"),
    "access-url": lambda client, service, file: client.access_url("k"),
    "create": lambda client, service, file: client.create_image_swap(Asset("m"), Asset("f")),
    "detail": lambda client, service, file: client.get_task(7),
    "put": lambda client, service, file: client.upload(file),
    "get": lambda client, service, file: client.download(_result(service.signed("get/x")), file.parent / "out.png"),
}


@pytest.mark.slow
@pytest.mark.parametrize("call", CALLS)
@fuzzing
@given(played=raw_answers() | spoilings | st.binary(max_size=200))
async def test_any_answer_ends_in_a_value_or_a_typed_error(
    call: str,
    played: bytes | Spoiling,
    run_crooked: RunCrooked,
    make_client_of: MakeClientOf,
    make_file: Callable[..., Path],
) -> None:
    async def fault(service: Any, asked: Any, _writer: Any) -> bytes:
        proper = service.answer(asked)
        return played.apply(proper) if isinstance(played, Spoiling) else played

    file = make_file("media.png")
    async with run_crooked(at=call, fault=fault) as service, make_client_of(service, **QUICK) as client:
        try:
            await CALLS[call](client, service, file)
        except FaceWarpError as error:
            _check_error(error, acted=bool(service.created))
    assert not list(file.parent.glob("*.part"))


def _check_error(error: FaceWarpError, *, acted: bool) -> None:
    """It can be shown, and only a clear refusal says that nothing was paid for."""
    assert re.search(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", str(error)) is None
    if not acted or error.paid is not False:
        return
    assert error.http_status is not None
    assert error.http_status >= 200
    assert error.code not in {None, 200, 500} or 300 <= error.http_status < 500


@pytest.mark.parametrize("kind", [None, *TaskKind])
@settings(max_examples=40, deadline=None)
@given(document=envelopes)
def test_any_document_of_a_task_is_read_or_refused(kind: TaskKind | None, document: Any) -> None:
    for body in (encode(document), json.dumps(document).encode()):
        try:
            parse_task(Answer(status=200, body=body), task_id=7, kind=kind)
        except FaceWarpError as error:
            _check_error(error, acted=False)


def test_points_of_a_face_with_unusual_names_are_read() -> None:
    points = {"9" * 5000: {"x": 1, "y": 2}, "\u0661": {"x": 3, "y": 4}, "1": {"x": 5, "y": 6}}
    face = {"kps": points, "avatar_part_key": "k", "avatar_part_url": "u"}
    document = {"code": 200, "data": {"status": 0, "additional_data": [face]}}
    result = parse_task(Answer(status=200, body=encode(document)), task_id=7).result
    assert isinstance(result, FaceDetection)
    assert {(point.x, point.y) for point in result.faces[0].kps} == {(1, 2), (3, 4), (5, 6)}
