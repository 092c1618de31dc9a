"""The objects and tasks that the service remembers, and how they are kept."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from attrs import field, frozen

from facewarp_async.models import MediaType, TaskKind
from facewarp_async.server.objects import Blob
from facewarp_async.wire.json import dumps, loads


@frozen(kw_only=True)
class StoredObject:
    """A key that the service gave out.

    Attributes:
        key: The key.
        created: When it was given out, in seconds since 1970.
        blob: Its body, ``None`` as long as nothing was uploaded.
        content_type: What a download says of it.
        name: What the caller called the file; empty for what the service made.
    """

    key: str
    created: float
    blob: Blob | None = None
    content_type: str = "application/octet-stream"
    name: str = ""


class Progress(StrEnum):
    """How far a task is."""

    WAITING = "waiting"
    PROCESSING = "processing"
    FINISHED = "finished"
    FAILED = "failed"


@frozen(kw_only=True)
class StoredTask:
    """A task.

    Attributes:
        id: Its number.
        kind: What it makes.
        created: When, in seconds since 1970.
        ended: The same for its end; ``None`` as long as it is open.
        keys: Media and face, or the media alone.
        pairs: Of a multiple swap: a crop's key and the key of the face to put in.
        detection_id: Of a multiple swap: the task that found the faces.
        hd: Whether high quality was asked for.
        progress: How far it is.
        code: Why it failed, else 200.
        message: The same in words.
        fields: ``additional_data`` without the URLs, which are signed anew for each look.
        landmarks: Of a detection: where each crop's face is in the media.
    """

    id: int
    kind: TaskKind
    created: float
    ended: float | None = None
    keys: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...] = ()
    detection_id: int | None = None
    hd: bool = False
    progress: Progress = Progress.WAITING
    code: int = 200
    message: str = ""
    fields: Any = None
    landmarks: dict[str, list[list[float]]] = field(factory=dict)

    @property
    def is_open(self) -> bool:
        """Whether it has not ended."""
        return self.progress in {Progress.WAITING, Progress.PROCESSING}


def dump_object(stored: StoredObject) -> bytes:
    """Return what is kept of an object, but for its key."""
    blob = stored.blob
    kind = blob.media_type.name if blob and blob.media_type else None
    body = [blob.name, blob.size, blob.md5, kind] if blob else None
    return dumps({"created": stored.created, "blob": body, "content_type": stored.content_type, "name": stored.name})


def load_object(key: str, value: bytes) -> StoredObject:
    """Reverse `dump_object`."""
    plain = loads(value)
    blob = None
    if plain["blob"] is not None:
        name, size, md5, kind = plain["blob"]
        blob = Blob(name=name, size=size, md5=md5, media_type=MediaType[kind] if kind else None)
    plain["blob"] = blob
    return StoredObject(key=key, **plain)


def dump_task(task: StoredTask) -> bytes:
    """Return what is kept of a task, but for its number."""
    return dumps(
        {
            "kind": task.kind.name,
            "created": task.created,
            "ended": task.ended,
            "keys": task.keys,
            "pairs": task.pairs,
            "detection_id": task.detection_id,
            "hd": task.hd,
            "progress": task.progress.name,
            "code": task.code,
            "message": task.message,
            "fields": task.fields,
            "landmarks": task.landmarks,
        }
    )


def load_task(id_: int, value: bytes) -> StoredTask:
    """Reverse `dump_task`."""
    plain = loads(value)
    plain["kind"] = TaskKind[plain["kind"]]
    plain["progress"] = Progress[plain["progress"]]
    plain["keys"] = tuple(plain["keys"])
    plain["pairs"] = tuple(tuple(pair) for pair in plain["pairs"])
    return StoredTask(id=id_, **plain)
