"""Which error stands for which code of the protocol."""

from __future__ import annotations

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

_BY_CODE: dict[int, type[FaceWarpError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    500: ServerError,
    601: TaskFailedError,
    602: NoFaceError,
    603: MultipleFacesError,
    604: MediaPolicyError,
    605: FacePolicyError,
    701: UploadRejectedError,
    702: SourceNotFoundError,
    703: UnsupportedFormatError,
    704: FileTooLargeError,
    801: CreditsExhaustedError,
    802: RateLimitedError,
}


def error_for_code(
    code: int,
    message: str,
    *,
    http_status: int | None = None,
    task_id: int | None = None,
    retry_after_s: float | None = None,
) -> FaceWarpError:
    """Return the error that stands for a code of the protocol; `ServiceError` for a code it does not name."""
    cls = _BY_CODE.get(code, ServiceError)
    return cls(
        message or f"the service answered with code {code}",
        code=code,
        http_status=http_status,
        task_id=task_id,
        retry_after_s=retry_after_s,
    )
