"""What a batch tells as it goes, and its report."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from facewarp_async import BytesSent, DetectFaces, ImageSwap, Job, JobEnded, MultiFaceSwap, Stage, StageBegun
from facewarp_async.server import PUT, Fault, FaultPlan, FaultRule, InstantRunner
from tests.heads import PNG
from tests.pipeline.outcomes import completed, failed, work_errors

if TYPE_CHECKING:
    from tests.pipeline.conftest import Bench, HeldRunner, Serve

pytestmark = pytest.mark.anyio


async def test_events_tell_each_jobs_stages_and_its_end(bench: Bench) -> None:
    """Stages come in their order, a multiple swap goes through them twice, and the end comes last, with the outcome.

    Of each file that is uploaded the bytes are told, also of the face that all jobs share.
    """
    face = bench.picture("face")
    jobs: list[Job] = [
        ImageSwap(bench.picture("a"), face),
        MultiFaceSwap(bench.picture("b"), {0: face}),
        DetectFaces(bench.picture("c")),
        ImageSwap(bench.folder / "none.png", face),
    ]
    outcomes = await bench.outcomes(jobs)
    task = [Stage.UPLOAD, Stage.CREATE, Stage.WAIT]
    assert [bench.events.stages(index) for index in range(4)] == [
        [Stage.CHECK, *task, Stage.DOWNLOAD],
        [Stage.CHECK, *task, *task, Stage.DOWNLOAD],
        [Stage.CHECK, *task],
        [Stage.CHECK],
    ]
    for index, job in enumerate(jobs):
        own = [event for event in bench.events.all if event.index == index]
        assert all(isinstance(event, StageBegun | BytesSent) and event.job is job for event in own[:-1])
        assert own[-1] == JobEnded(index=index, outcome=outcomes[index])
    sent = [event for event in bench.events.all if isinstance(event, BytesSent)]
    assert {event.file for event in sent} == {face, *(job.media for job in jobs[:3])}
    assert len(sent) == 4
    sizes = {event.file.stem: event.size for event in sent}
    assert sizes == {label: len(PNG) + len(label) for label in ("a", "b", "c", "face")}
    assert all(event.sent == event.size for event in sent)


async def test_bytes_are_told_of_about_once_a_megabyte_and_anew_after_a_cut(serve: Serve) -> None:
    faults = FaultPlan([FaultRule(Fault.CUT_PUT, PUT, nth=2)])  # the first is the face
    size = 6_500_000
    async with serve(faults=faults) as bench:
        media = bench.file("large.png", PNG + bytes(size - len(PNG)))
        await bench.outcomes([ImageSwap(media, bench.picture("face"))])
        told = [event.sent for event in bench.events.all if isinstance(event, BytesSent) and event.file == media]
    beginnings = [place for place, sent in enumerate(told) if place and sent < told[place - 1]]
    assert len(beginnings) == 1
    again = told[beginnings[0] :]
    assert again[-1] == size
    assert again == sorted(set(again))
    assert len(again) <= 8
    assert all(later - sent >= 2**20 for sent, later in pairwise(again[:-1]))


@pytest.mark.slow
async def test_a_job_that_waits_for_its_turn_to_create_says_so(serve: Serve, held: HeldRunner) -> None:
    """Waiting for a task slot is part of creating, as waiting for an upload's is part of uploading."""
    async with serve(runner=held) as bench, bench.pipeline(in_flight=1) as pipeline:
        stream = pipeline.stream(bench.swaps(3))
        await held.until_begun(1)
        await bench.events.until(lambda log: len(log.begun(Stage.CREATE)) == 3)
        assert len(bench.ledger.creations) == 1
        held.let_go()
        assert all([completed(outcome) async for outcome in stream])


@pytest.mark.slow
async def test_the_report_counts_and_measures(serve: Serve) -> None:
    """Counts are of the outcomes, durations of the stages, and the elapsed time of the whole."""
    async with serve(runner=InstantRunner(duration_s=0.2, fail=work_errors)) as bench:
        jobs: list[Job] = [
            *bench.swaps(4),
            ImageSwap(bench.folder / "none.png", bench.folder / "none.png"),
            DetectFaces(bench.picture("code602")),
        ]
        async with bench.pipeline() as pipeline:
            report = await pipeline.collect(jobs)
    assert (report.completed, report.failed, report.skipped, report.stopped_by) == (4, 2, 0, None)
    assert 0.2 <= report.elapsed_s < 5
    assert set(report.durations_s) == set(Stage)
    assert 1.0 <= report.durations_s[Stage.WAIT] < 5 * report.elapsed_s
    for outcome in report.outcomes[:4]:
        assert sum(completed(outcome).durations_s.values()) <= report.elapsed_s
    assert set(failed(report.outcomes[4]).durations_s) == {Stage.CHECK}
    assert failed(report.outcomes[5]).durations_s[Stage.WAIT] >= 0.2


async def test_a_report_says_how_long_its_batch_took(bench: Bench) -> None:
    begun = time.monotonic()
    async with bench.pipeline() as pipeline:
        report = await pipeline.collect(bench.swaps(1))
    assert 0 < report.elapsed_s <= time.monotonic() - begun


async def test_a_job_that_failed_says_how_long_it_was_where_it_did_too(serve: Serve) -> None:
    async with serve(runner=InstantRunner(fail=work_errors)) as bench:
        (outcome,) = await bench.outcomes([DetectFaces(bench.picture("code602"))])
    assert failed(outcome).stage is Stage.WAIT
    assert set(failed(outcome).durations_s) == {Stage.CHECK, Stage.UPLOAD, Stage.CREATE, Stage.WAIT}


async def test_a_pipeline_keeps_nothing_of_jobs_that_have_ended(bench: Bench) -> None:
    """A source may have no end."""
    async with bench.pipeline() as pipeline:
        await pipeline.collect([*bench.swaps(2), DetectFaces(bench.folder / "none.png")])
        assert not pipeline._active


async def test_no_jobs_make_an_empty_report(bench: Bench) -> None:
    """Nothing to do is done at once, without a call."""
    async with bench.pipeline() as pipeline:
        report = await pipeline.collect([])
    assert (report.outcomes, report.completed, report.failed, report.skipped) == ([], 0, 0, 0)
    assert report.durations_s == {}
    assert not bench.ledger.calls
