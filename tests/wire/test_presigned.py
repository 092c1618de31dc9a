"""Presigned URLs and the storage's refusals."""

from __future__ import annotations

import pytest

from facewarp_async.errors import Recovery, StorageError, UrlExpiredError
from facewarp_async.models import ImageResult, UploadGrant
from facewarp_async.wire.presigned import check_storage_url, parse_storage_error

URL = (
    "https://host/temporary/a.jpg?X-Amz-Content-Sha256=UNSIGNED-PAYLOAD&X-Amz-Credential=AKID%2F20240816%2Fauto"
    "&X-Amz-Date=20240816T112527Z&X-Amz-Expires=1800&X-Amz-Signature=53c3b909f9b8"
)


def test_no_repr_shows_a_signature() -> None:
    values = (UploadGrant(url=URL, key="k"), ImageResult(task_id=1, key="k", url=URL))
    for value in values:
        assert "X-Amz-Signature=***" in repr(value)
        assert "53c3b909f9b8" not in repr(value)
        assert "AKID" not in repr(value)


def test_a_storage_error_keeps_the_code_and_not_the_signature() -> None:
    body = (
        b"<?xml version='1.0'?><Error><Code>SignatureDoesNotMatch</Code><Message>bad X-Amz-Signature=53c3b909f9b8 given"
        b"</Message></Error>"
    )
    error = parse_storage_error(403, body)
    assert isinstance(error, UrlExpiredError)
    assert (error.storage_code, error.http_status) == ("SignatureDoesNotMatch", 403)
    assert "53c3b909f9b8" not in str(error)


@pytest.mark.parametrize(
    ("status", "recovery"),
    [(503, Recovery.REPEAT), (429, Recovery.REPEAT), (404, Recovery.GIVE_UP), (411, Recovery.GIVE_UP)],
)
def test_a_storage_error_knows_whether_it_may_pass(status: int, recovery: Recovery) -> None:
    error = parse_storage_error(status, b"not xml")
    assert type(error) is StorageError
    assert error.recovery is recovery
    assert "not xml" in str(error)


@pytest.mark.parametrize(
    ("status", "code", "cls"),
    [
        (403, "SignatureDoesNotMatch", UrlExpiredError),
        (400, "ExpiredToken", UrlExpiredError),
        (400, "AccessDenied", UrlExpiredError),
        (400, "RequestExpired", UrlExpiredError),
        (404, "AccessDenied", StorageError),
        (400, "EntityTooLarge", StorageError),
    ],
)
def test_a_lapsed_url_is_told_as_each_make_of_storage_says_it(status: int, code: str, cls: type) -> None:
    assert type(parse_storage_error(status, f"<Error><Code>{code}</Code></Error>".encode())) is cls


def test_a_storage_error_says_the_status_the_code_and_the_message() -> None:
    body = b"<Error><Code>SlowDown</Code><Message>Please wait</Message></Error>"
    assert parse_storage_error(503, body).message == "the storage answered HTTP 503 SlowDown: Please wait"
    assert parse_storage_error(503, b"busy").message == "the storage answered HTTP 503: busy"
    assert parse_storage_error(503, b"").message == "the storage answered HTTP 503"
    assert parse_storage_error(503, b"").storage_code == ""


def test_a_storage_errors_message_is_not_endless() -> None:
    assert parse_storage_error(500, b"x" * 1000).message == "the storage answered HTTP 500: " + "x" * 400
    told = b"<Code>" + b"c" * 80 + b"</Code><Message>" + b"m" * 400 + b"</Message>"
    assert parse_storage_error(500, told).message == f"the storage answered HTTP 500 {'c' * 80}: {'m' * 400}"
    told = b"<Code>" + b"c" * 81 + b"</Code><Message>" + b"m" * 401 + b"</Message>"
    assert parse_storage_error(500, told).storage_code == ""


@pytest.mark.parametrize(
    "body", [b"no \xff", b"<Code>no \xff</Code>", b"<Message>no \xff</Message>"], ids=["body", "code", "message"]
)
def test_a_storage_that_does_not_write_utf_8_is_understood_all_the_same(body: bytes) -> None:
    assert "no \ufffd" in parse_storage_error(500, body).message


@pytest.mark.parametrize("name", ["X-Amz-Signature", "X-Amz-Credential", "X-Amz-Security-Token"])
def test_what_signs_a_url_is_in_no_message_however_the_storage_repeats_it(name: str) -> None:
    body = b"<Error><Message>you signed with s3cret/x and that is wrong</Message></Error>"
    assert "s3cret" in str(parse_storage_error(403, body))
    assert "s3cret" not in str(parse_storage_error(403, body, url=f"https://h/k?a=1&{name}=s3cret%2Fx"))


@pytest.mark.parametrize("url", [URL, "https://host", "https://host:8443/k?a=b", "https://[::1]:1/k", "HTTPS://h/k"])
def test_a_storage_is_asked_over_https(url: str) -> None:
    check_storage_url(url, allow_plain=False)


def test_a_storage_is_asked_over_http_where_that_is_allowed() -> None:
    check_storage_url("http://host/k?s=1", allow_plain=True)
    with pytest.raises(StorageError, match="over plain http, at host: refused") as caught:
        check_storage_url("http://host/k?s=1", allow_plain=False)
    assert "s=1" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/k",
        "host/k",
        "ftp://host/k",
        "file:///etc/passwd",
        "https:///k",
        "https://host:0/k",
        "https://host:99999/k",
        "https://host:port/k",
        "https://[::1/k",
        "https://user:pass@host/k",
        "https://host@evil/k",
        "https://host/a b",
        "https://host/k\r\nX-Bad: 1",
        "https://host/\u00e4",
        "https://h\u00f6st/k",
        f"https://{'a' * 64}/k",
        "https://a..b/k",
    ],
)
def test_what_is_no_url_to_send_a_file_to_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(StorageError) as caught:
        check_storage_url(url, allow_plain=True)
    assert caught.value.message == "the service gave a presigned URL that is none, or one with credentials"
