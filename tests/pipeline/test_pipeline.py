"""Many jobs through their stages, against the service: order, limits, sharing, and jobs that fail alone."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from facewarp_async import (
    Asset,
    BytesSent,
    Completed,
    ConfigurationError,
    DetectFaces,
    EmptyFileError,
    FaceDetection,
    FaceSwapClient,
    Failed,
    ImageResult,
    ImageSwap,
    Job,
    JobEnded,
    MissingFileError,
    MultiFaceSwap,
    NoFaceError,
    OutputError,
    Skipped,
    Stage,
    StageBegun,
    SwapPipeline,
    UnsupportedFormatError,
    VideoResult,
    VideoSwap,
    jobs_from_folder,
)
from facewarp_async.models import TaskKind
from facewarp_async.policy.polling import FixedPolling, PollPolicy
from facewarp_async.server import CREATES, PUT, Fault, FaultPlan, FaultRule, InstantRunner, Work, WorkError
from facewarp_async.session import Pacer
from facewarp_async.wire.requests import CREATE_PATHS

if TYPE_CHECKING:
    from tests.pipeline.conftest import Bench, HeldRunner, Hold, Serve

pytestmark = pytest.mark.anyio

PNG = b"\x89PNG\r\n\x1a\n"


def completed(outcome: object) -> Completed:
    assert isinstance(outcome, Completed), outcome
    return outcome


def failed(outcome: object) -> Failed:
    assert isinstance(outcome, Failed), outcome
    return outcome


# Order, reading and leaving


@pytest.mark.slow
async def test_outcomes_come_in_the_order_of_the_jobs_whatever_finishes_first(serve: Serve, held: HeldRunner) -> None:
    """Tasks that end backwards give outcomes in input order, and files under their jobs' names."""
    async with serve(runner=held) as bench:
        jobs = bench.swaps(8)
        async with bench.pipeline() as pipeline:
            stream = pipeline.stream(jobs)
            await held.until_begun(8)
            for index in reversed(range(8)):
                held.let_go(str(index))
                await bench.events.until(lambda log, index=index: index in log.ended())  # type: ignore[misc]
            outcomes = [completed(outcome) async for outcome in stream]
        assert [outcome.job for outcome in outcomes] == jobs
        assert [outcome.path for outcome in outcomes] == [bench.out / f"{index}.png" for index in range(8)]
        assert [(bench.out / f"{index}.png").read_bytes() for index in range(8)] == [
            PNG + b"%d" % index for index in range(8)
        ]
        assert bench.events.ended() == list(reversed(range(8)))


@pytest.mark.slow
async def test_unordered_outcomes_come_as_they_finish(serve: Serve, held: HeldRunner) -> None:
    """Tasks that end backwards give outcomes backwards."""
    async with serve(runner=held) as bench:
        jobs = bench.swaps(6)
        async with bench.pipeline() as pipeline:
            stream = pipeline.stream(jobs, ordered=False)
            await held.until_begun(6)
            for index in reversed(range(6)):
                held.let_go(str(index))
                assert (await anext(stream)).job == jobs[index]


async def test_outcomes_are_values_to_match_on(bench: Bench) -> None:
    """The match statement of the documentation works, and the members have the types it needs."""
    face = bench.picture("face")
    jobs = [ImageSwap(bench.picture("a"), face), ImageSwap(bench.folder / "none.png", face)]
    seen = []
    async with bench.pipeline() as pipeline:
        async for outcome in pipeline.stream(jobs):
            match outcome:
                case Completed(job=job, result=result, path=path):
                    assert isinstance(result, ImageResult)
                    seen.append(("completed", job, path))
                case Failed(job=job, error=error, stage=stage, task_id=task_id):
                    assert isinstance(error, MissingFileError)
                    seen.append(("failed", job, None))
                    assert (stage, task_id) == (Stage.CHECK, None)
                case Skipped(job=job, reason=reason):
                    raise AssertionError(reason)
    assert seen == [("completed", jobs[0], bench.out / "a.png"), ("failed", jobs[1], None)]


@pytest.mark.parametrize("kind", ["generator", "async generator"])
@pytest.mark.slow
async def test_jobs_are_read_lazily_and_no_further_than_allowed(bench: Bench, kind: str) -> None:
    """With a consumer that takes nothing, only so many jobs are read, uploaded and paid for."""
    jobs, read = bench.swaps(30), []

    def generate() -> Iterator[Job]:
        for job in jobs:
            read.append(job)
            yield job

    async def generate_async() -> AsyncIterator[Job]:
        for job in generate():
            yield job

    async with bench.pipeline(read_ahead=4) as pipeline:
        stream = pipeline.stream(generate() if kind == "generator" else generate_async())
        for taken in range(5):
            await bench.events.until(lambda log, taken=taken: len(log.ended()) == 4 + taken)  # type: ignore[misc]
            assert len(read) == len(bench.ledger.creations) == 4 + taken
            assert (await anext(stream)).job == jobs[taken]
        rest = [outcome.job async for outcome in stream]
    assert rest == jobs[5:]


