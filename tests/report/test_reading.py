"""From a journal's records to what a report says: fates, reasons, costs, times, and which record of several counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from facewarp_async.errors import ConnectError, InDoubtError, JournalError, NoFaceError
from facewarp_async.journal import Ending, JobRecord, JobState, RunRecord
from facewarp_async.models import FaceDetection, ImageSwap, TaskKind
from facewarp_async.pipeline import SwapPipeline
from facewarp_async.report import Fate, JobReport, Phase, Report, read_report
from facewarp_async.report.reading import build_report
from facewarp_async.server import LocalService
from facewarp_async.urls import RemoteFile

MakeRecord = Callable[..., JobRecord]
MakeRun = Callable[..., RunRecord]
MakeSteps = Callable[[str], str]

OUT = Path("/results")


def build(records: Sequence[JobRecord], runs: Sequence[RunRecord] = (), **options: Any) -> Report:
    return build_report(records, runs, **{"folder": OUT, **options})


def only(records: Sequence[JobRecord], runs: Sequence[RunRecord] = (), **options: Any) -> JobReport:
    (job,) = build(records, runs, **options).jobs
    return job


def test_a_job_that_is_done_has_its_files_and_tasks(make_record: MakeRecord, make_run: MakeRun) -> None:
    job = only([make_record("a.jpg", source="/photos/a.jpg", path="sub/a.png")], [make_run()])
    assert (job.fate, job.before, job.after) == (Fate.DONE, Path("/photos/a.jpg"), OUT / "sub/a.png")
    assert (job.task_ids, job.reason, job.cost, job.what) == ([7], "", "", "image swap")


def test_a_failed_job_says_why_what_it_cost_and_what_to_do(make_record: MakeRecord, make_run: MakeRun) -> None:
    record = make_record("a.jpg", state=JobState.FAILED, error=NoFaceError("a.jpg: no face was found", task_id=7))
    job = only([record], [make_run()])
    assert (job.fate, job.reason) == (Fate.FAILED, "no face was found (code 602)")
    assert (job.cost, job.advice) == (
        "Credits were spent on task 7",
        "Use pictures in which the face is upright, uncovered and not too small",
    )


def test_of_what_is_free_nothing_is_said_of_credits(make_record: MakeRecord, make_run: MakeRun) -> None:
    record = make_record("a.jpg", state=JobState.FAILED, error=NoFaceError("no face", task_id=7))
    report = build([record], [make_run(provider="local")])
    assert report.is_free
    assert report.jobs[0].cost == ""
    assert not build([record]).is_free, "of old journals it is not known"


def test_what_may_pass_has_failed_until_it_is_tried_again(make_record: MakeRecord, make_steps: MakeSteps) -> None:
    error = ConnectError("no connection")
    record = make_record("a", state=JobState.UPLOADED, tasks={}, error=error, steps=make_steps("c0 u1 n2 e3"))
    assert only([record]).fate is Fate.FAILED
    record.steps += make_steps("c4 n5")
    job = only([record])
    assert (job.fate, job.reason) == (Fate.UNFINISHED, "begun, no task was created yet")


def test_a_job_of_which_the_answer_was_lost_is_in_doubt_also_after_a_crash(make_record: MakeRecord) -> None:
    lost = make_record(
        "a", state=JobState.INTENT, tasks={}, pending=TaskKind.IMAGE_SWAP, error=InDoubtError("the answer was lost")
    )
    killed = make_record("b", state=JobState.INTENT, tasks={}, pending=TaskKind.IMAGE_SWAP)
    first, second = build([lost, killed]).jobs
    assert {first.fate, second.fate} == {Fate.IN_DOUBT}
    assert {first.cost, second.cost} == {"Credits may have been spent"}
    assert (first.reason, "the run ended at that moment" in second.reason) == ("the answer was lost", True)


def test_a_job_whose_task_waits_says_so(make_record: MakeRecord) -> None:
    job = only([make_record("a", state=JobState.CREATED)])
    assert (job.fate, job.task_ids) == (Fate.UNFINISHED, [7])
    assert "its result was not fetched yet" in job.reason


def test_of_records_with_one_name_the_latest_counts_and_all_tasks_do(make_record: MakeRecord) -> None:
    old = make_record("a", key=b"1", updated_at=1.0, created=2)
    new = make_record("a", key=b"2", updated_at=2.0, state=JobState.FAILED, error=NoFaceError("none"))
    for records in ([old, new], [new, old]):
        report = build(records)
        assert [job.fate for job in report.jobs] == [Fate.FAILED]
        assert report.created == 3


def test_a_job_that_was_not_begun_again_keeps_what_is_known_of_it(make_record: MakeRecord) -> None:
    done = make_record("a", key=b"1", updated_at=1.0)
    skipped = make_record("a", key=b"2", updated_at=2.0, state=JobState.NEW, tasks={}, steps="")
    assert only([skipped, done]).fate is Fate.DONE
    assert only([skipped]).reason == "not begun"


def test_records_without_names_are_jobs_of_their_own(make_record: MakeRecord) -> None:
    assert len(build([make_record("a", name=""), make_record("b", name="")]).jobs) == 2


def test_failures_come_first_and_numbers_are_in_order(make_record: MakeRecord) -> None:
    names = ["img10", "img9", "img010", "b", "a", "²"]
    records = [make_record(name) for name in names]
    records += [make_record("z", state=JobState.FAILED, error=NoFaceError("none"))]
    assert [job.media for job in build(records).jobs][:5] == ["z", "a", "b", "img9", "img10"]


def test_the_phases_of_a_job_follow_each_other(make_record: MakeRecord, make_run: MakeRun) -> None:
    job = only([make_record("a")], [make_run()])
    assert [(span.phase, round(span.duration_s, 3)) for span in job.spans] == [
        (Phase.CHECK, 1.0),
        (Phase.UPLOAD, 2.0),
        (Phase.TURN, 3.0),
        (Phase.SERVICE, 10.0),
        (Phase.DOWNLOAD, 2.0),
    ]
    assert round(job.elapsed_s, 3) == 18.0


def test_what_was_cut_lasted_until_the_end_of_its_run(
    make_record: MakeRecord, make_run: MakeRun, make_steps: MakeSteps
) -> None:
    first = make_run(seen_at=make_run().began_at + 30, ending=None)
    second = make_run(began_at=first.began_at + 1000, seen_at=first.began_at + 1100)
    job = only([make_record("a", steps=make_steps("c0 u1 n3 t6 c1000 w1001 d1005 e1006"))], [first, second])
    assert [(span.phase, round(span.duration_s)) for span in job.spans][3:] == [
        (Phase.SERVICE, 24),
        (Phase.CHECK, 1),
        (Phase.SERVICE, 4),
        (Phase.DOWNLOAD, 1),
    ]


def test_a_clock_that_was_set_back_makes_no_negative_time(
    make_record: MakeRecord, make_run: MakeRun, make_steps: MakeSteps
) -> None:
    job = only([make_record("a", steps=make_steps("c5 u4 n9 t8 d7 e6"))], [make_run()])
    assert all(span.duration_s >= 0 for span in job.spans)


def test_each_run_has_its_tasks_and_calls(make_record: MakeRecord, make_run: MakeRun, make_steps: MakeSteps) -> None:
    first, second = make_run(), make_run(began_at=make_run().began_at + 1000, seen_at=make_run().began_at + 1010)
    records = [make_record("a"), make_record("b", steps=make_steps("c1000 u1001 n1002 t1003 e1004"), updated_at=9e9)]
    report = build(records, [first, second])
    assert [run.created for run in report.runs] == [1, 1]
    assert report.runs[0].calls == {"for upload URLs": 2, "looks at tasks": 3, "creates": 1}
    assert (report.calls, report.created) == (12, 2)
    assert [(job.media, job.is_earlier) for job in report.jobs] == [("a", True), ("b", False)]


def test_faces_that_were_found_are_counted(make_record: MakeRecord) -> None:
    record = make_record("a", kind=TaskKind.FACE_DETECTION, result=FaceDetection(task_id=7, faces=()))
    assert only([record]).what == "face detection: 0 found"


def test_a_result_elsewhere_is_named_without_its_secrets(make_record: MakeRecord) -> None:
    folder = RemoteFile("https://user:hunter2@example.com/out?sig=5ecret")
    job = only([make_record("a", path="a.png")], folder=folder)
    assert job.after is None
    assert job.elsewhere == "https://user:***@example.com/out/a.png?***"


@pytest.mark.anyio
async def test_a_real_batch_is_told_of_as_it_was(
    client: Any, local: LocalService, tmp_path: Path, make_file: Any
) -> None:
    face, out = make_file("me.png"), tmp_path / "out"
    jobs = [ImageSwap(make_file("a.png"), face), ImageSwap(tmp_path / "missing.png", face)]
    async with SwapPipeline(client, output_dir=out, journal=out / "batch.db") as pipeline:
        await pipeline.collect(jobs)
    report = await read_report(out / "batch.db", output_dir=out)
    failed, done = report.jobs
    assert (failed.fate, done.fate, report.created) == (Fate.FAILED, Fate.DONE, 1)
    assert (done.before, done.after) == (tmp_path / "a.png", out / "a.png")
    assert [span.phase for span in done.spans] == list(Phase)
    assert report.calls == sum(number for call, number in local.ledger.calls.items() if call.startswith("/v1"))
    assert [run.ending for run in report.runs] == [Ending.FINISHED]
    assert failed.reason == "cannot be read: No such file or directory"
    assert report.title == "out"


@pytest.mark.anyio
async def test_where_no_batch_has_run_there_is_nothing_to_tell_and_nothing_is_made(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match=r"batch\.db: there is no journal"):
        await read_report(tmp_path / "batch.db", output_dir=tmp_path)
    assert not (tmp_path / "batch.db").exists()
