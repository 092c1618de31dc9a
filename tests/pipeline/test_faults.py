"""Two hundred mixed jobs through a service where any call may go wrong."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from facewarp_async import (
    Asset,
    Completed,
    DetectFaces,
    EmptyFileError,
    FaceDetection,
    Failed,
    ImageSwap,
    InDoubtError,
    Job,
    MissingFileError,
    MultiFaceSwap,
    Outcome,
    Skipped,
    SourceNotFoundError,
    Stage,
    UnsupportedFormatError,
    VideoSwap,
)
from facewarp_async.models import TaskKind
from facewarp_async.server import CREATES, GET, PUT, Fault, FaultPlan, FaultRule
from facewarp_async.wire.requests import ACCESS_URL_PATH, TASK_PATH, UPLOAD_URL_PATH

if TYPE_CHECKING:
    from tests.pipeline.conftest import Bench, Serve

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

LOST_CREATES = ("RESET_BEFORE", "RESET_AFTER", "SERVER_ERROR", "BAD_GATEWAY", "HALF_DOCUMENT")
"""Faults after which nobody knows whether a task was created."""

BROKEN = {"missing": MissingFileError, "empty": EmptyFileError, "rubbish": UnsupportedFormatError}


def mixed(bench: Bench, number: int) -> list[Job]:
    """Make jobs of every kind: each with media of its own, the faces shared by many, some with broken files."""
    faces = [bench.picture(f"face{index}") for index in range(4)]
    bench.file("empty.png", b"")
    bench.file("rubbish.png", b"no picture")
    jobs: list[Job] = []
    for index in range(number):
        face, label = faces[index % len(faces)], f"media{index}"
        match index % 10:
            case 0 | 1 | 2 | 3:
                jobs.append(ImageSwap(bench.picture(label), face))
            case 4 | 5:
                jobs.append(VideoSwap(bench.video(label), face))
            case 6:
                jobs.append(MultiFaceSwap(bench.picture(label), {0: face, 1: faces[(index + 1) % len(faces)]}))
            case 7:
                jobs.append(MultiFaceSwap(bench.video(label), {1: face}))
            case 8:
                jobs.append(DetectFaces(bench.picture(label)))
            case _:
                jobs.append(ImageSwap(bench.folder / f"{list(BROKEN)[index % 3]}.png", face))
    return jobs


def files_of(job: Job) -> list[Path]:
    faces = job.faces.values() if isinstance(job, MultiFaceSwap) else [] if isinstance(job, DetectFaces) else [job.face]
    return [file for file in (job.media, *faces) if not isinstance(file, Asset)]


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def tasks_of(job: Job) -> int:
    return 2 if isinstance(job, MultiFaceSwap) else 1


def check_outcome(outcome: Outcome, job: Job, bench: Bench) -> None:
    """Each is completed with the right file, or failed for a reason that has a name here."""
    match outcome:
        case Completed(result=result, path=path):
            assert job.media not in {bench.folder / f"{name}.png" for name in BROKEN}
            if isinstance(job, DetectFaces):
                assert isinstance(result, FaceDetection)
                assert path is None
            else:
                assert isinstance(job.media, Path)
                assert isinstance(path, Path)
                assert path.read_bytes() == job.media.read_bytes()
        case Failed(error=error, stage=stage, task_id=task_id) if isinstance(error, tuple(BROKEN.values())):
            assert isinstance(job.media, Path)
            assert isinstance(error, BROKEN[job.media.stem])
            assert (stage, task_id) == (Stage.CHECK, None)
        case Failed(error=error, stage=stage, task_id=task_id) if isinstance(error, InDoubtError):
            assert stage is Stage.CREATE
            assert (task_id is None) or isinstance(job, MultiFaceSwap)
        case Failed(error=error, stage=stage) if isinstance(error, SourceNotFoundError):
            # Once more is all that is done about a file that the service loses.
            assert stage in {Stage.CREATE, Stage.WAIT}
            assert any(bench.ledger.contents[md5(path)] >= 2 for path in files_of(job))
        case _:
            raise AssertionError(outcome)


def check_ledger(bench: Bench, jobs: list[Job], outcomes: list[Outcome]) -> None:
    """No more was sent than the jobs and the faults that were played make necessary."""
    ledger, faults = bench.ledger, bench.ledger.faults

    def played(calls: set[str] | frozenset[str], *names: str) -> int:
        return sum(count for (call, name), count in faults.items() if call in calls and (not names or name in names))

    # Tasks: each is paid for once, each lost answer leaves one job in doubt, and each task that is known has its job.
    assert ledger.paid_twice() == []
    doubtful = [outcome for outcome in outcomes if isinstance(outcome, Failed) and outcome.error.paid is None]
    assert len(doubtful) == played(CREATES, *LOST_CREATES)
    done = [outcome for outcome in outcomes if isinstance(outcome, Completed)]
    known = {outcome.result.task_id for outcome in done}
    known |= {outcome.task_id for outcome in outcomes if isinstance(outcome, Failed) and outcome.task_id is not None}
    detections = {
        creation.task_id
        for creation in ledger.creations
        if creation.kind is TaskKind.FACE_DETECTION and creation.task_id not in known
    }
    orphans = {creation.task_id for creation in ledger.creations} - known - detections
    assert len(orphans) <= played(CREATES, "RESET_AFTER", "HALF_DOCUMENT")
    needed = sum(map(tasks_of, (outcome.job for outcome in done)))
    assert needed <= len(ledger.creations) <= sum(map(tasks_of, jobs))

    # Creates: one for each task or doubt, and one more for each refusal, which costs nothing.
    calls = sum(ledger.calls[call] for call in CREATES)
    refused = sum(count for (call, _), count in ledger.refusals.items() if call in CREATES)
    silent = played(CREATES, "RESET_BEFORE", "SERVER_ERROR", "BAD_GATEWAY")
    assert calls == len(ledger.creations) + refused + played(CREATES, "RATE_LIMITED") + silent

    # Uploads: each content once, and once more for each time that its body or the answer to it was lost.
    used = {md5(path) for outcome in outcomes if not _is_broken(outcome) for path in files_of(outcome.job)}
    assert set(ledger.contents) <= used
    again = sum(ledger.contents.values()) - len(ledger.contents)
    assert again <= played({PUT}, "RESET_AFTER", "FORGET_UPLOAD")
    assert ledger.calls[PUT] - ledger.contents.total() == played({PUT}) - played(
        {PUT}, "RESET_AFTER", "FORGET_UPLOAD", "SLOW"
    )
    lost = played({UPLOAD_URL_PATH}) - played({UPLOAD_URL_PATH}, "SLOW", "WRONG_TYPES")
    flights = len(ledger.contents) + played({PUT}, "FORGET_UPLOAD", "EXPIRED_URL")
    assert ledger.calls[UPLOAD_URL_PATH] <= flights + lost

    # Downloads: one for each result, and one more for each fault; a fresh URL only where the storage refused one.
    fetched = sum(outcome.path is not None for outcome in done)
    assert ledger.calls[GET] == fetched + played({GET}) - played({GET}, "SLOW")
    renewed = played({GET}, "EXPIRED_URL")
    assert ledger.calls[ACCESS_URL_PATH] <= renewed + played({ACCESS_URL_PATH})
    assert ledger.calls[TASK_PATH] >= len(done)


def _is_broken(outcome: Outcome) -> bool:
    return isinstance(outcome, Failed) and isinstance(outcome.error, tuple(BROKEN.values()))


@pytest.mark.parametrize("seed", range(3))
async def test_all_jobs_come_back_in_order_with_nothing_done_twice(serve: Serve, seed: int) -> None:
    """One call in twenty goes wrong, in any of the ways that pass: what is lost is named, and nothing is wasted."""
    async with serve(faults=FaultPlan.everywhere(0.05, seed)) as bench:
        jobs = mixed(bench, 200)
        async with bench.pipeline(in_flight=32) as pipeline:
            outcomes = [outcome async for outcome in pipeline.stream(jobs)]
        assert [outcome.job for outcome in outcomes] == jobs
        for outcome, job in zip(outcomes, jobs, strict=True):
            check_outcome(outcome, job, bench)
        check_ledger(bench, jobs, outcomes)
        counts = Counter(type(outcome) for outcome in outcomes)
        assert counts[Skipped] == 0
        assert counts[Completed] >= 150
        assert len({fault for _, fault in bench.ledger.faults}) >= 10


async def test_without_faults_the_same_jobs_need_no_call_too_many(serve: Serve) -> None:
    """One grant and one upload for each content, one create for each task, one download for each result."""
    async with serve() as bench:
        jobs = mixed(bench, 100)
        outcomes = await bench.outcomes(jobs)
        for outcome, job in zip(outcomes, jobs, strict=True):
            check_outcome(outcome, job, bench)
        check_ledger(bench, jobs, outcomes)
        ledger = bench.ledger
        assert sum(isinstance(outcome, Completed) for outcome in outcomes) == 90
        assert ledger.calls[PUT] == ledger.calls[UPLOAD_URL_PATH] == len(ledger.contents) == 94
        assert sum(ledger.calls[call] for call in CREATES) == len(ledger.creations) == 90 + 20
        assert ledger.calls[GET] == 80
        assert ledger.calls[ACCESS_URL_PATH] == 0
        assert not ledger.refusals


async def test_waiting_is_patient_and_creating_is_not(serve: Serve) -> None:
    """Where half of all looks at tasks fail every job is done; where half of all creates do, each loss is in doubt."""
    passing = (Fault.RESET_BEFORE, Fault.RESET_AFTER, Fault.SERVER_ERROR, Fault.BAD_GATEWAY, Fault.HALF_DOCUMENT)
    plan = FaultPlan(seed=7)
    async with serve(faults=plan) as bench:
        plan.add(FaultRule(passing, TASK_PATH, probability=0.5))
        outcomes = await bench.outcomes(bench.swaps(30))
        assert all(isinstance(outcome, Completed) for outcome in outcomes)
        plan.clear()
        plan.add(FaultRule(passing, CREATES, probability=0.5))
        face = bench.picture("face")
        jobs = [ImageSwap(bench.picture(f"other{index}"), face) for index in range(30)]
        outcomes = await bench.outcomes(jobs)
        lost = [outcome for outcome in outcomes if isinstance(outcome, Failed)]
        assert len(lost) == sum(count for (call, _), count in bench.ledger.faults.items() if call in CREATES) > 5
        assert {type(outcome.error) for outcome in lost} == {InDoubtError}
        assert not bench.ledger.paid_twice()
