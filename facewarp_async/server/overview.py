"""Tasks as people want to see them: what was made of which files, and what became of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from facewarp_async.models import TaskKind
from facewarp_async.server.records import Progress, StoredObject, StoredTask


@frozen(kw_only=True)
class SeenTask:
    """A task, as it was when somebody looked.

    Attributes:
        task_id: Its number.
        kind: What it makes.
        media: What the caller called the file to be changed, empty where the service has forgotten it.
        faces: The same for the faces to put in.
        contents: The MD5 of each of these files, the media's first, and for a multiple swap of the faces found too.
        hd: Whether high quality was asked for.
        progress: How far it is.
        code: Why it failed, else 200.
        message: The same in words.
        created: When, in seconds since 1970.
        ended: The same for its end; ``None`` as long as it is open.
    """

    task_id: int
    kind: TaskKind
    media: str
    faces: tuple[str, ...]
    contents: tuple[str, ...]
    hd: bool
    progress: Progress
    code: int
    message: str
    created: float
    ended: float | None


def see_task(task: StoredTask, objects: Mapping[str, StoredObject]) -> SeenTask:
    """Return a task with its files' names in place of their keys."""
    media, *faces = task.keys
    faces += [face for _, face in task.pairs]
    used = [*task.keys, *(key for pair in task.pairs for key in pair)]
    return SeenTask(
        task_id=task.id,
        kind=task.kind,
        media=_name(objects.get(media)),
        faces=tuple(_name(objects.get(face)) for face in faces),
        contents=tuple(_content(key, objects.get(key)) for key in used),
        hd=task.hd,
        progress=task.progress,
        code=task.code,
        message=task.message,
        created=task.created,
        ended=task.ended,
    )


def _name(stored: StoredObject | None) -> str:
    return "" if stored is None else stored.name


def _content(key: str, stored: StoredObject | None) -> str:
    """A file that is gone is like no other."""
    return key if stored is None or stored.blob is None else stored.blob.md5
