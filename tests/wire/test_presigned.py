"""Presigned URLs and the storage's refusals."""

from __future__ import annotations

import pytest

from facewarp_async.errors import Recovery, StorageError, UrlExpiredError
from facewarp_async.models import ImageResult, UploadGrant
from facewarp_async.wire.presigned import parse_storage_error

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
        (400, "EntityTooLarge", StorageError),
    ],
)
def test_a_lapsed_url_is_told_as_each_make_of_storage_says_it(status: int, code: str, cls: type) -> None:
    assert type(parse_storage_error(status, f"<Error><Code>{code}</Code></Error>".encode())) is cls
