"""What a pipeline's journal makes of a job: known by its contents, told again if it has ended, else gone on with."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import pytest

from facewarp_async.checking import check_job
from facewarp_async.errors import (
    ConnectError,
    CreditsExhaustedError,
    FaceWarpError,
    MissingFileError,
    NoFaceError,
    Stage,
)
from facewarp_async.journal import JobRecord, JobState, Journal, JournalLog, RunRecord, job_key, parse_steps
from facewarp_async.models import (
    Asset,
    DetectFaces,
    FaceDetection,
    ImageResult,
    ImageSwap,
    Job,
    MultiFaceSwap,
    Result,
    TaskKind,
)
from facewarp_async.pipeline.memory import Counted, Memory
from facewarp_async.pipeline.outcomes import Completed, Failed, Outcome
from facewarp_async.swaps import JobRun
from facewarp_async.uploads import SharedUploads

pytestmark = pytest.mark.anyio

RESULT = ImageResult(task_id=7, key="results/7.png", url="")
FOUND = FaceDetection(task_id=8, faces=())

Remember = Callable[..., AbstractAsyncContextManager[Memory]]
MakeFile = Callable[..., Path]


class Noting(Journal):
    """A journal that notes of which jobs nothing more is done."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, realm="r")
        self.released: list[bytes] = []

    def release(self, key: bytes) -> None:
        self.released.append(key)


@pytest.fixture
def journal(tmp_path: Path) -> Noting:
    """A journal, closed."""
    return Noting(tmp_path / "batch.db")


@pytest.fixture
def remember(tmp_path: Path, journal: Noting) -> Remember:
    """Open the journal for a run with results in ``out``."""

    async def send(*_: object, **__: object) -> Asset:
        raise AssertionError("nothing is sent")

    @asynccontextmanager
    async def remember(**options: Any) -> AsyncIterator[Memory]:
        options = {"output_dir": tmp_path / "out", "in_doubt": "hold", "retry_failed": False, **options}
        looks = count(1)
        memory = Memory(journal, SharedUploads(send), realm="r", **options)
        await memory.open(lambda: RunRecord(provider="p", began_at=1.0, seen_at=float(next(looks))))
        try:
            yield memory
        finally:
            await memory.close()

    return remember


@pytest.fixture
def job(make_file: MakeFile) -> ImageSwap:
    return ImageSwap(make_file("a.png"), make_file("face.png"))


@asynccontextmanager
async def recalled(memory: Memory, job: Job) -> AsyncIterator[JournalLog]:
    async with memory.recall(job, await check_job(job), Counted(), run=JobRun(job)) as log:
        yield log


async def earlier(memory: Memory, job: Job, name: str = "a") -> Outcome | None:
    async with recalled(memory, job) as log:
        return await memory.outcome(JobRun(job), log, name)


async def do(remember: Remember, job: Job, result: Result = RESULT, **options: Any) -> Path | None:
    """Write down in a run of its own that a job is done, and where its result lies."""
    path = None
    async with remember(**options) as memory, recalled(memory, job) as log:
        if memory._output_dir is not None and not isinstance(result, FaceDetection):
            assert isinstance(memory._output_dir, Path)
            path = memory._output_dir / "a.png"
            path.parent.mkdir()
            path.write_bytes(b"the result")
        await memory.outcome(JobRun(job), log, "a")
        await memory.done(log, Completed(job=job, result=result, path=path))
    return path


async def records(journal: Journal) -> list[JobRecord]:
    async with journal:
        return await journal.records()


# What a job is known by


async def test_jobs_that_are_the_same_are_counted_from_0() -> None:
    counted = Counted()
    assert [await counted.number(mark) for mark in (b"a", b"a", b"b", b"a")] == [0, 1, 0, 2]


async def test_a_job_is_known_by_its_contents_and_options(remember: Remember, make_file: MakeFile) -> None:
    """An asset by its key; several faces in the order of the places that they go to."""
    media, one, other, asset = make_file("m.png"), make_file("1.png"), make_file("2.png"), Asset("a/key.png")
    digests = [hashlib.sha256(path.read_bytes()).digest() for path in (media, one, other)]
    keys = []
    async with remember() as memory:
        jobs = ImageSwap(media, asset, hd=True), DetectFaces(media), MultiFaceSwap(media, {1: other, 0: one})
        for job in jobs:
            async with recalled(memory, job) as log:
                keys.append(log.record.key)
    assert keys == [
        job_key("r", TaskKind.IMAGE_SWAP, [digests[0], b"a/key.png"], [True], 0),
        job_key("r", TaskKind.FACE_DETECTION, [digests[0]], [], 0),
        job_key("r", TaskKind.MULTI_IMAGE_SWAP, digests, [False, [0, 1]], 0),
    ]


