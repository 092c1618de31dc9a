"""The same jobs with the same journal: what was paid for is fetched, what is done is kept, the rest goes on."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from attrs import evolve

from facewarp_async.client import FaceSwapClient
from facewarp_async.config import Limits, Timeouts
from facewarp_async.errors import (
    ConfigurationError,
    CreditsExhaustedError,
    FileChangedError,
    JournalError,
    JournalInUseError,
    NoFaceError,
    SourceNotFoundError,
    Stage,
    TaskTimeoutError,
)
from facewarp_async.journal import JobRecord, JobState, Journal, job_key
from facewarp_async.models import Asset, DetectFaces, FaceDetection, ImageSwap, Job, MultiFaceSwap, TaskKind
from facewarp_async.pipeline import Completed, Failed, Skipped, StageBegun
from facewarp_async.server import CREATES, GET, PUT, Fault, FaultRule, Work, WorkError
from facewarp_async.wire.requests import TASK_PATH

pytestmark = pytest.mark.anyio

World = Any  # tests/journal/conftest.py
StartWorld = Callable[..., AbstractAsyncContextManager[World]]

SWAP = "/v1/task/face-swap"


def calls(world: World) -> dict[str, int]:
    return dict(world.service.ledger.calls)


async def test_a_batch_that_is_done_asks_nothing_of_the_service(world: World) -> None:
    jobs = world.jobs(5)
    first = await world.run(jobs)
    before, results = calls(world), world.results()
    second = await world.run(jobs)
    assert (first.completed, second.completed) == (5, 5)
    assert calls(world) == before
    assert world.results() == results == {f"{number}.png": world.media(number).read_bytes() for number in range(5)}
    one: Any
    other: Any
    for one, other in zip(first.outcomes, second.outcomes, strict=True):
        assert (one.resumed, other.resumed) == (False, True)
        assert (other.path, other.result.task_id, other.result.key) == (one.path, one.result.task_id, one.result.key)
        assert (other.result.url, other.result.thumbnail.url) == ("", "")


async def test_a_result_from_the_journal_can_be_downloaded(world: World) -> None:
    jobs = world.jobs(1)
    await world.run(jobs)
    (outcome,) = (await world.run(jobs)).outcomes
    await world.client.download(outcome.result, world.folder / "again.png")
    await world.client.download(outcome.result.thumbnail, world.folder / "thumbnail.png")
    assert (world.folder / "again.png").read_bytes() == world.media(0).read_bytes()
    assert (world.folder / "thumbnail.png").exists()


@pytest.mark.parametrize("harm", ["missing", "cut", "changed", "grown"])
async def test_a_result_that_is_not_whole_is_fetched_again_and_not_paid_again(world: World, harm: str) -> None:
    jobs = world.jobs(2)
    await world.run(jobs)
    path = world.out / "0.png"
    whole = path.read_bytes()
    if harm == "missing":
        path.unlink()
    else:
        path.write_bytes({"cut": whole[:-1], "changed": whole[:-1] + b"!", "grown": whole + b"!"}[harm])
    before = calls(world)
    report = await world.run(jobs)
    assert [outcome.resumed for outcome in report.outcomes] == [False, True]
    assert path.read_bytes() == whole
    assert world.created == 2
    assert calls(world)[GET] == before[GET] + 1
    assert calls(world)[PUT] == before[PUT]


async def test_renamed_media_have_their_result_copied(world: World) -> None:
    jobs = world.jobs(2)
    await world.run(jobs)
    before = calls(world)
    renamed = world.media(0).rename(world.folder / "media" / "another name.png")
    outcome, _ = (await world.run([ImageSwap(renamed, world.face), jobs[1]])).outcomes
    assert outcome.path == world.out / "another name.png"
    assert outcome.path.read_bytes() == renamed.read_bytes()
    assert calls(world) == before
    (world.out / "0.png").unlink()
    assert (await world.run([ImageSwap(renamed, world.face)])).outcomes[0].resumed, "the copy is the result now"
    assert calls(world) == before


async def test_media_that_have_swapped_their_names_keep_their_results(world: World) -> None:
    jobs = world.jobs(2)
    await world.run(jobs)
    one, other = world.media(0), world.media(1)
    bodies = one.read_bytes(), other.read_bytes()
    one.write_bytes(bodies[1])
    other.write_bytes(bodies[0])
    report = await world.run(jobs)
    assert report.completed == 2
    assert world.results() == {"0.png": bodies[1], "1.png": bodies[0]}
    assert world.created == 2


@pytest.mark.parametrize("change", ["content", "face", "hd"])
async def test_a_job_that_would_have_another_result_is_a_new_job(world: World, change: str) -> None:
    media, face = world.media(0), world.face
    job = ImageSwap(media, face)
    await world.run([job])
    if change == "content":
        media.write_bytes(media.read_bytes() + b"more")
    changed: dict[str, Job] = {
        "content": job,
        "face": evolve(job, face=world.media("another face")),
        "hd": evolve(job, hd=True),
    }
    (outcome,) = (await world.run([changed[change]])).outcomes
    assert isinstance(outcome, Completed)
    assert not outcome.resumed
    assert world.created == 2


async def test_another_provider_is_another_job_in_the_same_journal(world: World, make_client: Any) -> None:
    jobs = world.jobs(1)
    await world.run(jobs)
    other = evolve(world.service.provider, realm="another account")
    async with make_client(other, world.service.auth) as client:
        (outcome,) = (await world.run(jobs, client=client)).outcomes
        assert not outcome.resumed
        assert (await world.run(jobs, client=client)).outcomes[0].resumed
    assert (await world.run(jobs)).outcomes[0].resumed
    assert world.created == 2
    assert calls(world)[PUT] == 4, "an upload is an account's too"


async def test_twins_have_a_row_and_a_task_each_and_keep_them(world: World) -> None:
    twin = world.folder / "media" / "twin.png"
    twin.write_bytes(world.media(0).read_bytes())
    jobs = [*world.jobs(1), ImageSwap(twin, world.face), *world.jobs(1)]
    first = await world.run(jobs)
    assert len({outcome.result.task_id for outcome in first.outcomes}) == 3
    assert set(world.results()) == {"0.png", "twin.png", "0-2.png"}
    second = await world.run(jobs)
    assert all(outcome.resumed for outcome in second.outcomes)
    assert {outcome.result.task_id for outcome in second.outcomes} == {
        outcome.result.task_id for outcome in first.outcomes
    }
    assert world.created == 3
    assert set(world.results()) == {"0.png", "twin.png", "0-2.png"}


@pytest.mark.slow
async def test_the_same_jobs_in_the_same_pipeline_go_on_and_are_not_paid_again(
    start_world: StartWorld,
) -> None:
    async with start_world(client={"timeouts": Timeouts(image_task_s=0.6)}, duration_s=1.2) as world:
        async with world.pipeline() as pipeline:
            first = await pipeline.collect(world.jobs(3))
            assert [type(outcome.error) for outcome in first.outcomes] == [TaskTimeoutError] * 3
            await world.service.settled()
            second = await pipeline.collect(world.jobs(3))
        assert second.completed == 3
        assert world.created == 3


async def test_two_batches_of_a_pipeline_at_once_share_what_is_the_same(world: World) -> None:
    async with world.pipeline() as pipeline, anyio.create_task_group() as group:
        reports: list[Any] = []

        async def collect() -> None:
            reports.append(await pipeline.collect(world.jobs(4)))

        group.start_soon(collect)
        group.start_soon(collect)
    assert [report.completed for report in reports] == [4, 4]
    assert world.created == 4


@pytest.mark.slow
async def test_tasks_that_were_created_are_waited_for(start_world: StartWorld) -> None:
    async with start_world(duration_s=0.3, client={"timeouts": Timeouts(image_task_s=0.05)}) as world:
        first = await world.run(world.jobs(3))
        assert [type(outcome.error) for outcome in first.outcomes] == [TaskTimeoutError] * 3
        assert await world.states() == {JobState.CREATED: 3}
        ids = {outcome.task_id for outcome in first.outcomes}
        await world.service.settled()
        async with FaceSwapClient(world.service.provider, world.service.auth) as patient:
            second = await world.run(world.jobs(3), client=patient)
        assert {outcome.result.task_id for outcome in second.outcomes} == ids
        assert world.created == 3


async def test_what_failed_for_good_is_told_without_a_call_and_tried_again_on_demand(start_world: StartWorld) -> None:
    fails = True

    def fail(work: Work) -> None:
        if fails:
            raise WorkError(602, "nobody there")

    async with start_world(fail=fail) as world:
        (first,) = (await world.run(world.jobs(1))).outcomes
        assert isinstance(first, Failed)
        before = calls(world)
        fails = False
        (second,) = (await world.run(world.jobs(1))).outcomes
        assert isinstance(second, Failed)
        assert isinstance(second.error, NoFaceError)
        assert str(second.error) == str(first.error)
        assert (second.stage, second.task_id, second.error.paid) == (Stage.WAIT, first.task_id, True)
        assert (first.resumed, second.resumed) == (False, True)
        assert second.error.job == world.jobs(1)[0]
        assert calls(world) == before
        (third,) = (await world.run(world.jobs(1), retry_failed=True)).outcomes
        assert isinstance(third, Completed)
        assert world.created == 2
        assert (await world.run(world.jobs(1), retry_failed=True)).outcomes[0].resumed
        assert world.created == 2


@pytest.mark.parametrize("code", [400, 604, 703])
async def test_a_create_that_was_refused_for_good_is_told_again(world: World, code: int) -> None:
    world.service.faults.add(FaultRule(Fault.REFUSED, CREATES, code=code, times=1))
    (first,) = (await world.run(world.jobs(1))).outcomes
    (second,) = (await world.run(world.jobs(1))).outcomes
    assert (second.error.code, str(second.error)) == (code, str(first.error))
    assert second.error.paid is False
    assert calls(world)[SWAP] == 1
    (third,) = (await world.run(world.jobs(1), retry_failed=True)).outcomes
    assert isinstance(third, Completed)


@pytest.mark.parametrize(
    ("rule", "stage"),
    [
        (FaultRule(Fault.SERVER_ERROR, PUT), Stage.UPLOAD),
        (FaultRule(Fault.REFUSED, TASK_PATH, code=999), Stage.WAIT),
        (FaultRule(Fault.CUT_GET, GET), Stage.DOWNLOAD),
        (FaultRule(Fault.EXPIRED_URL, GET), Stage.DOWNLOAD),
        (FaultRule(Fault.REFUSED, CREATES, code=999), Stage.CREATE),
        (FaultRule(Fault.REDIRECT, CREATES), Stage.CREATE),
    ],
    ids=["upload", "wait", "cut", "url", "unknown code", "redirect"],
)
async def test_what_failed_in_passing_goes_on(world: World, rule: FaultRule, stage: Stage) -> None:
    world.service.faults.add(rule)
    (first,) = (await world.run(world.jobs(1))).outcomes
    assert isinstance(first, Failed)
    assert first.stage is stage
    world.service.faults.clear()
    (second,) = (await world.run(world.jobs(1))).outcomes
    assert isinstance(second, Completed)
    assert world.created == 1


async def test_a_file_that_changed_while_it_was_sent_goes_on_once_it_is_left_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Touched, and of the same content as before: the journal must not tell that as a failure for good."""
    jobs = world.jobs(1)
    send = world.client.upload

    async def touch_and_send(file: Any, **options: Any) -> Asset:
        await anyio.to_thread.run_sync(Path(file.path).touch)
        asset: Asset = await send(file, **options)
        return asset

    monkeypatch.setattr(world.client, "upload", touch_and_send)
    (first,) = (await world.run(jobs)).outcomes
    assert isinstance(first.error, FileChangedError)
    monkeypatch.undo()
    assert (await world.run(jobs)).completed == 1


