"""What the answers' ``data`` looks like on the wire, in the vendors' words."""

from __future__ import annotations

from typing import Any

from attrs import frozen


@frozen
class UploadUrlData:
    """The answer to ``/v1/source/upload-url``."""

    upload_url: str
    key: str


@frozen
class AccessUrlData:
    """The answer to ``/v1/source/access-url``."""

    url: str


@frozen
class CreatedData:
    """The answer to a create."""

    task_id: int


@frozen
class TokenData:
    """The answer to ``/v1/oauth/token``."""

    access_token: str
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
