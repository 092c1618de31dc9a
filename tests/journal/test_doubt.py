"""A create whose answer is lost is in doubt: named in this run and the next, sent again only by the user's choice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
import pytest
from attrs import evolve

from facewarp_async.config import Limits, Timeouts
from facewarp_async.errors import CreditsExhaustedError, InDoubtError, RateLimitedError, Stage
from facewarp_async.journal import JobState, Journal
from facewarp_async.models import MultiFaceSwap, TaskKind
from facewarp_async.pipeline import Completed, Failed, StageBegun
from facewarp_async.server import CREATES, Fault, FaultRule, LocalService
from facewarp_async.wire.requests import TOKEN_PATH

pytestmark = pytest.mark.anyio

World = Any  # tests/journal/conftest.py
StartWorld = Callable[..., AbstractAsyncContextManager[World]]

LOST = {
    "reset before": FaultRule(Fault.RESET_BEFORE, CREATES, times=1),
    "reset after": FaultRule(Fault.RESET_AFTER, CREATES, times=1),
    "500": FaultRule(Fault.SERVER_ERROR, CREATES, times=1),
    "500 acted": FaultRule(Fault.SERVER_ERROR, CREATES, acts=True, times=1),
    "code 500": FaultRule(Fault.REFUSED, CREATES, code=500, times=1),
    "502": FaultRule(Fault.BAD_GATEWAY, CREATES, acts=True, times=1),
    "half a document": FaultRule(Fault.HALF_DOCUMENT, CREATES, times=1),
}
REFUSED = {
    "429": FaultRule(Fault.RATE_LIMITED, CREATES, retry_after_s=0),
    "802": FaultRule(Fault.RATE_LIMITED, CREATES, retry_after_s=0, http_status=200),
    "801": FaultRule(Fault.REFUSED, CREATES, code=801),
    "401": FaultRule(Fault.EXPIRED_TOKEN, CREATES),
    "701": FaultRule(Fault.REFUSED, CREATES, code=701),
    "702": FaultRule(Fault.REFUSED, CREATES, code=702),
    "400": FaultRule(Fault.REFUSED, CREATES, code=400),
    "604": FaultRule(Fault.REFUSED, CREATES, code=604),
    "999": FaultRule(Fault.REFUSED, CREATES, code=999),
    "redirect": FaultRule(Fault.REDIRECT, CREATES),
}


def assert_in_doubt(outcome: Any) -> None:
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, InDoubtError)
    assert (outcome.stage, outcome.error.stage, outcome.error.paid) == (Stage.CREATE, Stage.CREATE, None)
    assert outcome.error.job == outcome.job


@pytest.mark.parametrize("rule", LOST.values(), ids=LOST)
async def test_a_lost_answer_is_held_and_named_until_the_user_chooses(world: World, rule: FaultRule) -> None:
    world.service.faults.add(rule)
    (first,) = (await world.run(world.jobs(1))).outcomes
    assert_in_doubt(first)
    created, calls = world.created, dict(world.service.ledger.calls)
    for _ in range(2):
        (held,) = (await world.run(world.jobs(1))).outcomes
        assert_in_doubt(held)
    assert dict(world.service.ledger.calls) == calls, "nothing is asked of the service"
    assert await world.states() == {JobState.INTENT: 1}
    (chosen,) = (await world.run(world.jobs(1), in_doubt="recreate")).outcomes
    assert isinstance(chosen, Completed)
    assert world.created == created + 1
    assert (await world.run(world.jobs(1))).outcomes[0].resumed


@pytest.mark.slow
async def test_a_time_out_is_held_and_named(world: World, make_client: Any) -> None:
    world.service.faults.add(FaultRule(Fault.SLOW, CREATES, delay_s=60))
    async with make_client(world.service.provider, world.service.auth, timeouts=Timeouts(request_s=0.1)) as client:
        assert_in_doubt((await world.run(world.jobs(1), client=client)).outcomes[0])
    world.service.faults.clear()
    assert_in_doubt((await world.run(world.jobs(1))).outcomes[0])
    assert (await world.run(world.jobs(1), in_doubt="recreate")).completed == 1


@pytest.mark.parametrize("rule", REFUSED.values(), ids=REFUSED)
async def test_a_definite_refusal_takes_the_intent_back(start_world: StartWorld, rule: FaultRule) -> None:
    async with start_world(client={"timeouts": Timeouts(repeat_s=0.05)}) as world:
        world.service.faults.add(rule)
        (first,) = (await world.run(world.jobs(1))).outcomes
        assert isinstance(first, Failed)
        assert not isinstance(first.error, InDoubtError)
        assert first.error.paid is False
        (record,) = await world.records()
        assert (record.pending, record.tasks) == (None, {})
        assert record.state in {JobState.UPLOADED, JobState.FAILED}
        world.service.faults.clear()
        assert (await world.run(world.jobs(1), retry_failed=True)).completed == 1
        assert world.created == 1


async def test_a_connection_that_is_never_made_takes_the_intent_back(world: World, make_client: Any) -> None:
    """The service is gone between the upload and the create."""
    async with LocalService(data_dir=world.folder / "other", runner=world.service._runner) as other:
        provider = evolve(other.provider, realm="gone")
        key = other.auth
        async with make_client(provider, key) as client:
            media, face = await client.upload(world.media(0)), await client.upload(world.face)
    async with make_client(provider, key, timeouts=Timeouts(connect_s=0.5, repeat_s=0.1)) as client:
        job = evolve(world.jobs(1)[0], media=media, face=face)
        (outcome,) = (await world.run([job], client=client)).outcomes
    assert isinstance(outcome, Failed)
    assert outcome.error.paid is False
    (record,) = await world.records()
    assert (record.state, record.pending) == (JobState.UPLOADED, None)


async def test_a_token_that_is_renewed_between_leaves_no_doubt(world: World, make_client: Any) -> None:
    world.service.faults.add(FaultRule(Fault.EXPIRED_TOKEN, CREATES, times=1))
    async with make_client(world.service.provider, world.service.client_credentials) as client:
        assert (await world.run(world.jobs(1), client=client)).completed == 1
    assert world.service.ledger.calls[TOKEN_PATH] == 2
    assert world.created == 1


async def test_a_failed_token_call_after_a_401_leaves_no_doubt(world: World, make_client: Any) -> None:
    world.service.faults.add(FaultRule(Fault.EXPIRED_TOKEN, CREATES))
    world.service.faults.add(FaultRule(Fault.SERVER_ERROR, TOKEN_PATH, every=2))
    world.service.faults.add(FaultRule(Fault.RESET_AFTER, TOKEN_PATH, nth=set(range(2, 100))))
    async with make_client(world.service.provider, world.service.client_credentials) as client:
        (outcome,) = (await world.run(world.jobs(1), client=client)).outcomes
    assert isinstance(outcome, Failed)
    assert not isinstance(outcome.error, InDoubtError)
    assert JobState.INTENT not in await world.states()


async def test_a_refusal_of_the_second_create_says_nothing_of_the_first(start_world: StartWorld) -> None:
    """Recreating is refused for want of credits: the first create may still have been paid for, and stays named."""
    async with start_world(credits=1) as world:
        world.service.faults.add(FaultRule(Fault.RESET_AFTER, CREATES, times=1))
        assert_in_doubt((await world.run(world.jobs(1))).outcomes[0])
        (refused,) = (await world.run(world.jobs(1), in_doubt="recreate")).outcomes
        assert isinstance(refused.error, CreditsExhaustedError)
        await world.service.add_credits(5)
        assert_in_doubt((await world.run(world.jobs(1))).outcomes[0])
        assert world.created == 1


async def test_a_job_that_failed_for_good_is_tried_again_without_the_doubt_of_before(world: World) -> None:
    world.service.faults.add(FaultRule(Fault.RESET_BEFORE, CREATES, times=1))
    world.service.faults.add(FaultRule(Fault.REFUSED, CREATES, code=400, times=1))
    world.service.faults.add(FaultRule(Fault.REFUSED, CREATES, code=999, times=1))
    assert_in_doubt((await world.run(world.jobs(1))).outcomes[0])
    (refused,) = (await world.run(world.jobs(1), in_doubt="recreate")).outcomes
    assert refused.error.code == 400
    (told,) = (await world.run(world.jobs(1))).outcomes
    assert told.error.code == 400
    (again,) = (await world.run(world.jobs(1), retry_failed=True)).outcomes
    assert again.error.code == 999
    assert (await world.run(world.jobs(1))).completed == 1


async def test_each_task_of_a_swap_of_several_faces_may_be_in_doubt(world: World) -> None:
    job = MultiFaceSwap(world.media(0), {0: world.media("one")})
    world.service.faults.add(FaultRule(Fault.RESET_AFTER, "/v1/task/get-face", times=1))
    assert_in_doubt((await world.run([job])).outcomes[0])
    assert_in_doubt((await world.run([job])).outcomes[0])
    world.service.faults.add(FaultRule(Fault.RESET_AFTER, "/v1/task/multiple-face-swap", times=1))
    assert_in_doubt((await world.run([job], in_doubt="recreate")).outcomes[0])
    (held,) = (await world.run([job])).outcomes
    assert_in_doubt(held)
    assert (await world.run([job], in_doubt="recreate")).completed == 1
    kinds = [creation.kind for creation in world.service.ledger.creations]
    assert kinds == [TaskKind.FACE_DETECTION] * 2 + [TaskKind.MULTI_IMAGE_SWAP] * 2


@pytest.mark.slow
async def test_jobs_that_wait_for_their_turn_have_written_no_intent(start_world: StartWorld) -> None:
    """The pacer's token is taken before the intent is written: a crash leaves no doubt of what was never sent."""
    async with start_world(requests_per_second=4) as world:
        uploads = [await world.client.upload(world.media(number)) for number in range(2)]
        jobs = [evolve(world.jobs(1)[0], media=uploads[0], face=uploads[1], name=f"{number}") for number in range(12)]
        waiting = asyncio.Event()
        begun = 0

        def count(event: Any) -> None:
            nonlocal begun
            begun += isinstance(event, StageBegun) and event.stage is Stage.CREATE
            if begun == 12:
                waiting.set()

        async with world.pipeline(on_event=count) as pipeline:
            pipeline.stream(jobs)
            await waiting.wait()
            assert pipeline._journal is not None
            for _ in range(5):
                states = [record.state for record in await pipeline._journal.records()]
                assert states.count(JobState.INTENT) <= 1, states
                await asyncio.sleep(0.02)
        assert JobState.INTENT not in await world.states(), "cancelled in time: all were answered or taken back"