async def test_a_batch_that_ran_out_of_credits_goes_on_with_more(start_world: StartWorld) -> None:
    async with start_world(credits=3) as world:
        limits = Limits(in_flight=1, uploads=1, downloads=1)
        first = await world.run(world.jobs(6), limits=limits)
        assert isinstance(first.stopped_by, CreditsExhaustedError)
        assert (first.completed, first.failed + first.skipped) == (3, 3)
        assert JobState.INTENT not in await world.states()
        await world.service.add_credits(3)
        second = await world.run(world.jobs(6))
        assert second.completed == 6
        assert world.created == 6


async def test_uploads_of_an_earlier_run_are_not_repeated(world: World) -> None:
    world.service.faults.add(FaultRule(Fault.REFUSED, CREATES, code=999))
    await world.run(world.jobs(3))
    sent = calls(world)[PUT]
    assert sent == 4
    world.service.faults.clear()
    assert (await world.run(world.jobs(3))).completed == 3
    assert calls(world)[PUT] == sent


async def test_uploads_that_the_service_has_forgotten_are_made_again_once(world: World) -> None:
    """Also the face, which all jobs find missing at the same time."""
    world.service.faults.add(FaultRule(Fault.REFUSED, CREATES, code=999))
    jobs = world.jobs(6)
    await world.run(jobs)
    for key in list(world.service.ledger.uploads):
        await world.service.forget(key)
    world.service.faults.clear()
    assert (await world.run(jobs)).completed == 6
    assert calls(world)[PUT] == 14
    assert world.created == 6
    await world.run([evolve(job, hd=True) for job in jobs])
    assert calls(world)[PUT] == 14, "the journal knows the new uploads"


