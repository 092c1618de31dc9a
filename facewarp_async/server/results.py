"""Keeping what a task made: as objects with keys, and as the fields that the task shows."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from attrs import frozen

from facewarp_async.models import MediaType
from facewarp_async.server.keys import crop_key, result_key
from facewarp_async.server.objects import Blob, ObjectStore
from facewarp_async.server.records import StoredObject
from facewarp_async.server.work import Made, MadeFace, MadeFaces, MadeImage, MadeVideo

CONTENT_TYPES = {
    MediaType.JPEG: "image/jpeg",
    MediaType.PNG: "image/png",
    MediaType.WEBP: "image/webp",
    MediaType.GIF: "image/gif",
    MediaType.MP4: "video/mp4",
    MediaType.M4V: "video/x-m4v",
    MediaType.MOV: "video/quicktime",
    MediaType.WEBM: "video/webm",
}
"""What a download says of each format."""


@frozen(kw_only=True)
class KeptResult:
    """A task's result, stored.

    Attributes:
        objects: What was made, by its keys.
        fields: ``additional_data`` as the protocol has it (section "Tasks"), without the URLs.
        landmarks: Of a detection: where each crop's face is in the media.
    """

    objects: list[StoredObject]
    fields: Any
    landmarks: dict[str, list[list[float]]]


async def keep_result(made: Made, *, store: ObjectStore, account: str, now: datetime) -> KeptResult:
    """Move what was made into the store and name it."""
    files = _files(made)
    blobs = await store.adopt(files)
    make_key = crop_key if isinstance(made, MadeFaces) else result_key
    objects = [
        _name(blob, make_key(_extension(blob, path), account=account, now=now), now)
        for blob, path in zip(blobs, files, strict=True)
    ]
    keys, sizes = [stored.key for stored in objects], [blob.size for blob in blobs]
    if isinstance(made, MadeFaces):
        fields: Any = [_face(face, key, size) for face, key, size in zip(made.faces, keys, sizes, strict=True)]
        landmarks = {key: [list(point) for point in face.landmarks] for face, key in zip(made.faces, keys, strict=True)}
        return KeptResult(objects=objects, fields=fields, landmarks=landmarks)
    fields = _image(made, keys, sizes[0]) if isinstance(made, MadeImage) else _video(made, keys, sizes[0])
    return KeptResult(objects=objects, fields=fields, landmarks={})


def _files(made: Made) -> list[Path]:
    if isinstance(made, MadeImage):
        return [made.image.path, made.thumbnail.path]
    if isinstance(made, MadeVideo):
        return [made.path, made.cover.path, made.cover_thumbnail.path]
    return [face.crop.path for face in made.faces]


def _extension(blob: Blob, path: Path) -> str:
    return (blob.media_type.extension if blob.media_type else path.suffix).removeprefix(".") or "bin"


def _name(blob: Blob, key: str, now: datetime) -> StoredObject:
    content_type = CONTENT_TYPES[blob.media_type] if blob.media_type else "application/octet-stream"
    return StoredObject(key=key, created=now.timestamp(), blob=blob, content_type=content_type)


def _image(made: MadeImage, keys: list[str], size: int) -> dict[str, Any]:
    return {
        "size": size,
        "width": made.image.width,
        "height": made.image.height,
        "merge_key": keys[0],
        "thumbnail_key": keys[1],
        "thumbnail_width": made.thumbnail.width,
        "thumbnail_height": made.thumbnail.height,
    }


def _video(made: MadeVideo, keys: list[str], size: int) -> dict[str, Any]:
    return {
        "size": size,
        "duration": made.duration_s,
        "merge_key": keys[0],
        "merge_width": made.width,
        "merge_height": made.height,
        "cover_key": keys[1],
        "cover_width": made.cover.width,
        "cover_height": made.cover.height,
        "cover_thumbnail_key": keys[2],
        "thumbnail_width": made.cover_thumbnail.width,
        "thumbnail_height": made.cover_thumbnail.height,
    }


def _face(face: MadeFace, key: str, size: int) -> dict[str, Any]:
    points = {str(number): {"x": x, "y": y} for number, (x, y) in enumerate(face.keypoints, start=1)}
    return {
        "kps": points,
        "size": size,
        "width": face.crop.width,
        "height": face.crop.height,
        "avatar_part_key": key,
    }
