"""Counting a batch from its events."""

from __future__ import annotations

from facewarp_async.cli.tally import MOST_NAMES, OpenTask, Tally
from facewarp_async.errors import InDoubtError, NoFaceError, Stage
from facewarp_async.models import ImageResult, ImageSwap
from facewarp_async.pipeline import Completed, Failed, JobEnded, Outcome, Skipped, StageBegun

JOB = ImageSwap("a.jpg", "face.jpg")
DONE = Completed(job=JOB, result=ImageResult(task_id=1, key="k", url="u"))
BEFORE = Completed(job=JOB, result=DONE.result, resumed=True)
FAILED = Failed(job=JOB, error=NoFaceError("none"), stage=Stage.WAIT, durations_s={Stage.WAIT: 1.0})
FAILED_BEFORE = Failed(job=JOB, error=NoFaceError("none"), stage=Stage.WAIT, resumed=True)
DOUBTED = Failed(job=JOB, error=InDoubtError("lost"), stage=Stage.CREATE, durations_s={Stage.CREATE: 1.0})
SKIPPED = Skipped(job=JOB, reason="stopped")


def tallied(*steps: tuple[int, Stage | Outcome]) -> Tally:
    tally = Tally(total=3)
    for index, step in steps:
        if isinstance(step, Stage):
            tally.count(StageBegun(index=index, job=JOB, stage=step))
        else:
            tally.count(JobEnded(index=index, outcome=step))
    return tally


def test_a_job_is_uploaded_when_its_creation_begins_and_created_when_its_waiting_does() -> None:
    tally = tallied((0, Stage.UPLOAD), (1, Stage.CREATE), (2, Stage.CREATE), (2, Stage.WAIT))
    assert (tally.uploaded, tally.created, tally.ended) == (2, 1, 0)


def test_a_stage_that_begins_again_counts_once() -> None:
    tally = tallied((0, Stage.CREATE), (0, Stage.UPLOAD), (0, Stage.CREATE), (0, Stage.WAIT), (0, Stage.WAIT))
    assert (tally.uploaded, tally.created) == (1, 1)


def test_a_task_of_an_earlier_run_counts_as_uploaded_too() -> None:
    tally = tallied((0, Stage.WAIT), (0, DONE))
    assert (tally.uploaded, tally.created, tally.done) == (1, 1, 1)


def test_ends_are_told_apart() -> None:
    tally = tallied((0, DONE), (1, FAILED), (2, SKIPPED))
    assert (tally.done, tally.failed, tally.skipped, tally.ended) == (1, 1, 1, 3)
    assert tally.line() == "1 of 3 done, 1 failed, 0 created, 0 uploaded"


def test_nothing_is_remembered_of_what_has_ended() -> None:
    tally = tallied(*((index, Stage.WAIT) for index in range(9)), *((index, DONE) for index in range(9)))
    assert tally._reached == {}


def test_what_was_done_before_is_done_in_all_its_stages() -> None:
    tally = tallied((0, Stage.CHECK), (0, BEFORE), (1, DONE), (2, FAILED_BEFORE))
    assert (tally.uploaded, tally.created, tally.done, tally.done_before) == (1, 1, 2, 1)
    assert tally.line() == "2 of 3 done (1 done before), 1 failed, 1 created, 1 uploaded"
    assert tally.summary() == "2 done (1 done before), 1 failed (1 before), 0 skipped"


def test_what_is_in_doubt_is_named_up_to_a_bound() -> None:
    tally = tallied(*((index, DOUBTED) for index in range(MOST_NAMES + 5)))
    assert tally.doubted == ["a.jpg"] * MOST_NAMES
    assert tally.summary() == f"0 done, {MOST_NAMES + 5} failed ({MOST_NAMES + 5} in doubt), 0 skipped"


def test_tasks_that_are_under_way_are_known_until_their_jobs_end() -> None:
    tally = Tally()
    for index in (1, 0, 2):
        tally.count(StageBegun(index=index, job=JOB, stage=Stage.WAIT, task_id=10 + index))
    tally.count(StageBegun(index=3, job=JOB, stage=Stage.CREATE))
    tally.count(JobEnded(index=2, outcome=DONE))
    assert tally.open_tasks == [OpenTask(10, "a.jpg"), OpenTask(11, "a.jpg")]


def test_the_end_is_foreseen_from_how_fast_jobs_end_and_never_before_its_calls_are_made() -> None:
    now = 0.0
    tally = Tally(total=100, clock=lambda: now)
    assert tally.left() == ""
    for index in range(50):
        tally.count(StageBegun(index=index, job=JOB, stage=Stage.WAIT))
        now += 1
        tally.count(JobEnded(index=index, outcome=DONE))
    assert tally.left() == ", about 49 s left"
    tally.rate = 0.5
    assert tally.left() == ", about 5 min 20 s left"


def test_what_was_done_before_takes_no_time() -> None:
    tally = Tally(total=11, clock=lambda: 5.0)
    for index in range(10):
        tally.count(JobEnded(index=index, outcome=BEFORE))
    tally.rate = 1
    tally.count(StageBegun(index=10, job=JOB, stage=Stage.WAIT))
    assert tally.left() == ", about 1 s left"