async def test_an_upload_that_is_forgotten_twice_fails_its_job_only(world: World) -> None:
    world.service.faults.add(FaultRule(Fault.REFUSED, CREATES, code=702, times=2))
    (first,) = (await world.run(world.jobs(1))).outcomes
    assert isinstance(first.error, SourceNotFoundError)
    assert world.created == 0
    assert JobState.INTENT not in await world.states()


async def test_a_swap_of_several_faces_goes_on_between_its_tasks(world: World) -> None:
    job = MultiFaceSwap(world.media(0), {1: world.media("one"), 0: world.media("other")})
    world.service.faults.add(FaultRule(Fault.REFUSED, "/v1/task/multiple-face-swap", code=999))
    (first,) = (await world.run([job])).outcomes
    assert isinstance(first, Failed)
    assert await world.states() == {JobState.CREATED: 1}
    world.service.faults.clear()
    reordered = MultiFaceSwap(world.media(0), {0: world.media("other"), 1: world.media("one")})
    (second,) = (await world.run([reordered])).outcomes
    assert isinstance(second, Completed)
    kinds = [creation.kind for creation in world.service.ledger.creations]
    assert kinds == [TaskKind.FACE_DETECTION, TaskKind.MULTI_IMAGE_SWAP]
    (third,) = (await world.run([job])).outcomes
    assert third.resumed, "the order in which faces are named is not the job"
    (fourth,) = (await world.run([MultiFaceSwap(job.media, {0: world.media("one"), 1: world.media("other")})])).outcomes
    assert not fourth.resumed, "which face goes where is"


