"""Counting a batch from its events."""

from __future__ import annotations

from facewarp_async.cli.tally import Tally
from facewarp_async.errors import NoFaceError, Stage
from facewarp_async.models import ImageResult, ImageSwap
from facewarp_async.pipeline import Completed, Failed, JobEnded, Outcome, Skipped, StageBegun

JOB = ImageSwap("a.jpg", "face.jpg")
DONE = Completed(job=JOB, result=ImageResult(task_id=1, key="k", url="u"))
FAILED = Failed(job=JOB, error=NoFaceError("none"), stage=Stage.WAIT)
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
