"""One bad job stops no other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from facewarp_async import (
    Asset,
    Completed,
    DetectFaces,
    EmptyFileError,
    ImageSwap,
    Job,
    MissingFileError,
    MultiFaceSwap,
    NoFaceError,
    Stage,
    UnsupportedFormatError,
    VideoSwap,
)
from facewarp_async.server import CREATES, Fault, FaultRule, InstantRunner
from facewarp_async.wire.requests import CREATE_PATHS
from tests.pipeline.outcomes import completed, failed, work_errors

if TYPE_CHECKING:
    from tests.pipeline.conftest import Bench, Serve

pytestmark = pytest.mark.anyio


async def test_jobs_that_fail_stop_no_other(serve: Serve) -> None:
    """Each tells its own reason, code and stage; those between them are done."""
    async with serve(runner=InstantRunner(fail=work_errors)) as bench:
        face, wrong = bench.picture("face"), Asset("temporary/1/none.png")
        picture = await bench.client.upload(bench.picture("uploaded"))
        bad: list[tuple[Job, Stage, int | None, type[Exception]]] = [
            (ImageSwap(bench.folder / "missing.png", face), Stage.CHECK, None, MissingFileError),
            (ImageSwap(bench.file("empty.png", b""), face), Stage.CHECK, None, EmptyFileError),
            (ImageSwap(bench.file("text.png", b"rubbish"), face), Stage.CHECK, 703, UnsupportedFormatError),
            (ImageSwap(bench.folder, face), Stage.CHECK, None, MissingFileError),
            (ImageSwap(bench.video("film"), face), Stage.CHECK, 703, UnsupportedFormatError),
            (ImageSwap(bench.picture("x"), bench.video("face")), Stage.CHECK, 703, UnsupportedFormatError),
            (VideoSwap(bench.picture("y"), face), Stage.CHECK, 703, UnsupportedFormatError),
            (VideoSwap(picture, face), Stage.CHECK, 703, UnsupportedFormatError),
            (VideoSwap(Asset(picture.key), face), Stage.CREATE, 703, UnsupportedFormatError),
            (ImageSwap(wrong, face), Stage.CREATE, 702, Exception),
            (MultiFaceSwap(bench.picture("two"), {0: face, 2: face}), Stage.WAIT, 602, NoFaceError),
            *(
                (ImageSwap(bench.picture(f"code{code}"), face), Stage.WAIT, code, Exception)
                for code in (601, 602, 603, 604, 605)
            ),
        ]
        jobs: list[Job] = []
        for index, (job, *_) in enumerate(bad):
            jobs += [job, ImageSwap(bench.picture(f"good{index}"), face)]
        async with bench.pipeline() as pipeline:
            report = await pipeline.collect(jobs)
        assert [outcome.job for outcome in report.outcomes] == jobs
        assert (report.completed, report.failed, report.skipped) == (len(bad), len(bad), 0)
        assert report.stopped_by is None
        assert all(map(completed, report.outcomes[1::2]))
        for outcome, (job, stage, code, kind) in zip(report.outcomes[::2], bad, strict=True):
            error = failed(outcome).error
            assert isinstance(error, kind)
            assert (failed(outcome).stage, error.code) == (stage, code), error
            assert (error.job, error.stage, error.task_id) == (job, stage, failed(outcome).task_id)
            assert (error.task_id is not None) is (stage is Stage.WAIT)
            if not isinstance(job.media, Asset) and stage is Stage.CHECK:
                assert str(bench.folder) in str(error)
        assert not bench.ledger.paid_twice()
        assert bench.ledger.calls.keys() & set(CREATES) <= set(CREATE_PATHS.values())


async def test_files_that_cannot_be_used_make_no_calls(bench: Bench) -> None:
    """What the file shows fails before anything is sent, the other file of the job included."""
    jobs = [
        ImageSwap(bench.picture("a"), bench.folder / "missing.png"),
        ImageSwap(bench.picture("b"), bench.file("empty.png", b"")),
        MultiFaceSwap(bench.picture("c"), {0: bench.picture("d"), 1: bench.file("text.png", b"rubbish")}),
    ]
    assert all(map(failed, await bench.outcomes(jobs)))
    assert not bench.ledger.calls


async def test_an_upload_that_fails_fails_each_job_that_waits_for_it(serve: Serve) -> None:
    """Every job gets an error of its own; others go on, and the file is tried again for later jobs."""
    async with serve() as bench:
        other = await bench.client.upload(bench.picture("other"))
        bench.service.faults.add(FaultRule(Fault.REFUSED, "/v1/source/upload-url", code=400))
        jobs = [*(DetectFaces(bench.picture("face")) for _ in range(5)), DetectFaces(other)]
        *outcomes, last = await bench.outcomes(jobs, uploads=2)
        assert [(failed(outcome).error.code, failed(outcome).stage) for outcome in outcomes] == [
            (400, Stage.UPLOAD)
        ] * 5
        assert len({id(failed(outcome).error) for outcome in outcomes}) == 5
        assert [failed(outcome).error.job for outcome in outcomes] == jobs[:5]
        assert isinstance(last, Completed)
        bench.service.faults.clear()
        completed((await bench.outcomes(jobs[:1]))[0])
