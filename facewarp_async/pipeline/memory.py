"""What a pipeline remembers of earlier runs, and what that makes of a job."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio

from facewarp_async.checking import CheckedJob, File, name_of
from facewarp_async.errors import (
    BadRequestError,
    FaceWarpError,
    FileTooLargeError,
    Stage,
    TaskFailedError,
    UnsupportedFormatError,
    UploadRejectedError,
)
from facewarp_async.files import is_same_file
from facewarp_async.journal import InDoubtChoice, JobState, Journal, JournalLog, job_key
from facewarp_async.models import Asset, DetectFaces, FaceDetection, Job, MultiFaceSwap
from facewarp_async.pipeline.names import target_path
from facewarp_async.pipeline.outcomes import Completed, Failed, Outcome
from facewarp_async.pipeline.results import measure, path_below, path_in, restore
from facewarp_async.swaps import JobRun
from facewarp_async.uploads import SharedUploads
from facewarp_async.urls import Location

_FOR_GOOD = (TaskFailedError, BadRequestError, UnsupportedFormatError, FileTooLargeError, UploadRejectedError)
"""Errors that a repetition would meet again; all others leave the job to be gone on with in the next run."""


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
        journal: Journal,
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

    @asynccontextmanager
    async def recall(self, job: Job, checked: CheckedJob, seen: Counter[bytes]) -> AsyncIterator[JournalLog]:
        """Give the job's log, empty where the journal does not know the job.

        A job that another batch of the pipeline runs at that moment is waited for: it has one log.

        Args:
            job: The job.
            checked: Its files.
            seen: Counts the jobs of its batch that are the same; each has a log of its own.
        """
        files, options = _identity(job, checked)
        contents = [await self._content(file) for file in files]
        mark = job_key(self._realm, checked.kind, contents, options, 0)[:8]
        occurrence = seen[mark]
        seen[mark] += 1
        key = job_key(self._realm, checked.kind, contents, options, occurrence)
        while (other := self._active.get(key)) is not None:
            await other.wait()
        ended = self._active[key] = anyio.Event()
        try:
            record = await self._journal.recall(key, checked.kind, name_of(checked.media))
            yield JournalLog(self._journal, record, in_doubt=self._in_doubt)
        finally:
            del self._active[key]
            ended.set()

    async def _content(self, file: File) -> bytes:
        return file.key.encode() if isinstance(file, Asset) else await self._uploads.content(file)

    async def outcome(self, run: JobRun, log: JournalLog, name: str) -> Outcome | None:
        """Return what became of the job in an earlier run; ``None`` where there is something left to do."""
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

    async def failed(self, log: JournalLog, error: FaceWarpError) -> None:
        """Write down that a job has failed, where that is for good."""
        if isinstance(error, _FOR_GOOD):
            await log.failed(error)

    def _below(self, path: Location) -> str:
        assert self._output_dir is not None
        return path_below(self._output_dir, path)


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
