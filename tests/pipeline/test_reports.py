"""What a batch's report counts."""

from __future__ import annotations

from facewarp_async.errors import NoFaceError, Stage
from facewarp_async.models import ImageResult, ImageSwap
from facewarp_async.pipeline import BatchReport, Completed, Failed, Outcome, Skipped

JOB = ImageSwap("a.png", "me.png")


def done(**durations_s: float) -> Completed:
    result = ImageResult(task_id=1, key="k", url="")
    return Completed(job=JOB, result=result, durations_s={Stage(name): s for name, s in durations_s.items()})


def test_a_report_counts_what_became_of_its_jobs_and_sums_how_long_they_were_at_what() -> None:
    outcomes: list[Outcome] = [
        done(upload=1.0, wait=2.0),
        done(upload=0.5),
        done(),
        Failed(job=JOB, error=NoFaceError("no"), stage=Stage.WAIT, durations_s={Stage.WAIT: 4.0, Stage.CHECK: 0.25}),
        Failed(job=JOB, error=NoFaceError("no"), stage=Stage.CHECK),
        Skipped(job=JOB, reason="stopped"),
    ]
    report = BatchReport(outcomes=outcomes, elapsed_s=9.0)
    assert (report.completed, report.failed, report.skipped) == (3, 2, 1)
    assert report.durations_s == {Stage.UPLOAD: 1.5, Stage.WAIT: 6.0, Stage.CHECK: 0.25}


def test_an_outcome_is_this_runs_and_has_no_file_unless_it_is_said() -> None:
    assert (done().resumed, done().path) == (False, None)
    failed = Failed(job=JOB, error=NoFaceError("no"), stage=Stage.WAIT)
    assert (failed.resumed, failed.task_id) == (False, None)


def test_of_an_empty_batch_there_is_nothing_to_count() -> None:
    report = BatchReport(outcomes=[], elapsed_s=0.0)
    assert (report.completed, report.failed, report.skipped, report.durations_s) == (0, 0, 0, {})


def test_a_report_shows_what_it_tells_and_not_how_it_counts() -> None:
    assert repr(BatchReport(outcomes=[], elapsed_s=1.5)) == "BatchReport(outcomes=[], elapsed_s=1.5, stopped_by=None)"
