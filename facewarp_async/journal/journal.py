"""The journal: jobs and uploads, read and written through group commits."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol, Self

import anyio.to_thread

from facewarp_async.errors import FaceWarpError, InDoubtError, JournalCorruptError, JournalError, Stage
from facewarp_async.journal.commits import GroupCommits
from facewarp_async.journal.opening import open_database
from facewarp_async.journal.record import COLUMNS, JobRecord, JobState
from facewarp_async.journal.runs import RUN_COLUMNS, RunRecord
from facewarp_async.journal.steps import Step, add_step, add_steps
from facewarp_async.models import Asset, MediaType, Result, TaskKind

InDoubtChoice = Literal["hold", "recreate"]

ASSET_LIFE_S = 24 * 3600.0
"""For how long an upload is believed to be with the service; its word (702) is what counts in the end."""

PUT_JOB = f"INSERT OR REPLACE INTO jobs ({COLUMNS}) VALUES ({', '.join('?' * len(COLUMNS.split(',')))})"  # noqa: S608
_GET_JOB = f"SELECT {COLUMNS} FROM jobs WHERE key = ?"  # noqa: S608 - a constant of this package
_ALL_JOBS = f"SELECT {COLUMNS} FROM jobs"  # noqa: S608 - the same
_WITH_TASKS = "SELECT key, kind, updated_at FROM jobs WHERE state IN ('intent', 'created')"
_PUT_RUN = f"INSERT INTO runs ({RUN_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)"  # noqa: S608 - the same
_UPDATE_RUN = (
    f"UPDATE runs SET ({RUN_COLUMNS}) = (?, ?, ?, ?, ?, ?) "  # noqa: S608 - the same
    "WHERE number = (SELECT max(number) FROM runs) AND began_at = ?"  # else its own note was lost: of another run
)
_ALL_RUNS = f"SELECT {RUN_COLUMNS} FROM runs ORDER BY number"  # noqa: S608 - the same
_RUN_INTERVAL_S = 1.0
_UNDER_WAY = {JobState.UPLOADED, JobState.INTENT, JobState.CREATED}


class JobJournal(Protocol):
    """What a pipeline needs of a journal: a `Journal`, or one that lives in another process."""

    async def __aenter__(self) -> object: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None: ...

    async def recall(self, key: bytes, kind: TaskKind, media: str, /) -> JobRecord:
        """Return what is known of a job; a new record where nothing is."""
        ...

    def release(self, key: bytes, /) -> None:
        """Note that nothing more is done about a job that was recalled."""
        ...

    async def write(self, record: JobRecord, /) -> None:
        """Write a record down. Durable when this returns."""
        ...

    def post(self, record: JobRecord, /) -> None:
        """Write a record down without waiting for it."""
        ...

    def begin_run(self, look: Callable[[], RunRecord], /) -> None:
        """Note that a run has begun, and from time to time how far it is."""
        ...

    def end_run(self) -> None:
        """Note how the run has ended."""
        ...


class Journal:
    """A batch's memory in one SQLite file, for one process at a time.

    Every coroutine that writes returns when its change is durable; cancelling it does not take the change back.

    Args:
        path: The file; made if it is missing, with its folder.
        realm: Whose task ids and keys these are: one file may know several providers.
    """

    def __init__(self, path: str | Path, *, realm: str) -> None:
        self._path = Path(path)
        self._realm = realm
        self._commits = GroupCommits(self._path, partial(open_database, self._path))
        self._look_at_run: Callable[[], RunRecord] | None = None
        self._run_due = math.inf

    async def __aenter__(self) -> Self:
        """Open the file.

        Raises:
            JournalInUseError: Another process or pipeline works with it.
            JournalCorruptError: It is no journal, damaged, or of a later version. It was not changed.
            JournalError: It cannot be opened.
        """
        try:
            await anyio.to_thread.run_sync(partial(self._path.parent.mkdir, parents=True, exist_ok=True))
        except OSError as error:
            raise JournalError(f"{self._path}: the journal's folder cannot be made: {error.strerror}") from error
        await self._commits.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Commit what was given and close."""
        await self._commits.close()

    async def recall(self, key: bytes, kind: TaskKind, media: str) -> JobRecord:
        """Return what is known of a job; a new record where nothing is, written down with its first change."""
        rows = await self._commits.execute(_GET_JOB, (key,))
        return self._read(rows[0]) if rows else JobRecord(key=key, kind=kind, media=media)

    def release(self, key: bytes) -> None:
        """Do nothing: the pipeline knows itself which jobs it works on."""

    async def with_tasks(self) -> list[tuple[bytes, TaskKind, float]]:
        """Return the jobs of which a task may be under way: key, kind, and when that was written down."""
        rows = await self._commits.execute(_WITH_TASKS)
        return [(key, TaskKind(kind), updated_at) for key, kind, updated_at in rows]

    async def write(self, record: JobRecord) -> None:
        """Write a record down.

        Raises:
            JournalError: It could not be committed.
        """
        await self._commits.execute(PUT_JOB, record.to_row())
        if time.monotonic() >= self._run_due:  # only now: nothing is to keep a record from being written
            self._post_run()

    def post(self, record: JobRecord) -> None:
        """Write a record down with the next commit, without waiting for it."""
        self._commits.post(PUT_JOB, record.to_row())

    def begin_run(self, look: Callable[[], RunRecord]) -> None:
        """Note with the next commits that a run has begun, and from time to time how far it is.

        Args:
            look: Says it. Asked again about once a second while jobs are written down, and by `end_run`.
        """
        self._look_at_run = look
        self._commits.post(_PUT_RUN, look().to_row())
        self._run_due = time.monotonic() + _RUN_INTERVAL_S

    def end_run(self) -> None:
        """Note how the run has ended; durable when the journal is closed."""
        self._post_run()
        self._look_at_run, self._run_due = None, math.inf

    def _post_run(self) -> None:
        if self._look_at_run is not None:
            run = self._look_at_run()
            self._commits.post(_UPDATE_RUN, (*run.to_row(), run.began_at))
            self._run_due = time.monotonic() + _RUN_INTERVAL_S

    async def runs(self) -> list[RunRecord]:
        """Return all runs that were noted, the first one first."""
        rows = await self._commits.execute(_ALL_RUNS)
        try:
            return [RunRecord.from_row(row) for row in rows]
        except Exception as error:  # as for jobs
            raise JournalCorruptError(f"{self._path}: what it holds of a run cannot be read: {error}") from error

    async def records(self) -> list[JobRecord]:
        """Return all records."""
        return [self._read(row) for row in await self._commits.execute(_ALL_JOBS)]

    def _read(self, row: Sequence[Any]) -> JobRecord:
        try:
            return JobRecord.from_row(row)
        except Exception as error:  # SQLite checks its pages' shape, not the bytes in them
            raise JournalCorruptError(f"{self._path}: what it holds of a job cannot be read: {error}") from error

    async def get(self, content: bytes) -> Asset | None:
        """Return the asset of a content that was uploaded lately."""
        rows = await self._commits.execute(
            "SELECT key, media_type FROM assets WHERE content = ? AND realm = ? AND uploaded_at > ?",
            (content, self._realm, time.time() - ASSET_LIFE_S),
        )
        if not rows:
            return None
        key, media_type = rows[0]
        return Asset(key, media_type=None if media_type is None else MediaType[media_type])

    def turn(self, content: bytes) -> AbstractAsyncContextManager[Asset | None]:  # noqa: ARG002 - the protocol's
        """Let the caller upload a content: nobody else works with this journal."""
        return nullcontext()

    async def put(self, content: bytes, asset: Asset) -> None:
        """Remember an upload."""
        media_type = None if asset.media_type is None else asset.media_type.name
        await self._commits.execute(
            "INSERT OR REPLACE INTO assets (content, realm, key, media_type, uploaded_at) VALUES (?, ?, ?, ?, ?)",
            (content, self._realm, asset.key, media_type, time.time()),
        )

    async def drop(self, content: bytes, asset: Asset) -> None:
        """Forget an upload, unless another has taken its place."""
        await self._commits.execute(
            "DELETE FROM assets WHERE content = ? AND realm = ? AND key = ?", (content, self._realm, asset.key)
        )