async def test_a_detection_that_is_done_is_told_from_the_journal(world: World) -> None:
    job = DetectFaces(world.media(0))
    (first,) = (await world.run([job])).outcomes
    before = calls(world)
    (second,) = (await world.run([job])).outcomes
    assert calls(world) == before
    assert isinstance(second.result, FaceDetection)
    assert [face.key for face in second.result.faces] == [face.key for face in first.result.faces]
    assert [face.kps for face in second.result.faces] == [face.kps for face in first.result.faces]
    assert {face.url for face in second.result.faces} == {""}


async def test_jobs_are_known_by_what_earlier_versions_knew_them_by(world: World) -> None:
    """Contents in the order of what is swapped, options, and how many before were the same, from 0."""
    media, face, other = world.media(0), world.face, world.media("other")
    await world.run([
        ImageSwap(media, face),
        ImageSwap(media, face),
        ImageSwap(media, face, hd=True),
        DetectFaces(media),
        MultiFaceSwap(media, {1: other, 0: face}),
    ])  # fmt: skip
    contents = {path: hashlib.sha256(path.read_bytes()).digest() for path in (media, face, other)}
    swap = [contents[media], contents[face]]
    realm = world.client.provider.realm or world.client.provider.base_url
    assert {record.key for record in await world.records()} == {
        job_key(realm, TaskKind.IMAGE_SWAP, swap, [False], 0),
        job_key(realm, TaskKind.IMAGE_SWAP, swap, [False], 1),
        job_key(realm, TaskKind.IMAGE_SWAP, swap, [True], 0),
        job_key(realm, TaskKind.FACE_DETECTION, [contents[media]], [], 0),
        job_key(realm, TaskKind.MULTI_IMAGE_SWAP, [*swap, contents[other]], [False, [0, 1]], 0),
    }


async def test_each_job_that_was_recalled_is_released_however_it_ended(world: World) -> None:
    """A journal in another process would keep it from all others."""
    recalled, released = list[bytes](), list[bytes]()

    class Noting(Journal):
        async def recall(self, key: bytes, kind: TaskKind, media: str) -> JobRecord:
            recalled.append(key)
            return await super().recall(key, kind, media)

        def release(self, key: bytes) -> None:
            released.append(key)

    world.service.faults.add(FaultRule(Fault.REFUSED, SWAP, code=999, times=1))
    report = await world.run(world.jobs(3), journal=Noting(world.journal, realm="r"))
    assert (report.completed, report.failed) == (2, 1)
    assert len(recalled) == 3
    assert sorted(released) == sorted(recalled)


async def test_jobs_of_assets_are_known_by_their_keys(world: World) -> None:
    media, face = await world.client.upload(world.media(0)), await world.client.upload(world.face)
    first = await world.run([ImageSwap(media, face)])
    second = await world.run([ImageSwap(media, face)])
    assert (first.completed, second.outcomes[0].resumed, world.created) == (1, True, 1)


