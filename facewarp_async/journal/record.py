"""What the journal knows of one job, as values; pure."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any

from attrs import define, field

from facewarp_async.errors import FaceWarpError
from facewarp_async.journal.codec import decode_error, decode_result, encode_error, encode_result
from facewarp_async.models import Result, TaskKind

COLUMNS = (
    "key, state, kind, media, pending, tasks, path, size, digest, result, error, updated_at, "
    "name, source, steps, created"
)


class JobState(StrEnum):
    """How far a job is. Each state is durable before what follows it is begun."""

    NEW = "new"
    UPLOADED = "uploaded"
    INTENT = "intent"
    """A create may have left: until its answer is known the job is in doubt."""
    CREATED = "created"
    DONE = "done"
    FAILED = "failed"


def job_key(realm: str, kind: TaskKind, contents: Iterable[bytes], options: Sequence[Any], occurrence: int) -> bytes:
    """Return what a job is known by again: its files' contents and its options, not their names or its place.

    Args:
        realm: The provider's.
        kind: What its last task makes.
        contents: What tells the contents of its files: the media's first, then the faces'.
        options: What else changes the result.
        occurrence: How many jobs before it in the batch were the same.
    """
    text = json.dumps([realm, kind, [content.hex() for content in contents], list(options), occurrence])
    return hashlib.sha256(text.encode()).digest()


@define
class JobRecord:
    """A row of the journal.

    Attributes:
        key: From `job_key`.
        kind: What its last task makes.
        media: What to call it in a message.
        state: How far it is.
        pending: The task whose create may have left, in state ``intent``.
        tasks: The tasks that were created, by kind.
        path: The result's file below the output folder.
        size: Its length in bytes; with `digest`, its SHA-256, it tells whether it is whole.
        result: What was made, without URLs.
        error: Why it failed last: for good in state ``failed``, else to be tried again.
        name: Where its result goes below the output folder, without extension; empty where that was not noted.
        source: Its media's absolute path; ``None`` for an asset, or where that was not noted.
        steps: When it came to what, from `facewarp_async.journal.steps`.
        created: How many tasks were created for it, in all runs.
        updated_at: When the row was written, in seconds since 1970.
    """

    key: bytes
    kind: TaskKind
    media: str
    state: JobState = JobState.NEW
    pending: TaskKind | None = None
    tasks: dict[TaskKind, int] = field(factory=dict)
    path: str | None = None
    size: int | None = None
    digest: bytes | None = None
    result: Result | None = None
    error: FaceWarpError | None = None
    name: str = ""
    source: str | None = None
    steps: str = ""
    created: int = 0
    updated_at: float = field(default=0.0, eq=False)

    def restart(self) -> None:
        """Forget what became of it: its tasks will be created anew."""
        self.state, self.pending, self.error, self.tasks = JobState.NEW, None, None, {}

    def to_row(self) -> tuple[Any, ...]:
        """Return the values of `COLUMNS`."""
        return (
            self.key,
            self.state.value,  # plain strings are bound faster
            self.kind.value,
            self.media.encode(errors="backslashreplace").decode(),  # as a message shows it
            None if self.pending is None else self.pending.value,
            _dump_tasks(self.tasks),
            None if self.path is None else os.fsencode(self.path),  # a name on the disk may be no text
            self.size,
            self.digest,
            None if self.result is None else encode_result(self.result),
            None if self.error is None else encode_error(self.error),
            time.time(),
            _encode_name(self.name),
            None if self.source is None else _encode_name(self.source),
            self.steps,
            self.created,
        )

    @classmethod
    def from_row(cls, row: Sequence[Any]) -> JobRecord:
        """Read the values of `COLUMNS`."""
        key, state, kind, media, pending, tasks, path, size, digest, result, error, updated_at, *told = row
        name, source, steps, created = told
        return cls(
            key=key,
            kind=TaskKind(kind),
            media=media,
            state=JobState(state),
            pending=None if pending is None else TaskKind(pending),
            tasks={TaskKind(name): task_id for name, task_id in json.loads(tasks).items()},
            path=None if path is None else os.fsdecode(path),
            size=size,
            digest=digest,
            result=None if result is None else decode_result(result),
            error=None if error is None else decode_error(error),
            name="" if name is None else os.fsdecode(name),
            source=None if source is None else os.fsdecode(source),
            steps=steps,
            created=created,
            updated_at=updated_at,
        )


def _encode_name(name: str) -> bytes:
    try:
        return os.fsencode(name)
    except UnicodeEncodeError:  # it was never a name on a disk
        return name.encode(errors="backslashreplace")


def _dump_tasks(tasks: dict[TaskKind, int]) -> str:
    """Return them as JSON; four times as fast as the library for what is written with each transition."""
    return "{" + ", ".join([f'"{kind.value}": {task_id}' for kind, task_id in tasks.items()]) + "}"
