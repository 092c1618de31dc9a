"""Building the ten requests of the protocol (section "Calls")."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from attrs import evolve, field, frozen

from facewarp_async.config import ClientCredentials, PairOrder
from facewarp_async.models import TaskKind
from facewarp_async.wire.json import dumps

CREATE_PATHS: dict[TaskKind, str] = {
    TaskKind.IMAGE_SWAP: "/v1/task/face-swap",
    TaskKind.VIDEO_SWAP: "/v1/task/video-face-swap",
    TaskKind.FACE_DETECTION: "/v1/task/get-face",
    TaskKind.MULTI_IMAGE_SWAP: "/v1/task/multiple-face-swap",
    TaskKind.MULTI_VIDEO_SWAP: "/v1/task/multiple-video-face-swap",
}
UPLOAD_URL_PATH = "/v1/source/upload-url"
ACCESS_URL_PATH = "/v1/source/access-url"
TASK_PATH = "/v1/task/detail"
TOKEN_PATH = "/v1/oauth/token"  # noqa: S105 - a path

_HD, _NOT_HD = 1, 2


@frozen(kw_only=True)
class ApiRequest:
    """One API call, without host and authorisation.

    Attributes:
        method: ``GET`` or ``POST``.
        target: Path and query, encoded.
        body: JSON, ``None`` for none. It may hold a client secret, so it has no repr.
        creates_task: Whether it is paid for: such a request is never repeated unless the service surely did not act.
        secrets: What must not be shown, should the answer repeat it.
    """

    method: str
    target: str
    body: bytes | None = field(default=None, repr=False)
    creates_task: bool = False
    secrets: tuple[str, ...] = field(default=(), repr=False)

    @property
    def path(self) -> str:
        """Which call it is: its path, without the query."""
        return self.target.partition("?")[0]


@frozen
class FacePair:
    """One face of the media, by its crop's key, and the key of the face to put in its place."""

    crop_key: str
    face_key: str


def _post(path: str, payload: dict[str, Any], *, creates_task: bool = False) -> ApiRequest:
    return ApiRequest(method="POST", target=path, body=dumps(payload), creates_task=creates_task)


def build_token_request(credentials: ClientCredentials) -> ApiRequest:
    """Ask for an access token."""
    request = _post(TOKEN_PATH, {"client_id": credentials.client_id, "client_secret": credentials.client_secret})
    return evolve(request, secrets=(credentials.client_secret,))


def build_upload_request(file_name: str) -> ApiRequest:
    """Ask for leave to upload a file."""
    return _post(UPLOAD_URL_PATH, {"file_name": file_name})


def build_access_request(key: str) -> ApiRequest:
    """Ask for a presigned URL of an uploaded file or a result."""
    return _post(ACCESS_URL_PATH, {"key": key})


def build_swap_request(kind: TaskKind, *, media_key: str, face_key: str, hd: bool) -> ApiRequest:
    """Create an image or video swap. The tables' ``main_key`` is sent, not the ``key`` of the pages' samples."""
    payload = {"main_key": media_key, "target_key": face_key, "is_hd": _HD if hd else _NOT_HD}
    return _post(CREATE_PATHS[kind], payload, creates_task=True)


def build_detection_request(media_key: str) -> ApiRequest:
    """Create a face detection."""
    return _post(CREATE_PATHS[TaskKind.FACE_DETECTION], {"main_key": media_key}, creates_task=True)


def build_multi_swap_request(
    kind: TaskKind, *, pairs: Iterable[FacePair], detection_id: int, hd: bool, order: PairOrder
) -> ApiRequest:
    """Create a multiple swap of the faces that a detection found. Integers are sent where the samples send strings."""
    in_media, put_in = "target_part_key", "avatar_part_key"
    if order is PairOrder.SAMPLES:
        in_media, put_in = put_in, in_media
    payload = {
        "avatar_key": [{in_media: pair.crop_key, put_in: pair.face_key} for pair in pairs],
        "get_face_id": detection_id,
        "is_hd": _HD if hd else _NOT_HD,
    }
    return _post(CREATE_PATHS[kind], payload, creates_task=True)


def build_task_request(task_id: int) -> ApiRequest:
    """Look at a task."""
    return ApiRequest(method="GET", target=f"{TASK_PATH}?id={int(task_id)}")
