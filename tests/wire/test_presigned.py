"""Presigned URLs and the storage's refusals."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from facewarp_async.errors import Recovery, StorageError, UrlExpiredError
from facewarp_async.models import ImageResult, UploadGrant
from facewarp_async.wire.presigned import expires_at, parse_storage_error

URL = (
    "https://host/temporary/a.jpg?X-Amz-Content-Sha256=UNSIGNED-PAYLOAD&X-Amz-Credential=AKID%2F20240816%2Fauto"
    "&X-Amz-Date=20240816T112527Z&X-Amz-Expires=1800&X-Amz-Signature=53c3b909f9b8"
)


def test_a_presigned_url_says_when_it_lapses() -> None:
    assert expires_at(URL) == datetime(2024, 8, 16, 11, 55, 27, tzinfo=UTC)


@pytest.mark.parametrize("url", ["", "https://host/key", URL.replace("1800", "soon"), URL.replace("2024", "x")])
def test_a_url_that_does_not_say_is_none(url: str) -> None:
    assert expires_at(url) is None


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
