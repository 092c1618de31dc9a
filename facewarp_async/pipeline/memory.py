"""What a pipeline remembers of earlier runs, and what that makes of a job."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import anyio
import anyio.to_thread

from facewarp_async.checking import CheckedJob, File, name_of
from facewarp_async.errors import (
    BadRequestError,
    FaceWarpError,
    FileTooLargeError,
    Recovery,
    Stage,
    TaskFailedError,
    UnsupportedFormatError,
    UploadRejectedError,
)
from facewarp_async.files import is_same_file
from facewarp_async.journal import InDoubtChoice, JobJournal, JobRecord, JobState, JournalLog, RunRecord, job_key
from facewarp_async.models import (
    Asset,
    DetectFaces,
    FaceDetection,
    ImageSwap,
    Job,
    MultiFaceSwap,
    TaskKind,
    VideoSwap,
)
from facewarp_async.pipeline.names import target_path
from facewarp_async.pipeline.outcomes import Completed, Failed, Outcome
from facewarp_async.pipeline.results import measure, path_below, path_in, restore
from facewarp_async.swaps import JobRun
from facewarp_async.uploads import SharedUploads
from facewarp_async.urls import Location

_FOR_GOOD = (TaskFailedError, BadRequestError, UnsupportedFormatError, FileTooLargeError, UploadRejectedError)
"""Errors that a repetition would meet again; all others leave the job to be gone on with in the next run."""

_KINDS = {
    ImageSwap: TaskKind.IMAGE_SWAP,
    VideoSwap: TaskKind.VIDEO_SWAP,
    MultiFaceSwap: TaskKind.MULTI_IMAGE_SWAP,
    DetectFaces: TaskKind.FACE_DETECTION,
}
"""What a job would make whose media could not be looked at."""


class Occurrences(Protocol):
    """Tells jobs of a batch apart that are the same."""

    async def number(self, mark: bytes, /) -> int:
        """Return how many jobs with this mark were asked for before this one."""
        ...


class Counted:
    """The `Occurrences` of a batch that runs in one process."""

    def __init__(self) -> None:
        self._seen: Counter[bytes] = Counter()

    async def number(self, mark: bytes) -> int:
        """Count one more."""
        self._seen[mark] += 1
        return self._seen[mark] - 1


class Memory:
    """Finds jobs in a journal and writes down what became of them.

    Args:
        journal: The journal, open.
        uploads: Knows the contents of files.
        realm: The provider's.
        output_dir: Where results lie.
        in_doubt: What to do about a create whose answer was lost in an earlier run.
        retry_failed: Whether jobs that failed for good are tried again, and paid for again.
    """

    def __init__(
        self,
        journal: JobJournal,
        uploads: SharedUploads,
        *,
        realm: str,
        output_dir: Location | None,
        in_doubt: InDoubtChoice,
        retry_failed: bool,
    ) -> None:
        self._journal = journal
        self._uploads = uploads
        self._realm = realm
        self._output_dir = output_dir
        self._in_doubt: InDoubtChoice = in_doubt
        self._retry_failed = retry_failed
        self._active: dict[bytes, anyio.Event] = {}
        self._folder = ""

    async def open(self, look: Callable[[], RunRecord]) -> None:
        """Open the journal for a run; `look` says how far that is, whenever it is asked.

        Raises:
            JournalInUseError: Another process or pipeline works with it.
            JournalCorruptError: It is no journal, damaged, or of a later version.
        """
        self._folder = await anyio.to_thread.run_sync(_current_folder)
        await self._journal.__aenter__()
        self._journal.begin_run(look)

    async def close(self) -> None:
        """Note how the run has ended, and close the journal."""
        try:
            self._journal.end_run()
        finally:
            await self._journal.__aexit__(None, None, None)

    @asynccontextmanager
    async def recall(
        self, job: Job, checked: CheckedJob, seen: Occurrences, *, run: JobRun | None = None
    ) -> AsyncIterator[JournalLog]:
        """Give the job's log, empty where the journal does not know the job.

        A job that another batch of the pipeline runs at that moment is waited for: it has one log.

        Args:
            job: The job.
            checked: Its files.
            seen: Counts the jobs of its batch that are the same; each has a log of its own.
            run: Tells when its stages begin; ``None``: nothing is begun.
        """
        files, options = _identity(job, checked)
        contents = [await self._content(file) for file in files]
        mark = job_key(self._realm, checked.kind, contents, options, 0)[:8]
        occurrence = await seen.number(mark)
        key = job_key(self._realm, checked.kind, contents, options, occurrence)
        while (other := self._active.get(key)) is not None:
            await other.wait()
        ended = self._active[key] = anyio.Event()
        try:
            record = await self._journal.recall(key, checked.kind, name_of(checked.media))
            log = JournalLog(self._journal, record, in_doubt=self._in_doubt, begun=None if run is None else run.begun)
            try:
                yield log
            except anyio.get_cancelled_exc_class():
                if run is not None:
                    log.left()
                raise
        finally:
            self._journal.release(key)
            del self._active[key]
            ended.set()

    async def _content(self, file: File) -> bytes:
        return file.key.encode() if isinstance(file, Asset) else await self._uploads.content(file)

    async def outcome(self, run: JobRun, log: JournalLog, name: str) -> Outcome | None:
        """Return what became of the job in an earlier run; ``None`` where there is something left to do."""
        is_renamed = log.rename(name=name, source=self._source(run.job), media=_media_name(run.job))
        outcome = await self._earlier(run, log, name)
        if outcome is not None and is_renamed:  # else it is written down with the job's next step
            await log.rewrite()
        return outcome

    async def _earlier(self, run: JobRun, log: JournalLog, name: str) -> Outcome | None:
        record = log.record
        if record.state is JobState.FAILED:
            if self._retry_failed or record.error is None:
                log.restart()
                return None
            error = record.error
            run.explain(error)
            return Failed(
                job=run.job, error=error, stage=error.stage or Stage.WAIT, task_id=error.task_id, resumed=True
            )
        if record.state is not JobState.DONE or record.result is None:
            return None
        if self._output_dir is None or isinstance(record.result, FaceDetection):
            return Completed(job=run.job, result=record.result, resumed=True)
        target = target_path(self._output_dir, name, record.result)
        if not isinstance(run.job.media, Asset) and await is_same_file(run.job.media, target):
            return None
        if record.path is None or not await self._restore(path_in(self._output_dir, record.path), target, log):
            return None
        return Completed(job=run.job, result=record.result, path=target, resumed=True)

    async def _restore(self, kept: Location, target: Location, log: JournalLog) -> bool:
        """See that the result is whole and where it belongs: a file that was renamed has its result copied."""
        record = log.record
        digest = await restore(kept, target, record.size, record.digest)
        if digest is not None and kept != target and record.result is not None:
            await log.done(record.result, path=self._below(target), size=record.size, digest=digest)
        return digest is not None

    async def done(self, log: JournalLog, completed: Completed) -> None:
        """Write down that a job is done."""
        path = completed.path
        if path is None:
            await log.done(completed.result, path=None, size=None, digest=None)
            return
        size, digest = await measure(path)
        await log.done(completed.result, path=self._below(path), size=size, digest=digest)

    async def failed(self, log: JournalLog, error: FaceWarpError, *, for_good: bool = True) -> None:
        """Write down that a job has failed: for good, unless another run may have more luck, or it has its result."""
        if error.recovery is Recovery.STOP_BATCH:  # it is not the job that has failed
            log.left()
        elif for_good and isinstance(error, _FOR_GOOD):
            await log.failed(error)
        else:
            await log.met(error)

    async def unusable(self, run: JobRun, name: str, error: FaceWarpError) -> None:
        """Write down that a job's files cannot be used."""
        log = JournalLog(self._journal, self._by_name(run.job, name), in_doubt=self._in_doubt, begun=run.begun)
        await log.failed(error)

    def skipped(self, job: Job, name: str) -> None:
        """Write down that a job was not begun, without waiting for it."""
        self._journal.post(self._by_name(job, name))

    def _by_name(self, job: Job, name: str) -> JobRecord:
        """Return a record of a job whose contents are not known. It is never recalled, and only told of."""
        key = hashlib.sha256(b"name:" + name.encode(errors="backslashreplace")).digest()
        media, source = _media_name(job), self._source(job)
        return JobRecord(key=key, kind=_KINDS[type(job)], media=media, name=name, source=source)

    def _source(self, job: Job) -> str | None:
        return str(Path(self._folder) / job.media) if isinstance(job.media, Path) else None

    def _below(self, path: Location) -> str:
        assert self._output_dir is not None
        return path_below(self._output_dir, path)


def _current_folder() -> str:
    try:
        return str(Path.cwd())
    except OSError:  # it was removed; relative paths lead nowhere then
        return ""


def _media_name(job: Job) -> str:
    return job.media.key if isinstance(job.media, Asset) else str(job.media)


def _identity(job: Job, checked: CheckedJob) -> tuple[Sequence[File], list[Any]]:
    """Return the files and options that a job is known by; the order in which its faces were named is none of them."""
    match job:
        case MultiFaceSwap():
            faces = sorted(zip(job.faces, checked.faces, strict=True), key=lambda pair: pair[0])
            return [checked.media, *(face for _, face in faces)], [job.hd, [index for index, _ in faces]]
        case DetectFaces():
            return [checked.media], []
        case _:
            return [checked.media, *checked.faces], [job.hd]
