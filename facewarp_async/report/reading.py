"""From a journal to a report."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import cycle, pairwise
from pathlib import Path

import anyio
import anyio.to_thread

from facewarp_async.errors import FaceWarpError, InDoubtError, JournalError
from facewarp_async.journal import JobRecord, JobState, Journal, RunRecord, Step, TimedStep, parse_steps
from facewarp_async.models import FaceDetection
from facewarp_async.pipeline.advice import cost_text, next_step
from facewarp_async.pipeline.results import path_in
from facewarp_async.report.values import Fate, JobReport, Phase, Report, RunReport, Span
from facewarp_async.text import visible
from facewarp_async.urls import Location, RemoteFile, as_location

_PHASES = {
    Step.CHECK: Phase.CHECK,
    Step.UPLOAD: Phase.UPLOAD,
    Step.CREATE: Phase.TURN,
    Step.CREATED: Phase.SERVICE,
    Step.WAIT: Phase.SERVICE,
    Step.DOWNLOAD: Phase.DOWNLOAD,
}
_CALLS = {
    "/v1/source/upload-url": "for upload URLs",
    "/v1/source/access-url": "for download URLs",
    "/v1/task/detail": "looks at tasks",
    "/v1/oauth/token": "for tokens",
}
_CREATES = "creates"
_FATES = list(Fate)


async def read_report(journal: str | Path, *, output_dir: str | Location, title: str = "") -> Report:
    """Return what a batch's journal says.

    Args:
        journal: The file. It is brought up to date if it is an older one, else not changed.
        output_dir: Where the results lie.
        title: What to call the batch; the name of the output folder if empty.

    Raises:
        JournalInUseError: The batch still runs.
        JournalCorruptError: It is no journal, damaged, or of a later version.
        JournalError: There is none, or it cannot be opened.
    """
    path, folder = Path(journal), as_location(output_dir)
    if isinstance(folder, Path):
        folder = Path(await anyio.Path(folder).resolve())
    if not await anyio.Path(path).exists():
        raise JournalError(f"{path}: there is no journal: no batch has run there, or it was run without one")
    async with Journal(path, realm="") as opened:
        records, runs = await opened.records(), await opened.runs()
    name = folder.name if isinstance(folder, Path) else str(folder)
    # In a thread: of thousands of jobs it takes a while.
    return await anyio.to_thread.run_sync(partial(build_report, records, runs, folder=folder, title=title or name))


def build_report(
    records: Sequence[JobRecord], runs: Sequence[RunRecord], *, folder: Location, title: str = ""
) -> Report:
    """Make a report of what a journal holds.

    Args:
        records: Of all jobs. Of several with the same name the latest counts: its file or its face was changed.
        runs: The runs, the first one first.
        folder: Where the results lie.
        title: What to call the batch.
    """
    is_free = bool(runs) and all(run.provider == "local" for run in runs)
    created_at = [each.at for record in records for each in parse_steps(record.steps) if each.step is Step.CREATED]
    jobs = [
        _job(record, parse_steps(record.steps), runs, folder=folder, is_free=is_free) for record in _latest(records)
    ]
    jobs.sort(key=lambda job: (_FATES.index(job.fate), _natural(job.media)))
    return Report(
        title=visible(title),
        jobs=jobs,
        runs=list(_runs(runs, created_at)),
        created=sum(record.created for record in records),
    )


def _latest(records: Iterable[JobRecord]) -> Iterable[JobRecord]:
    """Return one record for each name. One of a job that was not begun counts only where there is no other."""
    found: dict[str, JobRecord] = {}
    for record in records:
        name = record.name or f"\0{record.key.hex()}"
        other = found.get(name)
        if other is None or _rank(record) > _rank(other):
            found[name] = record
    return found.values()


def _rank(record: JobRecord) -> tuple[bool, float]:
    return record.state is not JobState.NEW, record.updated_at


def _job(
    record: JobRecord, steps: list[TimedStep], runs: Sequence[RunRecord], *, folder: Location, is_free: bool
) -> JobReport:
    fate, reason, error = _fate(record, steps)
    task_id = None if error is None else error.task_id
    last_at = runs[-1].began_at if runs else 0.0
    after = path_in(folder, record.path) if fate is Fate.DONE and record.path is not None else None
    return JobReport(
        media=visible(record.media),
        before=None if record.source is None else Path(record.source),
        after=after if isinstance(after, Path) else None,
        elsewhere=visible(after) if isinstance(after, RemoteFile) else "",
        what=_what(record),
        fate=fate,
        reason=visible(reason),
        advice="" if error is None else visible(next_step(error)),
        cost="" if error is None or is_free else cost_text(error, task_id),
        task_ids=sorted(record.tasks.values()),
        created=record.created,
        spans=list(_spans(steps, runs)),
        is_earlier=bool(runs) and record.updated_at < last_at,
    )


def _fate(record: JobRecord, steps: list[TimedStep]) -> tuple[Fate, str, FaceWarpError | None]:
    """Return what became of a job, why, and the error behind it."""
    error = record.error
    if record.state is JobState.DONE:
        return Fate.DONE, "", None
    if record.pending is not None:
        if not isinstance(error, InDoubtError):
            error = InDoubtError("a task may or may not have been created: the run ended at that moment")
        return Fate.IN_DOUBT, error.message, error
    if error is not None and (record.state is JobState.FAILED or (steps and steps[-1].step is Step.END)):
        return Fate.FAILED, _message(error, record.media), error
    if record.tasks:
        return Fate.UNFINISHED, "its task was created, its result was not fetched yet: the next run does that", None
    if record.state is JobState.NEW:
        return Fate.UNFINISHED, "not begun", None
    return Fate.UNFINISHED, "begun, no task was created yet", None


def _message(error: FaceWarpError, media: str) -> str:
    """Return what happened; the media is named above it."""
    text = visible(error.message).removeprefix(f"{visible(media)}: ")
    return text + (f" (code {error.code})" if error.code is not None else "")


def _what(record: JobRecord) -> str:
    if isinstance(record.result, FaceDetection):
        return f"{record.kind}: {len(record.result.faces)} found"
    return str(record.kind)


def _spans(steps: list[TimedStep], runs: Sequence[RunRecord]) -> Iterator[Span]:
    """Return what a job was at. What was cut by the end of its run lasted until that."""
    span: Span | None = None
    for this, following in pairwise([*steps, None]):
        assert this is not None
        phase = _PHASES.get(this.step)
        if phase is None:
            continue
        end = _end_of_run(this.at, runs)
        if following is not None and (end is None or following.at <= end):
            end = following.at
        if end is None:
            continue
        end = max(this.at, end)  # the clock may have been set back
        if span is not None and span.phase is phase and span.end == this.at:
            span = Span(phase, span.begin, end)
            continue
        if span is not None:
            yield span
        span = Span(phase, this.at, end)
    if span is not None:
        yield span


def _end_of_run(at: float, runs: Sequence[RunRecord]) -> float | None:
    for run in reversed(runs):
        if run.began_at <= at + 0.001:  # steps are noted in milliseconds
            return max(run.seen_at, at)
    return None


def _runs(runs: Sequence[RunRecord], created_at: Sequence[float]) -> Iterator[RunReport]:
    for run, following in pairwise([*runs, None]):
        assert run is not None
        until = float("inf") if following is None else following.began_at
        yield RunReport(
            provider=visible(run.provider),
            began_at=run.began_at,
            ended_at=run.seen_at,
            ending=run.ending,
            reason=visible(run.reason),
            calls=_by_purpose(run),
            created=sum(run.began_at - 0.001 <= at < until - 0.001 for at in created_at),
        )


def _by_purpose(run: RunRecord) -> dict[str, int]:
    calls: dict[str, int] = {}
    for path, number in sorted(run.calls.items()):
        purpose = _CALLS.get(path, _CREATES)
        calls[purpose] = calls.get(purpose, 0) + number
    return calls


def _natural(name: str) -> list[tuple[int, str]]:
    """Return what sorts names as people do: 9.jpg before 10.jpg. A number is told by its length first."""
    parts = re.split(r"(\d+)", name)
    return [(len(part.lstrip("0")), part.lstrip("0")) if odd else (-1, part) for part, odd in zip(parts, cycle((0, 1)))]