@pytest.mark.slow
async def test_a_first_job_that_takes_longest_holds_back_no_more_than_allowed(serve: Serve, held: HeldRunner) -> None:
    """While the first task is held, as many jobs as may be read ahead are done, and no more is begun."""
    async with serve(runner=held) as bench:
        jobs = bench.swaps(20)
        held.let_go(*(str(index) for index in range(1, 20)))
        async with bench.pipeline(read_ahead=6, in_flight=2) as pipeline:
            stream = pipeline.stream(iter(jobs))
            await bench.events.until(lambda log: len(log.ended()) == 5)
            assert len(bench.ledger.creations) == 6
            assert len(bench.events.begun(Stage.CHECK)) == 6
            held.let_go()
            assert [outcome.job async for outcome in stream] == jobs
    assert held.most_working <= 2


async def test_the_jobs_of_a_folder_run_as_they_are_found(bench: Bench) -> None:
    """Pictures and videos are told by their bytes, results lie as the media do, what only looks like media fails."""
    for name in ("b/2", "b/deep/3", "1"):
        bench.picture(name)
    bench.video("a/film")
    bench.file("a/fake.png", b"text")
    bench.file("a/notes.txt", b"text")
    face = bench.file("../me.png", PNG + b"me")
    out = bench.folder / "results"
    for _ in range(2):  # the second time there are results in the folder, which are not its jobs
        outcomes = await bench.outcomes(jobs_from_folder(bench.folder, face=face, output_dir=out), output_dir=out)
    names = [outcome.job.name for outcome in outcomes]
    assert names == ["1", "a/fake", "a/film", "b/2", "b/deep/3"]
    assert isinstance(failed(outcomes.pop(1)).error, UnsupportedFormatError)
    paths = [completed(outcome).path for outcome in outcomes]
    assert paths == [out / name for name in ("1.png", "a/film.mp4", "b/2.png", "b/deep/3.png")]
    assert all(isinstance(path, Path) and path.is_file() for path in paths)


# Limits


async def test_the_pacer_is_told_how_many_jobs_are_left_while_they_run(bench: Bench) -> None:
    """Near the end, looks may then wait until the last tasks were created."""
    pacer = CountingPacer(None, FixedPolling(image_s=0.01))
    jobs = bench.swaps(3)
    async with (
        FaceSwapClient(bench.service.provider, bench.service.auth, pacer=pacer) as client,
        SwapPipeline(client, output_dir=bench.out) as pipeline,
    ):
        stream = pipeline.stream(jobs)
        assert [completed(await anext(stream)).job for _ in range(2)] == jobs[:2]
        assert [left() for left in pacer.counted] in ([0], [1])
        assert [completed(outcome).job async for outcome in stream] == jobs[2:]
    assert pacer.counted == []


class CountingPacer(Pacer):
    """Shows what it counts."""

    def __init__(self, requests_per_second: float | None, policy: PollPolicy) -> None:
        super().__init__(requests_per_second, policy)
        self.counted = list[Callable[[], float]]()

    @contextmanager
    def counting(self, left: Callable[[], float]) -> Iterator[None]:
        self.counted.append(left)
        try:
            with super().counting(left):
                yield
        finally:
            self.counted.remove(left)


@pytest.mark.slow
async def test_tasks_in_flight_keep_their_limit_and_hold_no_upload_slot(serve: Serve, held: HeldRunner) -> None:
    """With three tasks held and one upload slot, all files are uploaded and no fourth task is created."""
    async with serve(runner=held) as bench:
        async with bench.pipeline(in_flight=3, uploads=1) as pipeline:
            stream = pipeline.stream(bench.swaps(10))
            await held.until_begun(3)
            await bench.events.until(lambda log: len(log.begun(Stage.CREATE)) == 10)
            assert bench.ledger.uploads.total() == 11
            assert len(bench.ledger.creations) == 3
            held.let_go()
            assert all([completed(outcome) async for outcome in stream])
        assert held.most_working == 3
        assert len(bench.ledger.creations) == 10