async def test_a_job_whose_files_are_not_known_is_told_of_by_its_name(
    remember: Remember, journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Failed or skipped; a name may be no text. Rows of earlier versions have these keys, and are replaced."""
    monkeypatch.chdir(tmp_path)
    gone, asset = ImageSwap("gone.png", "face.png"), DetectFaces(Asset("a/key.png"))
    async with remember() as memory:
        await memory.unusable(JobRun(gone), "a\udcff", MissingFileError("it is gone"))
        memory.skipped(asset, "b")
    by_name = {record.name: record for record in await records(journal)}
    failed, skipped = by_name["a\udcff"], by_name["b"]
    assert failed.key == hashlib.sha256(b"name:a\\udcff").digest()
    assert (failed.state, str(failed.error), failed.kind) == (JobState.FAILED, "it is gone", TaskKind.IMAGE_SWAP)
    assert (failed.media, failed.source) == ("gone.png", str(tmp_path / "gone.png"))
    assert skipped.key == hashlib.sha256(b"name:b").digest()
    assert (skipped.state, skipped.kind) == (JobState.NEW, TaskKind.FACE_DETECTION)
    assert (skipped.media, skipped.source) == ("a/key.png", None)


async def test_where_the_working_folder_is_gone_paths_are_told_as_they_were_given(
    remember: Remember, journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    async with remember() as memory:
        memory.skipped(DetectFaces("a.png"), "a")
    monkeypatch.chdir(tmp_path)
    assert [record.source for record in await records(journal)] == ["a.png"]


# Runs, and jobs of a run


async def test_a_run_is_noted_when_it_begins_and_when_it_ends(remember: Remember, journal: Journal) -> None:
    async with remember():
        assert [run.seen_at for run in await journal.runs()] == [1.0]
    async with journal:
        assert [run.seen_at for run in await journal.runs()] == [2.0]


async def test_a_job_that_another_batch_runs_is_waited_for(remember: Remember, journal: Noting, job: ImageSwap) -> None:
    told, counted = list[str](), anyio.Event()

    class Second(Counted):
        async def number(self, mark: bytes) -> int:
            counted.set()
            return await super().number(mark)

    async def second(memory: Memory) -> None:
        async with memory.recall(job, await check_job(job), Second()):
            told.append("second")

    async with remember() as memory:
        with anyio.fail_after(10):
            async with anyio.create_task_group() as group, recalled(memory, job) as log:
                group.start_soon(second, memory)
                await counted.wait()
                await anyio.wait_all_tasks_blocked()
                told.append("first")
        assert told == ["first", "second"]
        assert journal.released == [log.record.key] * 2


@pytest.mark.parametrize("is_begun", [True, False])
async def test_a_job_that_is_cancelled_is_left_as_it_is(
    remember: Remember, journal: Journal, job: ImageSwap, is_begun: bool
) -> None:
    """Its end is noted if it was begun, and the cancellation goes on."""
    run = JobRun(job)
    run.enter(Stage.CHECK)
    async with remember() as memory:
        checked = await check_job(job)
        with anyio.CancelScope() as scope:
            async with memory.recall(job, checked, Counted(), run=run if is_begun else None) as log:
                await log.uploaded()
                scope.cancel()
                await anyio.sleep_forever()
        assert scope.cancelled_caught
        async with memory.recall(job, checked, Counted()):
            pass  # it is nobody's any more
    (record,) = await records(journal)
    assert record.state is JobState.UPLOADED
    assert [each.step for each in parse_steps(record.steps)] == (["c", "e"] if is_begun else [])


async def test_nothing_is_written_down_of_a_job_that_is_not_begun(
    remember: Remember, journal: Journal, job: ImageSwap
) -> None:
    async with remember() as memory:
        assert await earlier(memory, job) is None
    assert await records(journal) == []


# What was done


async def test_what_was_done_is_told_again_with_its_file(remember: Remember, journal: Journal, job: ImageSwap) -> None:
    path = await do(remember, job)
    async with remember() as memory:
        assert await earlier(memory, job) == Completed(job=job, result=RESULT, path=path, resumed=True)
    (record,) = await records(journal)
    assert (record.path, record.size, record.digest) == ("a.png", 10, hashlib.sha256(b"the result").digest())
    assert [each.step for each in parse_steps(record.steps)] == ["e"], "of the run that has done it"


async def test_what_has_no_file_is_told_again_without(remember: Remember, job: ImageSwap) -> None:
    """A detection, and anything where results are not fetched; once they are, this one is."""
    detection = DetectFaces(job.face)
    await do(remember, job, output_dir=None)
    await do(remember, detection, FOUND)
    async with remember(output_dir=None) as memory:
        assert await earlier(memory, job) == Completed(job=job, result=RESULT, resumed=True)
    async with remember() as memory:
        assert await earlier(memory, detection) == Completed(job=detection, result=FOUND, resumed=True)
        assert await earlier(memory, job) is None


async def test_a_result_is_told_only_while_it_is_whole(remember: Remember, job: ImageSwap) -> None:
    path = await do(remember, job)
    assert path is not None
    path.write_bytes(b"the rest")
    async with remember() as memory:
        assert await earlier(memory, job) is None
        path.write_bytes(b"the result")
        assert await earlier(memory, job) == Completed(job=job, result=RESULT, path=path, resumed=True)


async def test_a_result_whose_job_is_called_otherwise_is_copied_and_known_by_its_new_name(
    remember: Remember, journal: Journal, job: ImageSwap
) -> None:
    path = await do(remember, job)
    assert path is not None
    async with remember() as memory:
        target = path.with_name("b.png")
        assert await earlier(memory, job, "b") == Completed(job=job, result=RESULT, path=target, resumed=True)
        assert target.read_bytes() == path.read_bytes()
    (record,) = await records(journal)
    assert (record.name, record.path, record.state) == ("b", "b.png", JobState.DONE)


async def test_a_new_name_is_written_down_though_there_is_no_file(
    remember: Remember, journal: Journal, job: ImageSwap
) -> None:
    await do(remember, job, output_dir=None)
    async with remember(output_dir=None) as memory:
        await earlier(memory, job, "b")
    assert [record.name for record in await records(journal)] == ["b"]


@pytest.mark.parametrize("is_asset", [False, True])
async def test_media_that_lie_where_their_result_should_are_not_taken_for_it(
    remember: Remember, job: ImageSwap, is_asset: bool
) -> None:
    """An asset lies nowhere."""
    if is_asset:
        job = ImageSwap(Asset("out/a.png"), job.face)
    path = await do(remember, job)
    assert path is not None
    if not is_asset:
        assert isinstance(job.media, Path)
        path.unlink()
        path.symlink_to(job.media)
    async with remember() as memory:
        outcome = await earlier(memory, job)
    assert isinstance(outcome, Completed) is is_asset


async def test_a_row_that_says_done_without_a_result_is_gone_on_with(
    remember: Remember, journal: Journal, job: ImageSwap
) -> None:
    async with remember() as memory:
        async with recalled(memory, job) as log:
            log.record.state = JobState.DONE
            await log.rewrite()
        assert await earlier(memory, job) is None


# What failed


@pytest.mark.parametrize("stage", [Stage.CREATE, Stage.WAIT])
async def test_what_failed_for_good_is_told_again(remember: Remember, job: ImageSwap, stage: Stage) -> None:
    async with remember() as memory, recalled(memory, job) as log:
        await memory.failed(log, NoFaceError("nobody there", task_id=9, stage=stage))
    async with remember() as memory:
        outcome = await earlier(memory, job)
    assert isinstance(outcome, Failed)
    assert (type(outcome.error), outcome.error.job, outcome.job) == (NoFaceError, job, job)
    assert (outcome.stage, outcome.task_id, outcome.resumed) == (stage, 9, True)


@pytest.mark.parametrize("is_known", [True, False])
async def test_what_failed_for_good_is_begun_anew(remember: Remember, job: ImageSwap, is_known: bool) -> None:
    """Where that is wanted, and where nobody knows why it has failed."""
    async with remember() as memory, recalled(memory, job) as log:
        log.record.tasks[TaskKind.IMAGE_SWAP] = 9
        await memory.failed(log, NoFaceError("nobody there"))
        if not is_known:
            log.record.error = None
            await log.rewrite()
    async with remember(retry_failed=is_known) as memory, recalled(memory, job) as log:
        assert await memory.outcome(JobRun(job), log, "a") is None
        assert (log.record.state, log.record.tasks) == (JobState.NEW, {})


@pytest.mark.parametrize(
    ("error", "for_good", "state", "is_kept"),
    [
        (NoFaceError("nobody there"), True, JobState.FAILED, True),
        (NoFaceError("nobody there"), False, JobState.UPLOADED, True),
        (ConnectError("nobody answers"), True, JobState.UPLOADED, True),
        (CreditsExhaustedError("none left"), True, JobState.UPLOADED, False),
    ],
    ids=["for good", "with its result", "in passing", "the batch"],
)
async def test_a_job_fails_for_good_only_of_what_it_would_meet_again(
    remember: Remember,
    journal: Journal,
    job: ImageSwap,
    error: FaceWarpError,
    for_good: bool,
    state: JobState,
    is_kept: bool,
) -> None:
    """What stops the batch is not the job's."""
    async with remember() as memory, recalled(memory, job) as log:
        await log.uploaded()
        await (memory.failed(log, error) if for_good else memory.failed(log, error, for_good=False))
    (record,) = await records(journal)
    assert (record.state, record.error is not None) == (state, is_kept)
    assert [each.step for each in parse_steps(record.steps)] == ["e"]
