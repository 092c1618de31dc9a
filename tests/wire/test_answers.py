"""Reading answers, without a socket or a loop: envelopes, codes, and what cannot be read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facewarp_async.errors import (
    AuthenticationError,
    FaceWarpError,
    HttpError,
    MalformedAnswerError,
    NoFaceError,
    RateLimitedError,
    Recovery,
    ServerError,
    ServiceError,
)
from facewarp_async.wire.answers import (
    Answer,
    parse_access_url,
    parse_created,
    parse_envelope,
    parse_task,
    parse_token,
    parse_upload_grant,
)
from facewarp_async.wire.converter import ShapeError, structure
from facewarp_async.wire.shapes import TokenData, VideoData
from tests.wire.samples import CODES, SAMPLES, answer, detail


def test_the_vendors_upload_sample_parses() -> None:
    grant = parse_upload_grant(Answer(status=200, body=json.dumps(SAMPLES["upload-url"]).encode()))
    assert grant.key.startswith("temporary/20240816/3620/")
    assert "%2F20240816%2Fauto%2Fs3%2F" in grant.url


def test_the_vendors_access_sample_parses() -> None:
    url = parse_access_url(Answer(status=200, body=json.dumps(SAMPLES["access-url"]).encode()))
    assert url.startswith("https://")
    assert "X-Amz-Expires=259200" in url


@pytest.mark.parametrize(("code", "cls", "recovery"), [*CODES, (999, ServiceError, Recovery.GIVE_UP)])
@pytest.mark.parametrize("data", [None, [], {}])
def test_each_code_has_a_class_and_a_recovery(
    code: int, cls: type[FaceWarpError], recovery: Recovery, data: Any
) -> None:
    with pytest.raises(cls) as caught:
        parse_envelope(answer(data, code=code, message="because"))
    assert type(caught.value) is cls
    assert (caught.value.code, caught.value.message, caught.value.recovery) == (code, "because", recovery)


def test_a_code_may_come_as_a_string() -> None:
    with pytest.raises(NoFaceError):
        parse_envelope(answer(None, code="602"))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({"upload_url": "https://x"}, "a required field is missing @ $.data.key"),
        ({"upload_url": None, "key": "k"}, "expected a string, got null @ $.data.upload_url"),
        ({"upload_url": ["https://x"], "key": "k"}, "expected a string, got a list @ $.data.upload_url"),
        ({"upload_url": {}, "key": "k"}, "expected a string, got an object @ $.data.upload_url"),
        ({"upload_url": True, "key": "k"}, "expected a string, got a boolean @ $.data.upload_url"),
        (None, "expected an object, got null @ $.data"),
        (
            [],
            "a required field is missing @ $.data.upload_url; a required field is missing @ $.data.key",
        ),
        ("text", "expected an object, got a string @ $.data"),
        (7, "expected an object, got a number @ $.data"),
    ],
)
def test_what_is_needed_and_missing_is_named_by_its_path(data: Any, reason: str) -> None:
    with pytest.raises(MalformedAnswerError) as caught:
        parse_upload_grant(answer(data))
    assert caught.value.message == f"the service's answer cannot be read: {reason}"


def test_a_wrong_type_deep_inside_is_named_by_its_path() -> None:
    face = {"kps": {"1": {"x": 1, "y": True}}, "avatar_part_key": "k", "avatar_part_url": "u"}
    with pytest.raises(MalformedAnswerError, match=r" @ \$\.data\.additional_data\[0\]\.kps\['1'\]\.y "):
        parse_task(detail([face]), task_id=7)


@pytest.mark.parametrize("value", [True, [1], {}, "seven", 1.5, None])
def test_a_task_id_that_is_no_integer_is_refused(value: Any) -> None:
    with pytest.raises(MalformedAnswerError, match=r"\$\.data\.task_id"):
        parse_created(answer({"task_id": value}))


@pytest.mark.parametrize(
    ("status", "body", "cls", "recovery"),
    [
        (200, b"<html>login</html>", MalformedAnswerError, Recovery.REPEAT),
        (200, b'{"code": 200, "message": "ok", "da', MalformedAnswerError, Recovery.REPEAT),
        (200, b"", MalformedAnswerError, Recovery.REPEAT),
        (200, b"[1, 2]", MalformedAnswerError, Recovery.REPEAT),
        (200, b'{"code": true}', MalformedAnswerError, Recovery.REPEAT),
        (200, b"\xff\xfe\x00", MalformedAnswerError, Recovery.REPEAT),
        (502, b"<html>Bad Gateway</html>", HttpError, Recovery.REPEAT),
        (503, b"", HttpError, Recovery.REPEAT),
        (299, b"", MalformedAnswerError, Recovery.REPEAT),
        (300, b"", HttpError, Recovery.GIVE_UP),
        (404, b"nothing here", HttpError, Recovery.GIVE_UP),
        (302, b"", HttpError, Recovery.GIVE_UP),
        (401, b"", AuthenticationError, Recovery.STOP_BATCH),
        (429, b"<html>", RateLimitedError, Recovery.REPEAT),
    ],
)
def test_an_answer_without_an_envelope_is_told_apart_by_its_status(
    status: int, body: bytes, cls: type[FaceWarpError], recovery: Recovery
) -> None:
    with pytest.raises(cls) as caught:
        parse_envelope(Answer(status=status, body=body))
    assert type(caught.value) is cls
    assert (caught.value.http_status, caught.value.recovery) == (status, recovery)
    if isinstance(caught.value, HttpError):
        start = body.decode("utf-8", "replace")
        assert caught.value.body_start == start
        assert caught.value.message.endswith(f": {start!r}" if start else " envelope")


@pytest.mark.parametrize("status", [300, 302, 404, 500])
def test_an_http_error_status_is_not_overruled_by_a_code_of_success(status: int) -> None:
    with pytest.raises(HttpError, match="around an envelope that says success"):
        parse_envelope(answer({}, status=status))
    assert parse_envelope(answer({}, status=299)) == {}


@pytest.mark.parametrize(
    ("code", "status", "cls"),
    [
        (504, 200, ServerError),
        (501, 200, ServerError),
        (599, 200, ServerError),
        (999, 500, ServerError),
        (999, 504, ServerError),
        (499, 200, ServiceError),
        (600, 200, ServiceError),
        (999, 499, ServiceError),
        (602, 504, NoFaceError),
    ],
)
def test_a_gateways_own_envelope_leaves_open_whether_the_service_acted(
    code: int, status: int, cls: type[FaceWarpError]
) -> None:
    with pytest.raises(cls) as caught:
        parse_envelope(Answer(status=status, body=b'{"code": %d, "message": ["no text"]}' % code, retry_after_s=3.0))
    assert type(caught.value) is cls
    assert (caught.value.code, caught.value.http_status, caught.value.retry_after_s) == (code, status, 3.0)
    assert caught.value.message == f"the service answered with code {code}", "what is no text is no message"


def test_an_answers_repr_shows_neither_its_body_nor_secrets() -> None:
    assert repr(Answer(status=200, body=b"body", secrets=("secret",))) == "Answer(status=200, retry_after_s=None)"


def test_the_statuses_401_and_429_speak_for_themselves() -> None:
    with pytest.raises(AuthenticationError):
        parse_envelope(answer(None, code=400, status=401))
    with pytest.raises(RateLimitedError):
        parse_envelope(answer(None, code=429, status=429))


def test_a_long_body_is_cut_and_its_signature_masked() -> None:
    body = b"see https://h/k?X-Amz-Signature=0123456789abcdef&x=1 " + b"z" * 1000
    with pytest.raises(HttpError) as caught:
        parse_envelope(Answer(status=500, body=body))
    assert "0123456789abcdef" not in str(caught.value) + caught.value.body_start
    assert len(caught.value.body_start) <= 200


@pytest.mark.parametrize(("body", "path"), [(b'{"access_token": ""}', "$"), (b'{"code": 200, "data": {}}', "$.data")])
def test_a_token_that_cannot_be_read_is_named_by_its_path(body: bytes, path: str) -> None:
    with pytest.raises(MalformedAnswerError) as caught:
        parse_token(Answer(status=200, body=body))
    assert f" @ {path}." in caught.value.message


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("soon", "expected a number, got a string"),
        ("inf", "expected a finite number"),
        ("-Infinity", "expected a finite number"),
        ("nan", "expected a finite number"),
        (10**400, "expected a finite number"),
        (True, "expected a number, got a boolean"),
        ([1], "expected a number, got a list"),
        (None, "expected a number, got null"),
        ({}, "expected a number, got an object"),
    ],
)
def test_a_number_that_is_none_is_told_by_its_reason(value: Any, reason: str) -> None:
    """Where it is not needed it is left out instead."""
    with pytest.raises(ShapeError) as caught:
        structure({"access_token": "t", "expires_in": value}, TokenData, path="$")
    assert str(caught.value) == f"{reason} @ $.expires_in"
    video = structure({"merge_key": "k", "merge_url": "u", "duration": value}, VideoData, path="$")
    assert video.duration is None


@pytest.mark.parametrize("task_id", [0, -1, 2**63, 2**64])
def test_a_task_id_that_cannot_be_one_is_refused(task_id: int) -> None:
    """The journal could not hold it."""
    with pytest.raises(MalformedAnswerError, match="expected a task's id, got a number that cannot be one"):
        parse_created(answer({"task_id": task_id}))


@pytest.mark.parametrize("task_id", [1, 2**63 - 1])
def test_any_other_task_id_is_taken(task_id: int) -> None:
    assert parse_created(answer({"task_id": task_id})) == task_id


@pytest.mark.parametrize("key", ["", "a\nb", "\x1b[2J"])
def test_a_key_that_cannot_be_shown_is_refused(key: str) -> None:
    with pytest.raises(MalformedAnswerError, match="expected a key, got a text that is empty or cannot be printed"):
        parse_upload_grant(answer({"upload_url": "u", "key": key}))


@pytest.mark.parametrize("token", ["", "a b", "\u00e4", "a\r\nX: 1", "a\tb"])
def test_a_token_that_no_header_can_hold_is_refused(token: str) -> None:
    with pytest.raises(MalformedAnswerError, match="expected a token, got a text that no header can hold"):
        parse_token(answer({"access_token": token, "expires_in": 1}))


def test_a_token_comes_in_an_envelope_or_bare() -> None:
    data = {"access_token": "abc", "expires_in": "5909"}
    for token in (parse_token(answer(data)), parse_token(Answer(status=200, body=json.dumps(data).encode()))):
        assert (token.value, token.expires_in_s) == ("abc", 5909.0)
        assert "abc" not in repr(token)


@given(st.binary(max_size=200), st.integers(100, 599))
def test_no_body_makes_the_reader_fail_in_a_way_of_its_own(body: bytes, status: int) -> None:
    reply = Answer(status=status, body=body)
    for parse in (parse_upload_grant, parse_access_url, parse_created, parse_token):
        with pytest.raises(FaceWarpError):
            parse(reply)