@pytest.mark.slow
async def test_an_upload_that_does_not_move_holds_no_task_slot(serve: Serve, hold: type[Hold]) -> None:
    """With one slot of each, jobs whose files are there already get their tasks beside a stuck upload."""
    stuck = hold(PUT)
    async with serve() as bench:
        face = await bench.client.upload(bench.picture("face"))
        there = [await bench.client.upload(bench.picture(str(index))) for index in range(3)]
        bench.service.faults.add(stuck.rule)
        jobs = [ImageSwap(bench.picture("stuck"), face), *(ImageSwap(asset, face) for asset in there)]
        async with bench.pipeline(uploads=1, in_flight=1, downloads=1) as pipeline:
            stream = pipeline.stream(jobs, ordered=False)
            await stuck.until_arrived()
            done = [completed(await anext(stream)).job for _ in there]
        assert sorted(done, key=str) == sorted(jobs[1:], key=str)


@pytest.mark.slow
async def test_a_download_that_does_not_move_holds_no_task_slot(
    serve: Serve, held: HeldRunner, hold: type[Hold]
) -> None:
    """With one slot of each, the next task is worked on beside a stuck download."""
    stuck = hold("get")
    async with serve(runner=held, faults=FaultPlan([stuck.rule])) as bench:
        async with bench.pipeline(uploads=1, in_flight=1, downloads=1) as pipeline:
            pipeline.stream(bench.swaps(3))
            held.let_go()
            await held.until_begun(3)
            await bench.events.until(lambda log: len(log.begun(Stage.DOWNLOAD)) == 3)
            assert stuck.arrived == 1
        assert held.most_working == 1


@pytest.mark.slow
@pytest.mark.parametrize(("call", "limit"), [(PUT, "uploads"), ("get", "downloads")])
async def test_transfers_keep_their_limit(serve: Serve, call: str, limit: str) -> None:
    """Transfers that take their time, two at once, take half as long together as one after the other, and no less."""
    async with serve(faults=FaultPlan([FaultRule(Fault.SLOW, call, delay_s=0.05)])) as bench:
        jobs: list[Job] = [ImageSwap(bench.picture(str(index)), bench.picture(f"face{index}")) for index in range(4)]
        transfers = 8 if call == PUT else 4
        begun = time.monotonic()
        outcomes = await bench.outcomes(jobs, **{limit: 2})
        assert time.monotonic() - begun >= 0.05 * transfers / 2
        assert all(map(completed, outcomes))
        assert bench.ledger.calls[call] == transfers


@pytest.mark.slow
async def test_two_streams_share_the_limits_and_the_names_of_their_pipeline(serve: Serve, held: HeldRunner) -> None:
    """Each stream has its jobs' outcomes in their order; limits and names are the pipeline's."""
    async with serve(runner=held) as bench:
        face = bench.picture("face")
        first, second = (
            [ImageSwap(bench.picture(f"{n}{i}", f"{n}/{i}.png"), face) for i in range(5)] for n in range(2)
        )
        async with bench.pipeline(in_flight=3) as pipeline:
            streams = pipeline.stream(first), pipeline.stream(second)
            await held.until_begun(3)
            held.let_go()
            outcomes = [[completed(outcome) async for outcome in stream] for stream in streams]
        assert [[outcome.job for outcome in part] for part in outcomes] == [first, second]
        assert held.most_working == 3
        paths = {outcome.path for part in outcomes for outcome in part}
        assert paths == {bench.out / f"{i}{more}.png" for i in range(5) for more in ("", "-2")}
        bodies = sorted(path.read_bytes() for path in bench.out.iterdir())
        assert bodies == sorted(PNG + f"{n}{i}".encode() for n in range(2) for i in range(5))


# Each file once


@pytest.mark.slow
async def test_a_hundred_jobs_with_one_face_upload_it_once(bench: Bench) -> None:
    """So do files of the same content under many names, at the same time."""
    faces = [bench.picture("face", f"face{index}.png") for index in range(4)]
    jobs = [ImageSwap(bench.picture(str(index)), faces[index % 4]) for index in range(100)]
    report_jobs = [completed(outcome).job for outcome in await bench.outcomes(jobs)]
    assert report_jobs == jobs
    assert set(bench.ledger.contents.values()) == {1}
    assert len(bench.ledger.contents) == 101
    assert len(bench.ledger.creations) == 100


