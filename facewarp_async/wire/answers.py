"""Reading answers: from an HTTP status and a body to a value, or to the error that the answer means."""

from __future__ import annotations

import re
from typing import Any, TypeVar

from attrs import field, frozen

from facewarp_async.errors import (
    AuthenticationError,
    FaceWarpError,
    HttpError,
    MalformedAnswerError,
    RateLimitedError,
    ServerError,
    ServiceError,
    TaskFailedError,
)
from facewarp_async.models import (
    AccessToken,
    Face,
    FaceDetection,
    ImageResult,
    Picture,
    Point,
    Result,
    Task,
    TaskKind,
    TaskStatus,
    UploadGrant,
    VideoResult,
)
from facewarp_async.redaction import clean_text, redact_text
from facewarp_async.wire.codes import error_for_code
from facewarp_async.wire.converter import ShapeError, structure
from facewarp_async.wire.json import loads
from facewarp_async.wire.shapes import (
    AccessUrlData,
    CreatedData,
    DetailData,
    FaceData,
    ImageData,
    TokenData,
    UploadUrlData,
    VideoData,
)

T = TypeVar("T")

_SHOWN_BYTES = 200
_NUMBER = re.compile(r"-?[0-9]{1,18}", re.ASCII)
_STATUSES = {
    0: TaskStatus.FINISHED,
    1: TaskStatus.WAITING,
    -1: TaskStatus.WAITING,
    2: TaskStatus.PROCESSING,
    -2: TaskStatus.PROCESSING,
}


@frozen(kw_only=True)
class Answer:
    """An HTTP answer.

    Attributes:
        status: The HTTP status.
        body: The whole body.
        retry_after_s: From its ``Retry-After`` header, in seconds.
        secrets: What the request carried that no message may repeat.
    """

    status: int
    body: bytes = field(repr=False)
    retry_after_s: float | None = None
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def clean(self, text: str) -> str:
        """Make what the service said fit to be shown."""
        return clean_text(text, self.secrets)


def parse_envelope(answer: Answer) -> Any:
    """Return an answer's ``data``.

    Raises:
        FaceWarpError: The class that stands for the answer's code; `HttpError` for an answer without an envelope;
            `MalformedAnswerError` for a success without one.
    """
    envelope = _read_envelope(answer)
    if envelope is None:
        raise _error_without_envelope(answer)
    code, message, data = envelope
    code = {401: 401, 429: 802}.get(answer.status, code)  # these two statuses speak for themselves
    if code != 200:
        error = error_for_code(
            code, answer.clean(message), http_status=answer.status, retry_after_s=answer.retry_after_s
        )
        if type(error) is ServiceError and (500 <= code < 600 or answer.status >= 500):
            # A gateway's own envelope, such as a 504: the service behind it may have acted.
            error = ServerError(error.message, code=code, http_status=answer.status, retry_after_s=answer.retry_after_s)
        raise error
    if answer.status >= 300:
        raise HttpError(f"HTTP {answer.status} around an envelope that says success", http_status=answer.status)
    return data


def _read_envelope(answer: Answer) -> tuple[int, str, Any] | None:
    try:
        document = loads(answer.body)
    except ValueError:  # UnicodeDecodeError and both libraries' decode errors are ValueErrors
        return None
    if not isinstance(document, dict):
        return None
    code = document.get("code")
    if isinstance(code, str) and _NUMBER.fullmatch(code):
        code = int(code)
    if isinstance(code, bool) or not isinstance(code, int):
        return None
    message = document.get("message")
    return code, message if isinstance(message, str) else "", document.get("data")


def _error_without_envelope(answer: Answer) -> FaceWarpError:
    if answer.status == 401:
        return AuthenticationError("the service refused the token", http_status=401)
    if answer.status == 429:
        return RateLimitedError("too many requests", http_status=429, retry_after_s=answer.retry_after_s)
    # Cut after the secrets are out: half a secret would not be known for one.
    start = redact_text(answer.body.decode("utf-8", "replace"), answer.secrets)[:_SHOWN_BYTES]
    shown = f": {start!r}" if start else ""
    if 200 <= answer.status < 300:
        error: HttpError = MalformedAnswerError(
            f"the service's answer is no envelope{shown}", body_start=start, http_status=answer.status
        )
    else:
        error = HttpError(
            f"HTTP {answer.status} without an envelope{shown}", body_start=start, http_status=answer.status
        )
    error.retry_after_s = answer.retry_after_s
    return error


def _parse_data(answer: Answer, shape: type[T]) -> T:
    data = parse_envelope(answer)
    return _shaped(data, shape, "$.data")


def _shaped(data: Any, shape: type[T], path: str) -> T:
    try:
        return structure(data, shape, path=path)
    except ShapeError as error:
        raise MalformedAnswerError(f"the service's answer cannot be read: {clean_text(str(error))}") from error