async def test_a_batch_without_an_output_folder_is_fetched_later_without_paying(world: World) -> None:
    await world.run(world.jobs(2), output_dir=None)
    assert (await world.run(world.jobs(2), output_dir=None)).outcomes[0].resumed
    report = await world.run(world.jobs(2))
    assert report.completed == 2
    assert set(world.results()) == {"0.png", "1.png"}
    assert world.created == 2


async def test_media_in_the_output_folder_are_not_replaced_by_their_result(world: World) -> None:
    world.out.mkdir()
    media = world.out / "0.png"
    media.write_bytes(world.media(0).read_bytes())
    digest = hashlib.sha256(media.read_bytes()).digest()
    await world.run(world.jobs(1), output_dir=world.folder / "elsewhere")
    for _ in range(2):
        (outcome,) = (await world.run([ImageSwap(media, world.face)])).outcomes
        assert isinstance(outcome, Failed)
        assert "would replace the media" in str(outcome.error)
    assert hashlib.sha256(media.read_bytes()).digest() == digest


async def test_a_second_pipeline_is_refused_before_any_call(world: World) -> None:
    async with world.pipeline():
        with pytest.raises(JournalInUseError):
            await world.run(world.jobs(1))
    assert calls(world) == {}
    assert (await world.run(world.jobs(1))).completed == 1


async def test_a_refused_pipeline_may_be_entered_once_the_journal_is_free(world: World) -> None:
    waiting = world.pipeline()
    async with world.pipeline():
        with pytest.raises(JournalInUseError):
            await waiting.__aenter__()
    async with waiting:
        assert (await waiting.collect(world.jobs(1))).completed == 1
    with pytest.raises(ConfigurationError):
        await waiting.__aenter__()


@asynccontextmanager
async def failing_writes(monkeypatch: pytest.MonkeyPatch, after: int) -> AsyncIterator[None]:
    """Let the journal's file take so many more commits."""
    from facewarp_async.journal import commits  # noqa: PLC0415 - what is patched

    left = after
    real = commits.GroupCommits._commit

    def commit(self: Any, connection: Any, statements: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            return commits._Batch(statements, [], JournalError("the disk is full"))
        return real(self, connection, statements)

    with monkeypatch.context() as patch:
        patch.setattr(commits.GroupCommits, "_commit", commit)
        yield


@pytest.mark.parametrize("after", range(0, 40, 3))
async def test_a_journal_that_cannot_be_written_stops_the_batch_and_nothing_leaves_unknown(
    world: World, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    jobs = world.jobs(6)
    async with failing_writes(monkeypatch, after):
        first = await world.run(jobs, limits=Limits(in_flight=2))
    if first.stopped_by is not None:
        assert isinstance(first.stopped_by, JournalError)
    assert first.completed + first.failed + first.skipped == 6
    known = [record for record in await world.records() if record.pending or record.tasks]
    assert world.created <= len(known), "each task that was created has at least its intent"
    second = await world.run(jobs, in_doubt="recreate")
    assert second.completed == 6
    doubted = sum(1 for record in known if record.pending)
    assert world.created <= 6 + doubted


async def test_events_and_outcomes_of_resumed_jobs_come_in_order(world: World) -> None:
    jobs = world.jobs(8)
    await world.run(jobs[::2])
    events: list[Any] = []
    async with world.pipeline(on_event=events.append) as pipeline:
        names = [outcome.path.name async for outcome in pipeline.stream(jobs)]
    assert names == [f"{number}.png" for number in range(8)]
    stages = {event.index: event.stage for event in events if isinstance(event, StageBegun)}
    assert [stages[number] for number in range(0, 8, 2)] == [Stage.CHECK] * 4


@pytest.mark.slow
async def test_a_poll_that_meets_trouble_is_waited_out_on_resuming_too(start_world: StartWorld) -> None:
    async with start_world(duration_s=0.4, client={"timeouts": Timeouts(image_task_s=0.3)}) as world:
        await world.run(world.jobs(1))
        await world.service.settled()
        world.service.faults.add(FaultRule(Fault.SERVER_ERROR, TASK_PATH, nth={1, 2}))
        (outcome,) = (await world.run(world.jobs(1))).outcomes
        assert isinstance(outcome, Completed)
        assert world.created == 1


async def test_skipped_jobs_are_done_by_the_next_run(start_world: StartWorld) -> None:
    async with start_world(credits=0) as world:
        first = await world.run(world.jobs(4), limits=Limits(in_flight=1))
        assert first.completed == 0
        assert any(isinstance(outcome, Skipped) for outcome in first.outcomes)
        await world.service.add_credits(4)
        assert (await world.run(world.jobs(4))).completed == 4
        assert world.created == 4