@pytest.mark.slow
async def test_an_upload_that_was_forgotten_is_made_once_more_for_all(serve: Serve) -> None:
    """The face's key is lost when the first task is created: one more upload serves all jobs."""
    async with serve() as bench:
        face = bench.picture("face")
        lost = await bench.client.shared_uploads.asset(await _inspected(face), slot=anyio.Semaphore(1))
        await bench.service.forget(lost.key)
        outcomes = await bench.outcomes([ImageSwap(bench.picture(str(index)), face) for index in range(20)])
        assert all(map(completed, outcomes))
        assert sorted(bench.ledger.contents.values()) == [1] * 20 + [2]
        assert len(bench.ledger.creations) == 20


async def test_two_files_of_a_job_may_each_be_forgotten_once(serve: Serve) -> None:
    """Each upload is made once more, whether or not another one was."""
    async with serve() as bench:
        media, face = bench.picture("media"), bench.picture("face")
        for path in (media, face):
            asset = await bench.client.shared_uploads.asset(await _inspected(path), slot=anyio.Semaphore(1))
            await bench.service.forget(asset.key)
        completed((await bench.outcomes([ImageSwap(media, face)]))[0])
        assert sorted(bench.ledger.contents.values()) == [2, 2]


async def test_an_upload_that_is_forgotten_again_fails_its_job(serve: Serve) -> None:
    """Once more is once: the second loss of the same file is told."""
    async with serve(faults=FaultPlan([FaultRule(Fault.FORGET_UPLOAD, PUT)])) as bench:
        outcome = failed((await bench.outcomes([DetectFaces(bench.picture("media"))]))[0])
        assert (outcome.error.code, outcome.stage, outcome.task_id) == (702, Stage.CREATE, None)
        assert list(bench.ledger.contents.values()) == [2]
        assert not bench.ledger.creations


async def _inspected(path: Path) -> Any:
    from facewarp_async.files import inspect  # noqa: PLC0415

    return await inspect(path)


# One bad job stops nothing


def work_errors(work: Work) -> None:
    """Fail a task with the code that stands in its media."""
    label = work.media.read_bytes()[len(PNG) :].decode(errors="replace")
    if label.startswith("code"):
        raise WorkError(int(label.removeprefix("code")), "as asked")


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


# Kinds of jobs, names, events, the report


async def test_every_kind_of_job_has_its_tasks_and_result(bench: Bench) -> None:
    """Swaps are fetched with their own extension; detections are not; a multiple swap pays for a detection first."""
    face = bench.picture("face")
    jobs: list[Job] = [
        ImageSwap(bench.picture("a"), face, hd=True),
        VideoSwap(bench.video("b"), face),
        MultiFaceSwap(bench.picture("c"), {1: face, 0: bench.picture("other")}),
        MultiFaceSwap(bench.video("d"), {0: face}),
        DetectFaces(bench.picture("e")),
        DetectFaces(bench.video("f")),
    ]
    outcomes = [completed(outcome) for outcome in await bench.outcomes(jobs)]
    files = [None if outcome.path is None else outcome.path.name for outcome in outcomes]
    assert files == ["a.png", "b.mp4", "c.png", "d.mp4", None, None]
    kinds = [ImageResult, VideoResult, ImageResult, VideoResult, FaceDetection, FaceDetection]
    assert [type(outcome.result) for outcome in outcomes] == kinds
    made = {creation.task_id: creation.kind for creation in bench.ledger.creations}
    assert [made[outcome.result.task_id] for outcome in outcomes] == [
        TaskKind.IMAGE_SWAP,
        TaskKind.VIDEO_SWAP,
        TaskKind.MULTI_IMAGE_SWAP,
        TaskKind.MULTI_VIDEO_SWAP,
        TaskKind.FACE_DETECTION,
        TaskKind.FACE_DETECTION,
    ]
    assert len(made) == 8
    assert (bench.out / "d.mp4").read_bytes().endswith(b"d")


async def test_a_multiple_swap_pairs_each_face_with_the_one_it_names(bench: Bench) -> None:
    """The keys of its task are the media, then each crop with the picture of the face to put in."""
    zero, one = bench.picture("zero"), bench.picture("one")
    await bench.outcomes([MultiFaceSwap(bench.picture("media"), {1: one, 0: zero})])
    detection, swap = bench.ledger.creations
    found = (await bench.client.get_task(detection.task_id, TaskKind.FACE_DETECTION)).result
    assert isinstance(found, FaceDetection)
    keys = swap.keys
    assert [keys[1], keys[3]] == [found.faces[1].key, found.faces[0].key]
    uploads = bench.client.shared_uploads
    expected = [(await uploads.asset(await _inspected(path), slot=anyio.Semaphore(1))).key for path in (one, zero)]
    assert [keys[2], keys[4]] == expected


