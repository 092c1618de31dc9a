"""What was not done in one run goes on in the next: tasks, uploads, and jobs that failed or were skipped."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import anyio
import pytest
from attrs import evolve

from facewarp_async.client import FaceSwapClient
from facewarp_async.config import Limits, Timeouts
from facewarp_async.errors import (
    CreditsExhaustedError,
    FileChangedError,
    NoFaceError,
    SourceNotFoundError,
    Stage,
    TaskTimeoutError,
)
from facewarp_async.journal import JobState
from facewarp_async.models import Asset, MultiFaceSwap, TaskKind
from facewarp_async.pipeline import Completed, Failed, Skipped
from facewarp_async.server import CREATES, GET, PUT, Fault, FaultRule, Work, WorkError
from facewarp_async.wire.requests import TASK_PATH

pytestmark = pytest.mark.anyio

World = Any  # tests/journal/conftest.py
StartWorld = Callable[..., AbstractAsyncContextManager[World]]

SWAP = "/v1/task/face-swap"


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
        before = world.calls()
        fails = False
        (second,) = (await world.run(world.jobs(1))).outcomes
        assert isinstance(second, Failed)
        assert isinstance(second.error, NoFaceError)
        assert str(second.error) == str(first.error)
        assert (second.stage, second.task_id, second.error.paid) == (Stage.WAIT, first.task_id, True)
        assert (first.resumed, second.resumed) == (False, True)
        assert second.error.job == world.jobs(1)[0]
        assert world.calls() == before
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
    assert world.calls()[SWAP] == 1
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
    sent = world.calls()[PUT]
    assert sent == 4
    world.service.faults.clear()
    assert (await world.run(world.jobs(3))).completed == 3
    assert world.calls()[PUT] == sent


async def test_uploads_that_the_service_has_forgotten_are_made_again_once(world: World) -> None:
    """Also the face, which all jobs find missing at the same time."""
    world.service.faults.add(FaultRule(Fault.REFUSED, CREATES, code=999))
    jobs = world.jobs(6)
    await world.run(jobs)
    for key in list(world.service.ledger.uploads):
        await world.service.forget(key)
    world.service.faults.clear()
    assert (await world.run(jobs)).completed == 6
    assert world.calls()[PUT] == 14
    assert world.created == 6
    await world.run([evolve(job, hd=True) for job in jobs])
    assert world.calls()[PUT] == 14, "the journal knows the new uploads"


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
