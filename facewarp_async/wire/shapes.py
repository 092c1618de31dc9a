"""What the answers' ``data`` looks like on the wire, in the vendors' words."""

from __future__ import annotations

from typing import Any

from attrs import Attribute, field, frozen

_LARGEST_ID = 2**63 - 1


def _check_key(_instance: object, _attribute: Attribute[str], value: str) -> None:
    if not value or not value.isprintable():
        raise ValueError("expected a key, got a text that is empty or cannot be printed")


def _check_id(_instance: object, _attribute: Attribute[int], value: int) -> None:
    if not 0 < value <= _LARGEST_ID:
        raise ValueError("expected a task's id, got a number that cannot be one")


def _check_token(_instance: object, _attribute: Attribute[str], value: str) -> None:
    if not (value.isascii() and value.isprintable() and value and " " not in value):
        raise ValueError("expected a token, got a text that no header can hold")


@frozen
class UploadUrlData:
    """The answer to ``/v1/source/upload-url``."""

    upload_url: str
    key: str = field(validator=_check_key)


@frozen
class AccessUrlData:
    """The answer to ``/v1/source/access-url``."""

    url: str


@frozen
class CreatedData:
    """The answer to a create."""

    task_id: int = field(validator=_check_id)


@frozen
class TokenData:
    """The answer to ``/v1/oauth/token``."""

    access_token: str = field(validator=_check_token)
    expires_in: float


@frozen
class DetailData:
    """The answer to ``/v1/task/detail``; ``additional_data`` is read once the kind of result is known."""

    status: int
    id: int | None = None
    message: str | None = None
    additional_data: Any = None


@frozen
class ImageData:
    """``additional_data`` of an image swap."""

    merge_key: str
    merge_url: str
    size: int | None = None
    width: int | None = None
    height: int | None = None
    thumbnail_key: str | None = None
    thumbnail_url: str | None = None
    thumbnail_width: int | None = None
    thumbnail_height: int | None = None


@frozen
class VideoData:
    """``additional_data`` of a video swap."""

    merge_key: str
    merge_url: str
    size: int | None = None
    duration: float | None = None
    merge_width: int | None = None
    merge_height: int | None = None
    cover_key: str | None = None
    cover_url: str | None = None
    cover_width: int | None = None
    cover_height: int | None = None
    cover_thumbnail_key: str | None = None
    cover_thumbnail_url: str | None = None
    thumbnail_width: int | None = None
    thumbnail_height: int | None = None


@frozen
class PointData:
    """A point of a face."""

    x: float
    y: float


@frozen
class FaceData:
    """One element of ``additional_data`` of a get-face task."""

    kps: dict[str, PointData]
    avatar_part_key: str
    avatar_part_url: str
    size: int | None = None
    width: int | None = None
    height: int | None = None