async def test_jobs_may_name_assets_that_are_uploaded_already(bench: Bench) -> None:
    """They upload nothing, and their results are called by their keys."""
    media, face = [await bench.client.upload(bench.picture(name)) for name in ("media", "face")]
    film = Asset((await bench.client.upload(bench.video("film"))).key)
    uploads = bench.ledger.calls[PUT]
    jobs = [ImageSwap(media, face), VideoSwap(film, face), MultiFaceSwap(film, {0: face}, name="multi")]
    outcomes = [completed(outcome) for outcome in await bench.outcomes(jobs)]
    assert bench.ledger.calls[PUT] == uploads
    stems = [outcome.path.stem for outcome in outcomes if outcome.path]
    assert stems == [Path(media.key).stem, Path(film.key).stem, "multi"]
    assert bench.ledger.creations[-1].kind is TaskKind.MULTI_VIDEO_SWAP


async def test_media_of_the_same_name_get_results_of_their_own(bench: Bench) -> None:
    """Two folders, one name: two results, and the numbers depend on the jobs' order alone."""
    face = bench.picture("face")
    jobs = [ImageSwap(bench.picture(label, f"{label}/photo.png"), face) for label in ("one", "two", "three")]
    outcomes = [completed(outcome) for outcome in await bench.outcomes(jobs)]
    assert [outcome.path for outcome in outcomes] == [
        bench.out / name for name in ("photo.png", "photo-2.png", "photo-3.png")
    ]
    assert [outcome.path.read_bytes() for outcome in outcomes if isinstance(outcome.path, Path)] == [
        PNG + label for label in (b"one", b"two", b"three")
    ]


@pytest.mark.parametrize("way", ["same folder", "another spelling", "linked folder", "linked file"])
async def test_a_result_never_replaces_the_media(bench: Bench, way: str) -> None:
    """The job fails instead, and says so; the task's id tells where the result is."""
    media, face = bench.picture("a", "photos/a.png"), bench.picture("face")
    output_dir = media.parent
    if way == "another spelling":
        output_dir = bench.folder / "photos" / ".." / "photos"
    if way == "linked folder":
        output_dir = bench.folder / "link"
        output_dir.symlink_to(media.parent)
    if way == "linked file":
        media = bench.folder / "a.png"
        media.symlink_to(bench.folder / "photos" / "a.png")
    jobs = [ImageSwap(media, face), ImageSwap(bench.picture("b"), face)]
    before = media.read_bytes()
    outcomes = await bench.outcomes(jobs, output_dir=output_dir)
    outcome = failed(outcomes[0])
    assert isinstance(outcome.error, OutputError)
    assert outcome.stage is Stage.DOWNLOAD
    assert outcome.task_id is not None
    assert media.read_bytes() == before
    assert isinstance(outcomes[1], Completed)


async def test_without_an_output_folder_nothing_is_fetched(bench: Bench) -> None:
    """The results are told all the same."""
    outcome = completed((await bench.outcomes(bench.swaps(1), output_dir=None))[0])
    assert outcome.path is None
    assert bench.ledger.calls["get"] == 0
    assert isinstance(outcome.result, ImageResult)


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


# Misuse


async def test_a_pipeline_has_to_be_entered_and_only_once(bench: Bench) -> None:
    """Each mistake is told in words."""
    pipeline = bench.pipeline()
    with pytest.raises(ConfigurationError, match="enter the pipeline first"):
        pipeline.stream([])
    with pytest.raises(ConfigurationError, match="enter the pipeline first"):
        await pipeline.collect([])
    async with pipeline:
        with pytest.raises(ConfigurationError, match="entered once"):
            await pipeline.__aenter__()
        assert (await pipeline.collect(bench.swaps(1))).completed == 1
    with pytest.raises(ConfigurationError, match="entered once"):
        await pipeline.__aenter__()


async def test_a_choice_that_is_none_is_told_before_anything_is_paid_for(bench: Bench) -> None:
    with pytest.raises(ConfigurationError, match=r"in_doubt is 'recreated': expected .hold. or .recreate."):
        SwapPipeline(bench.client, in_doubt="recreated")  # type: ignore[arg-type]  # a slip of the pen


async def test_a_pipeline_that_was_left_takes_no_more_jobs(bench: Bench) -> None:
    """It says so, as before it was entered."""
    async with bench.pipeline() as pipeline:
        pass
    with pytest.raises(ConfigurationError):
        pipeline.stream(bench.swaps(1))
    assert os.listdir(bench.folder)  # noqa: PTH208 - the files are there, only the pipeline is not