def parse_token(answer: Answer) -> AccessToken:
    """Read the answer to the token call, in an envelope or, as OAuth servers answer, bare.

    Raises:
        FaceWarpError: As `parse_envelope`.
    """
    try:
        bare = loads(answer.body)
    except ValueError:
        bare = None
    if answer.status == 200 and isinstance(bare, dict) and "access_token" in bare:
        data = _shaped(bare, TokenData, "$")
    else:
        data = _parse_data(answer, TokenData)
    return AccessToken(value=data.access_token, expires_in_s=data.expires_in)


def parse_upload_grant(answer: Answer) -> UploadGrant:
    """Read the answer to ``/v1/source/upload-url``.

    Raises:
        FaceWarpError: As `parse_envelope`.
    """
    data = _parse_data(answer, UploadUrlData)
    return UploadGrant(url=data.upload_url, key=data.key)


def parse_access_url(answer: Answer) -> str:
    """Read the answer to ``/v1/source/access-url``.

    Raises:
        FaceWarpError: As `parse_envelope`.
    """
    return _parse_data(answer, AccessUrlData).url


def parse_created(answer: Answer) -> int:
    """Read a new task's id.

    Raises:
        FaceWarpError: As `parse_envelope`.
    """
    return _parse_data(answer, CreatedData).task_id


def parse_task(answer: Answer, *, task_id: int, kind: TaskKind | None = None) -> Task:
    """Read one look at a task.

    Args:
        answer: The answer to ``/v1/task/detail``.
        task_id: The task that was asked for.
        kind: What the task makes; told by the fields of the result where it is ``None``.

    Raises:
        TaskFailedError: The task failed, in whichever of the three ways the service says so (protocol, "Tasks").
        MalformedAnswerError: The answer cannot be read, or is another task's.
        FaceWarpError: As `parse_envelope`. All carry the task's id.
    """
    try:
        return _parse_task(answer, task_id, kind)
    except FaceWarpError as error:
        error.task_id = task_id
        raise


def _parse_task(answer: Answer, task_id: int, kind: TaskKind | None) -> Task:
    detail = _parse_data(answer, DetailData)
    if detail.id not in {None, task_id}:
        raise MalformedAnswerError(f"the service answered for another task, {detail.id}", http_status=answer.status)
    message = answer.clean(detail.message or "")
    status = _STATUSES.get(detail.status)
    if status is None:
        raise TaskFailedError(message or f"the task ended with the unknown status {detail.status}")
    if status is not TaskStatus.FINISHED:
        return Task(id=task_id, status=status, message=message)
    result = _parse_result(detail.additional_data, task_id, kind)
    if result is None and message:
        raise TaskFailedError(message)
    return Task(id=task_id, status=status, message=message, result=result)


def _parse_result(data: Any, task_id: int, kind: TaskKind | None) -> Result | None:
    path = "$.data.additional_data"
    if kind is TaskKind.FACE_DETECTION or (kind is None and isinstance(data, list)):
        return None if data is None or data == {} else _faces(_shaped(data, list[FaceData], path), task_id)
    if not data:
        return None
    is_video = kind.is_video if kind else isinstance(data, dict) and ("duration" in data or "cover_key" in data)
    if is_video:
        return _video(_shaped(data, VideoData, path), task_id)
    return _image(_shaped(data, ImageData, path), task_id)


def _picture(key: str | None, url: str | None, width: int | None, height: int | None) -> Picture | None:
    return Picture(key=key, url=url, width=width, height=height) if key and url else None


def _image(data: ImageData, task_id: int) -> ImageResult:
    return ImageResult(
        task_id=task_id,
        key=data.merge_key,
        url=data.merge_url,
        size=data.size,
        width=data.width,
        height=data.height,
        thumbnail=_picture(data.thumbnail_key, data.thumbnail_url, data.thumbnail_width, data.thumbnail_height),
    )


def _video(data: VideoData, task_id: int) -> VideoResult:
    return VideoResult(
        task_id=task_id,
        key=data.merge_key,
        url=data.merge_url,
        size=data.size,
        width=data.merge_width,
        height=data.merge_height,
        duration_s=data.duration,
        cover=_picture(data.cover_key, data.cover_url, data.cover_width, data.cover_height),
        cover_thumbnail=_picture(
            data.cover_thumbnail_key, data.cover_thumbnail_url, data.thumbnail_width, data.thumbnail_height
        ),
    )


def _points(face: FaceData) -> tuple[Point, ...]:
    names = sorted(face.kps, key=lambda name: (int(name) if _NUMBER.fullmatch(name) else 0, name))
    return tuple(Point(face.kps[name].x, face.kps[name].y) for name in names)


def _faces(data: list[FaceData], task_id: int) -> FaceDetection:
    faces = tuple(
        Face(
            kps=_points(face),
            key=face.avatar_part_key,
            url=face.avatar_part_url,
            size=face.size,
            width=face.width,
            height=face.height,
        )
        for face in data
    )
    return FaceDetection(task_id=task_id, faces=faces)
