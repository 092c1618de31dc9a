"""Counting a batch from its events."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from facewarp_async.cli.tally import MOST_NAMES, OpenTask, Tally
from facewarp_async.errors import InDoubtError, NoFaceError, Stage
from facewarp_async.models import ImageResult, ImageSwap, TaskKind
from facewarp_async.pipeline import BytesSent, Completed, Failed, JobEnded, Outcome, Skipped, StageBegun
from facewarp_async.policy.polling import TimeLeft

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


def sent(tally: Tally, index: int, *numbers: int, size: int = 1000, file: str = "a.jpg") -> None:
    for number in numbers:
        tally.count(BytesSent(index=index, job=JOB, file=Path(file), sent=number, size=size))


def test_bytes_are_counted_over_files_and_breaks() -> None:
    tally = Tally(total=3)
    sent(tally, 0, 100, file="face.jpg", size=100)
    sent(tally, 0, 300, 600)
    sent(tally, 1, 1000)
    sent(tally, 1, 400, 1000)  # sent again from its beginning
    sent(tally, 0, 1000)
    assert tally.sent_bytes == 100 + 1000 + 1000 + 1000
    assert tally.line() == "0 of 3 done, 0 created, 0 uploaded (3.1 kB)"


def test_the_parts_of_media_move_the_bar_and_faces_do_not() -> None:
    tally = Tally(total=3)
    sent(tally, 0, 100, file="face.jpg", size=100)
    assert tally.uploaded_share == 0
    sent(tally, 0, 250)
    sent(tally, 1, 500)
    assert tally.uploaded_share == 0.75
    tally.count(StageBegun(index=1, job=JOB, stage=Stage.CREATE))
    assert (tally.uploaded, tally.uploaded_share) == (1, 1.25)
    sent(tally, 1, 500)  # the service has lost it
    assert tally.uploaded_share == 1.25
    tally.count(JobEnded(index=0, outcome=FAILED))
    assert tally.uploaded_share == 1


def test_the_pace_is_that_of_late() -> None:
    now = 0.0
    tally = Tally(clock=lambda: now)
    assert tally.bytes_per_s() == 0
    for second in range(10):
        now = float(second)
        sent(tally, second, 2000, size=2000)
    assert tally.bytes_per_s() == 2000
    now = 11.0
    assert tally.bytes_per_s() == 2000 * 3 / 5
    now = 60.0
    assert tally.bytes_per_s() == 0


def test_tasks_run_from_their_creation_to_their_end() -> None:
    tally = tallied((0, Stage.CREATE), (1, Stage.WAIT), (2, Stage.WAIT))
    assert tally.running == 2
    assert tally.line() == "0 of 3 done, 2 created (2 running), 3 uploaded"
    tally.count(StageBegun(index=1, job=JOB, stage=Stage.DOWNLOAD))
    tally.count(JobEnded(index=2, outcome=FAILED))
    assert tally.running == 0
    tally.count(StageBegun(index=1, job=JOB, stage=Stage.WAIT))  # the second task of several faces
    assert tally.running == 1


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
    assert tally.left() == "", "it was not found out"
    tally.look_ahead()
    assert tally.left() == ", about 49 s left"
    tally.rate = 0.5
    tally.look_ahead()
    assert tally.left() == ", about 5 min 5 s left"


def test_what_was_done_before_takes_no_time() -> None:
    tally = Tally(total=11, clock=lambda: 5.0)
    for index in range(10):
        tally.count(JobEnded(index=index, outcome=BEFORE))
    tally.rate = 1
    tally.count(StageBegun(index=10, job=JOB, stage=Stage.WAIT))
    tally.look_ahead()
    assert tally.left() == ", about 1 s left"


def test_what_is_known_of_the_service_is_asked_only_when_it_looks_ahead() -> None:
    asked = list[tuple[dict[TaskKind, int], float]]()

    def foresee(upcoming: Mapping[TaskKind, int], over_s: float) -> TimeLeft:
        asked.append((dict(upcoming), over_s))
        return TimeLeft(77, 77)

    tally = Tally(total=8, clock=lambda: 1.0, foresee=foresee)
    for index in range(4):
        for stage in (Stage.CHECK, Stage.WAIT):
            tally.count(StageBegun(index=index, job=JOB, stage=stage))
    for index in range(2):
        tally.count(JobEnded(index=index, outcome=DONE))
    assert (tally.left(), asked) == ("", [])
    tally.look_ahead()
    assert asked == [({TaskKind.IMAGE_SWAP: 4}, 0.0)]
    for _ in range(3):
        assert tally.left() == ", about 1 min 17 s left"
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("least_s", "most_s", "text"),
    [
        (40, 41, "about 40 s"),
        (100, 130, "about 1 min 54 s"),
        (7, 19.4, "7 to 19 s"),
        (21, 64, "20 to 65 s"),
        (58, 119, "60 to 120 s"),
        (62, 170, "60 s to 3 min"),
        (150, 299, "2 to 5 min"),
        (1200, 7199, "20 to 120 min"),
        (3000, 9500, "50 min to 3 h"),
        (2, 20.1, "up to 20 s"),
        (0, 400, "up to 7 min"),
        (0.6, 1.4, "up to 1 s"),
        (0, 0, "about 0 s"),
    ],
)
def test_the_time_that_is_left_is_told_as_well_as_it_is_known(least_s: float, most_s: float, text: str) -> None:
    tally = Tally(total=2, clock=lambda: 5.0, foresee=lambda _upcoming, _over_s: TimeLeft(least_s, most_s))
    for index in range(2):
        tally.count(StageBegun(index=index, job=JOB, stage=Stage.WAIT))
    tally.count(JobEnded(index=0, outcome=DONE))
    tally.look_ahead()
    assert tally.left() == f", {text} left"
