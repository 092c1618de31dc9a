"""Which error stands for which code."""

from __future__ import annotations

import pytest

from facewarp_async.errors import (
    AuthenticationError,
    BadRequestError,
    CreditsExhaustedError,
    FacePolicyError,
    FaceWarpError,
    FileTooLargeError,
    MediaPolicyError,
    MultipleFacesError,
    NoFaceError,
    RateLimitedError,
    ServerError,
    ServiceError,
    SourceNotFoundError,
    TaskFailedError,
    UnsupportedFormatError,
    UploadRejectedError,
)
from facewarp_async.wire.codes import error_for_code


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (400, BadRequestError),
        (401, AuthenticationError),
        (500, ServerError),
        (601, TaskFailedError),
        (602, NoFaceError),
        (603, MultipleFacesError),
        (604, MediaPolicyError),
        (605, FacePolicyError),
        (701, UploadRejectedError),
        (702, SourceNotFoundError),
        (703, UnsupportedFormatError),
        (704, FileTooLargeError),
        (801, CreditsExhaustedError),
        (802, RateLimitedError),
        (606, ServiceError),
        (0, ServiceError),
    ],
)
def test_a_code_has_its_error(code: int, kind: type[FaceWarpError]) -> None:
    error = error_for_code(code, "no", http_status=200, task_id=7, retry_after_s=3.0)
    assert type(error) is kind
    assert (error.code, error.message, error.http_status, error.task_id, error.retry_after_s) == (code, "no", 200, 7, 3)


def test_a_code_without_a_message_is_told_by_its_number() -> None:
    assert error_for_code(606, "").message == "the service answered with code 606"
