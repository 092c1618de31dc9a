"""What the page is told each time it asks: the service, its last tasks, the requests since it asked last. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any

from facewarp_async.redaction import clean_text
from facewarp_async.server.objects import Blob
from facewarp_async.server.overview import see_task
from facewarp_async.server.records import Progress, StoredObject, StoredTask
from facewarp_async.server.state import State

MOST_TASKS = 60
"""How many tasks are shown, the latest."""

_MOST_FACES = 8
_LONGEST_TEXT = 200


def tasks_document(state: State) -> list[dict[str, Any]]:
    """Return the last tasks, the latest first, as JSON values."""
    return [_task(task, state.objects) for task in islice(reversed(state.tasks.values()), MOST_TASKS)]


def counts_document(state: State) -> dict[str, int]:
    """Return how many tasks there are of each progress."""
    return {progress.value: state.progress[progress] for progress in Progress}


def _task(task: StoredTask, objects: Mapping[str, StoredObject]) -> dict[str, Any]:
    seen = see_task(task, objects)
    return {
        "id": task.id,
        "kind": task.kind.name,
        "hd": task.hd,
        "progress": task.progress.value,
        "code": task.code,
        "message": _text(task.message),
        "created": task.created,
        "ended": task.ended,
        "media": {"name": _text(seen.media), **_file(objects.get(task.keys[0]))},
        "faces": [_text(face) for face in seen.faces[:_MOST_FACES]],
        "result": _result(task, objects),
    }


def _result(task: StoredTask, objects: Mapping[str, StoredObject]) -> dict[str, Any] | None:
    if task.progress is not Progress.FINISHED:
        return None
    if isinstance(task.fields, list):
        return {"found": len(task.fields)}
    return {"found": None, **_file(objects.get(task.fields["merge_key"]))}


def _file(stored: StoredObject | None) -> dict[str, Any]:
    blob = stored and stored.blob
    media_type = blob.media_type if isinstance(blob, Blob) else None
    if not isinstance(blob, Blob) or media_type is None:
        return {"type": None, "video": False, "size": 0}
    return {"type": media_type.name, "video": media_type.is_video, "size": blob.size}


def _text(text: str) -> str:
    return clean_text(text)[:_LONGEST_TEXT]


def key_of(task: StoredTask, what: str, index: int) -> str | None:
    """Return the key of a file of a task, ``None`` if there is no such.

    Args:
        task: The task.
        what: ``before`` for its media, ``face`` for a face to put in, ``after`` for its result or a face that was
            found, ``small`` for a picture that stands for the result.
        index: Which of several.
    """
    faces = [*task.keys[1:], *(face for _, face in task.pairs)]
    results = task.fields if isinstance(task.fields, list) else [task.fields or {}]
    named: dict[str, list[str | None]] = {
        "before": [*task.keys[:1]],
        "face": [*faces],
        "after": [fields.get("merge_key") or fields.get("avatar_part_key") for fields in results],
        "small": [fields.get("thumbnail_key") or fields.get("cover_thumbnail_key") for fields in results],
    }
    keys = named.get(what, [])
    return keys[index] if index < len(keys) else None
