"""The same jobs with the same journal: what was paid for is fetched, what is done is kept."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from facewarp_async.config import Limits, Timeouts
from facewarp_async.errors import ConfigurationError, JournalError, JournalInUseError, Stage, TaskTimeoutError
from facewarp_async.models import DetectFaces, FaceDetection, ImageSwap
from facewarp_async.pipeline import Failed, StageBegun
from facewarp_async.server import GET, PUT

pytestmark = pytest.mark.anyio

World = Any  # tests/journal/conftest.py
StartWorld = Callable[..., AbstractAsyncContextManager[World]]


async def test_a_batch_that_is_done_asks_nothing_of_the_service(world: World) -> None:
    jobs = world.jobs(5)
    first = await world.run(jobs)
    before, results = world.calls(), world.results()
    second = await world.run(jobs)
    assert (first.completed, second.completed) == (5, 5)
    assert world.calls() == before
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
    before = world.calls()
    report = await world.run(jobs)
    assert [outcome.resumed for outcome in report.outcomes] == [False, True]
    assert path.read_bytes() == whole
    assert world.created == 2
    assert world.calls()[GET] == before[GET] + 1
    assert world.calls()[PUT] == before[PUT]


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


async def test_a_detection_that_is_done_is_told_from_the_journal(world: World) -> None:
    job = DetectFaces(world.media(0))
    (first,) = (await world.run([job])).outcomes
    before = world.calls()
    (second,) = (await world.run([job])).outcomes
    assert world.calls() == before
    assert isinstance(second.result, FaceDetection)
    assert [face.key for face in second.result.faces] == [face.key for face in first.result.faces]
    assert [face.kps for face in second.result.faces] == [face.kps for face in first.result.faces]
    assert {face.url for face in second.result.faces} == {""}


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
    assert world.calls() == {}
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