@asynccontextmanager
async def held_before(state: JobState, world: World, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[asyncio.Event]:
    """Run a job until this state is to be written, which waits for the event that is given."""
    written, released, reached = Journal.write, asyncio.Event(), asyncio.Event()

    async def write(self: Journal, record: Any) -> None:
        if record.state is state:
            reached.set()
            await released.wait()
        await written(self, record)

    monkeypatch.setattr(Journal, "write", write)
    async with world.pipeline() as pipeline, anyio.create_task_group() as group:
        group.start_soon(pipeline.collect, world.jobs(1))
        await reached.wait()
        yield released


async def test_no_create_leaves_before_its_intent_is_durable(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async with held_before(JobState.INTENT, world, monkeypatch) as released:
        for _ in range(50):
            await asyncio.sleep(0)
        assert world.service.ledger.calls["/v1/task/face-swap"] == 0
        released.set()
    assert world.created == 1


async def test_nothing_is_polled_before_the_task_is_durable(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async with held_before(JobState.CREATED, world, monkeypatch) as released:
        await world.service.settled()
        assert world.service.ledger.calls["/v1/task/detail"] == 0
        released.set()


@pytest.mark.slow
async def test_a_refusal_for_too_many_requests_that_gives_up_goes_on_in_the_next_run(start_world: StartWorld) -> None:
    async with start_world(client={"timeouts": Timeouts(repeat_s=0.05)}) as world:
        world.service.faults.add(FaultRule(Fault.RATE_LIMITED, CREATES, retry_after_s=0))
        report = await world.run(world.jobs(3), limits=Limits(in_flight=1))
        assert {type(outcome.error) for outcome in report.outcomes} == {RateLimitedError}
        world.service.faults.clear()
        assert (await world.run(world.jobs(3))).completed == 3
        assert world.created == 3