class JournalLog:
    """Writes one job's way into the journal; a `TaskLog`.

    Args:
        journal: The journal.
        record: The job's record; changed as the job goes on.
        in_doubt: What to do about a create of an earlier run whose answer was lost.
        begun: The stages that have begun and when; what is written down is taken out.
    """

    def __init__(
        self,
        journal: JobJournal,
        record: JobRecord,
        *,
        in_doubt: InDoubtChoice,
        begun: list[tuple[Stage, float]] | None = None,
    ) -> None:
        self._journal = journal
        self.record = record
        self._in_doubt = in_doubt
        self._doubted = record.pending
        self._begun = [] if begun is None else begun

    async def _write(self) -> None:
        self._take_steps()
        await self._journal.write(self.record)

    def _take_steps(self) -> None:
        if self._begun:
            self.record.steps = add_steps(self.record.steps, self._begun)
            self._begun.clear()

    def _step(self, step: Step) -> None:
        self._take_steps()
        self.record.steps = add_step(self.record.steps, step, time.time())

    def restart(self) -> None:
        """Forget what became of the job: its tasks will be created anew."""
        self.record.restart()
        self._doubted = None

    def task_of(self, kind: TaskKind) -> int | None:
        """Return the task of this kind that was created for the job, if one was.

        Raises:
            InDoubtError: One may have been created in an earlier run, and the user has not said to risk another.
        """
        if self.record.pending is kind and self._in_doubt == "hold":
            raise InDoubtError(
                "a task may or may not have been created in an earlier run, which ended at that moment",
                stage=Stage.CREATE,
            )
        return self.record.tasks.get(kind)

    async def uploaded(self) -> None:
        """Write down that the files are with the service."""
        if self.record.state is JobState.NEW:
            self.record.state = JobState.UPLOADED
            await self._write()

    async def intent(self, kind: TaskKind) -> None:
        """Write down that a create is about to leave."""
        self.record.state, self.record.pending = JobState.INTENT, kind
        await self._write()

    async def refused(self) -> None:
        """Take the intent back. A doubt from an earlier run stays: this refusal says nothing of that create."""
        if self.record.pending is not None and self._doubted is None:
            self.record.pending = None
            self.record.state = JobState.CREATED if self.record.tasks else JobState.UPLOADED
            await self._write()

    async def created(self, kind: TaskKind, task_id: int) -> None:
        """Write down that a task was created."""
        self.record.pending = self._doubted = None
        self.record.tasks[kind] = task_id
        self.record.state = JobState.CREATED
        self.record.created += 1
        self._step(Step.CREATED)
        await self._write()

    async def done(self, result: Result, *, path: str | None, size: int | None, digest: bytes | None) -> None:
        """Write down that the job is done, and what its file is known by."""
        self.record.state, self.record.result = JobState.DONE, result
        self.record.path, self.record.size, self.record.digest, self.record.error = path, size, digest, None
        self._step(Step.END)
        await self._write()

    async def failed(self, error: FaceWarpError) -> None:
        """Write down that the job has failed for good."""
        self.record.state = JobState.FAILED
        await self.met(error)

    async def met(self, error: FaceWarpError) -> None:
        """Write down what ended this run's work on the job, to be gone on with in the next."""
        self.record.error = error
        self._step(Step.END)
        await self._write()

    def left(self) -> None:
        """Note without waiting that this run's work on the job has ended before its time."""
        if self.record.state in _UNDER_WAY:
            self._step(Step.END)
            self._journal.post(self.record)

    def rename(self, *, name: str, source: str | None, media: str) -> bool:
        """Say what the job's files are called now; return whether that is not what is written down."""
        record = self.record
        is_renamed = (record.name, record.source) != (name, source)
        record.name, record.source, record.media = name, source, media
        return is_renamed

    async def rewrite(self) -> None:
        """Write the record down though the job has come no further."""
        await self._journal.write(self.record)
