"""What stops a batch: no credits, a token refused for good, a full disk."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import aiohttp
import anyio
import anyio.lowlevel
import pytest

from facewarp_async import (
    AuthenticationError,
    BatchStoppedError,
    Completed,
    CreditsExhaustedError,
    DetectFaces,
    DiskFullError,
    FaceSwapClient,
    Failed,
    Job,
    JobEnded,
    MultiFaceSwap,
    Outcome,
    Skipped,
    Stage,
    SwapPipeline,
)
from facewarp_async.checking import check_job
from facewarp_async.models import TaskKind
from facewarp_async.policy.polling import FixedPolling
from facewarp_async.server import CREATES, Fault, FaultPlan, FaultRule
from facewarp_async.swaps import JobRun, NoLog, Resources, run_tasks
from facewarp_async.wire.requests import TASK_PATH
from tests.patience import seconds

if TYPE_CHECKING:
    from tests.pipeline.conftest import Bench, HeldRunner, Hold, Serve

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


def kinds(outcomes: list[Outcome]) -> list[str]:
    return [type(outcome).__name__ for outcome in outcomes]


def creates(bench: Bench) -> int:
    return sum(bench.ledger.calls[call] for call in CREATES)


async def test_without_credits_what_is_paid_for_is_fetched_and_the_rest_is_skipped(serve: Serve) -> None:
    """One after the other: five credits make five results, the sixth job is told, and nothing more is asked for."""
    async with serve(credits=5) as bench:
        jobs = bench.swaps(20)
        async with bench.pipeline(in_flight=1) as pipeline:
            report = await pipeline.collect(jobs)
            assert pipeline.stopped_by is report.stopped_by
        assert [outcome.job for outcome in report.outcomes] == jobs
        assert sorted(kinds(report.outcomes)) == ["Completed"] * 5 + ["Failed"] + ["Skipped"] * 14
        assert isinstance(report.stopped_by, CreditsExhaustedError)
        assert len(bench.ledger.creations) == 5
        assert creates(bench) == 6
        assert bench.service.credits == 0
        assert len(os.listdir(bench.out)) == 5  # noqa: PTH208
        for outcome in report.outcomes:
            if isinstance(outcome, Failed):
                assert (outcome.error, outcome.stage, outcome.task_id) == (report.stopped_by, Stage.CREATE, None)
            if isinstance(outcome, Skipped):
                assert "Not enough credits" in outcome.reason


async def test_tasks_that_go_on_when_the_credits_end_are_finished_and_fetched(serve: Serve, held: HeldRunner) -> None:
    """Five tasks are held while the sixth is refused: they end as if nothing had been."""
    async with serve(runner=held, credits=5) as bench:
        async with bench.pipeline(in_flight=6) as pipeline:
            stream = pipeline.stream(bench.swaps(30))
            await held.until_begun(5)
            await bench.events.until(lambda log: bool(log.ended()))
            assert isinstance(pipeline.stopped_by, CreditsExhaustedError)
            held.let_go()
            outcomes = [outcome async for outcome in stream]
        assert sorted(kinds(outcomes)) == ["Completed"] * 5 + ["Failed"] + ["Skipped"] * 24
        assert len(bench.ledger.creations) == 5
        assert creates(bench) == 6
        paths = [outcome.path for outcome in outcomes if isinstance(outcome, Completed)]
        assert all(isinstance(path, Path) and path.is_file() for path in paths)


async def test_creates_on_their_way_when_the_credits_end_are_not_cut_off(serve: Serve) -> None:
    """Each task is known to its job, however many creates were sent at once; the first refusal is the one to blame."""
    async with serve(credits=7) as bench:
        async with bench.pipeline(in_flight=20, uploads=20) as pipeline:
            outcomes = (await pipeline.collect(bench.swaps(60))).outcomes
        told = {outcome.result.task_id for outcome in outcomes if isinstance(outcome, Completed)}
        assert told == {creation.task_id for creation in bench.ledger.creations}
        assert len(told) == 7
        assert creates(bench) <= 7 + 20
        ended = [event.outcome for event in bench.events.all if isinstance(event, JobEnded)]
        refused = [outcome for outcome in ended if isinstance(outcome, Failed)]
        assert pipeline.stopped_by is refused[0].error
        assert len(refused) == creates(bench) - 7
        assert {type(outcome.error) for outcome in refused} == {CreditsExhaustedError}
        assert kinds(outcomes).count("Skipped") == 60 - 7 - len(refused)


class Answers:
    """Holds back the answers to creates, as a client's session sees them."""

    def __init__(self) -> None:
        self.held = anyio.Event()
        self.go = anyio.Event()
        self.holding = True

    @asynccontextmanager
    async def session(self) -> AsyncIterator[aiohttp.ClientSession]:
        trace = aiohttp.TraceConfig()
        trace.on_request_end.append(self._hold)
        async with aiohttp.ClientSession(trace_configs=[trace]) as session:
            yield session

    async def _hold(
        self, _session: aiohttp.ClientSession, _context: SimpleNamespace, params: aiohttp.TraceRequestEndParams
    ) -> None:
        if params.url.path in CREATES and self.holding:
            self.holding = False
            self.held.set()
            await self.go.wait()


@pytest.mark.parametrize("stop", ["credits", "token"])
async def test_a_create_on_its_way_when_the_batch_is_stopped_is_not_cancelled(serve: Serve, stop: str) -> None:
    """Its answer arrives after the stop: the task is known, and without credits its result is fetched."""
    answers = Answers()
    code, status = (801, 200) if stop == "credits" else (401, 401)
    rule = FaultRule(Fault.REFUSED, CREATES, nth=2, code=code, http_status=status)
    async with serve(faults=FaultPlan([rule])) as bench, answers.session() as session:
        client = FaceSwapClient(
            bench.service.provider, bench.service.auth, http=session, poll_policy=FixedPolling(image_s=0.01)
        )
        async with (
            client,
            SwapPipeline(client, output_dir=bench.out, on_event=bench.events) as pipeline,
        ):
            jobs = bench.swaps(2)
            first = pipeline.stream(jobs[:1])
            await answers.held.wait()
            second = await anext(pipeline.stream(jobs[1:]))
            assert isinstance(second, Failed)
            assert pipeline.stopped_by is second.error
            if stop == "token":
                bench.service.faults.add(FaultRule(Fault.EXPIRED_TOKEN, TASK_PATH))
            answers.go.set()
            outcome = await anext(first)
        (creation,) = bench.ledger.creations
        if stop == "credits":
            assert isinstance(outcome, Completed)
            assert outcome.result.task_id == creation.task_id
        else:
            assert isinstance(outcome, Failed)
            assert (outcome.task_id, type(outcome.error)) == (creation.task_id, AuthenticationError)


async def test_a_multiple_swap_whose_second_task_is_not_paid_for_tells_its_first(serve: Serve) -> None:
    """The detection was paid for: its id is in the outcome, though the swap itself was never created."""
    async with serve(credits=1) as bench:
        job = MultiFaceSwap(bench.picture("media"), {0: bench.picture("face")})
        outcome = (await bench.outcomes([job]))[0]
        (creation,) = bench.ledger.creations
        assert isinstance(outcome, Failed)
        assert isinstance(outcome.error, CreditsExhaustedError)
        assert outcome.task_id == creation.task_id
        assert outcome.error.paid


async def test_a_multiple_swap_between_its_tasks_when_the_credits_end_is_failed_not_skipped(
    serve: Serve, held: HeldRunner
) -> None:
    """Its detection is waited for; no second create is sent, and the outcome tells what was paid."""
    async with serve(runner=held, credits=1) as bench:
        jobs: list[Job] = [
            MultiFaceSwap(bench.picture("media"), {0: bench.picture("face")}),
            DetectFaces(bench.picture("other")),
        ]
        async with bench.pipeline() as pipeline:
            stream = pipeline.stream(jobs[:1])
            await held.until_begun(1)
            refused = await anext(pipeline.stream(jobs[1:]))
            assert isinstance(refused, Failed)
            held.let_go()
            outcome = await anext(stream)
        assert isinstance(outcome, Failed)
        assert isinstance(outcome.error, CreditsExhaustedError)
        assert outcome.error is not pipeline.stopped_by
        assert outcome.task_id == bench.ledger.creations[0].task_id
        assert creates(bench) == 2


async def test_an_upload_under_way_when_the_credits_end_is_given_up(serve: Serve, hold: type[Hold]) -> None:
    """What nobody can pay for any more is not sent either, and its job is skipped at once."""
    stuck = hold("put")
    async with serve(credits=0) as bench:
        there = await bench.client.upload(bench.picture("there"))
        bench.service.faults.add(stuck.rule)
        async with bench.pipeline() as pipeline:
            stream = pipeline.stream([DetectFaces(bench.picture("stuck"))])
            await stuck.until_arrived()
            with anyio.fail_after(seconds(1)):
                refused = await anext(pipeline.stream([DetectFaces(there)]))
                outcome = await anext(stream)
        assert isinstance(refused, Failed)
        assert isinstance(outcome, Skipped)


@pytest.mark.parametrize("where", ["create", "detail"])
async def test_a_token_refused_for_good_stops_the_batch(serve: Serve, held: HeldRunner, where: str) -> None:
    """Jobs without a task are skipped; what was paid for fails with its task's id, and nothing more is asked for."""
    async with serve(runner=held) as bench:
        async with bench.pipeline(in_flight=4) as pipeline:
            stream = pipeline.stream(bench.swaps(12))
            await held.until_begun(4)
            if where == "create":
                bench.service.faults.add(FaultRule(Fault.EXPIRED_TOKEN, CREATES))
                held.let_go(held.begun[0])  # whichever was created first
            else:
                bench.service.faults.add(FaultRule(Fault.EXPIRED_TOKEN, TASK_PATH))
            with anyio.fail_after(5):
                outcomes = [outcome async for outcome in stream]
        assert isinstance(pipeline.stopped_by, AuthenticationError)
        paid = {creation.task_id for creation in bench.ledger.creations}
        assert len(paid) == 4
        told = set()
        for outcome in outcomes:
            match outcome:
                case Completed(result=result):
                    told.add(result.task_id)
                case Failed(error=error, task_id=task_id):
                    assert isinstance(error, AuthenticationError)
                    assert error.task_id == task_id
                    assert error.job is outcome.job
                    told.add(task_id or 0)
                case Skipped(reason=reason):
                    assert "invalid or expired" in reason
        assert told - {0} == paid
        assert kinds(outcomes).count("Failed") == 4
        assert kinds(outcomes).count("Skipped") == (7 if where == "create" else 8)


async def test_a_task_of_an_earlier_run_is_told_though_it_waits_for_its_turn(serve: Serve, held: HeldRunner) -> None:
    """It was paid for: when the batch is stopped it fails with its id, and is not called skipped."""
    async with serve(runner=held) as bench:
        jobs, journal = bench.swaps(3), bench.folder.parent / "batch.db"
        async with bench.pipeline(journal=journal) as pipeline:
            pipeline.stream(jobs)
            await held.until_begun(3)
            await bench.events.until(lambda log: len(log.begun(Stage.WAIT)) == 3)
        async with bench.pipeline(journal=journal, in_flight=1) as pipeline:
            stream = pipeline.stream(jobs)
            await bench.events.until(lambda log: len(set(log.begun(Stage.WAIT)[3:])) == 3)
            bench.service.faults.add(FaultRule(Fault.EXPIRED_TOKEN, TASK_PATH))
            outcomes = [outcome async for outcome in stream]
        assert kinds(outcomes) == ["Failed"] * 3
        paid = {creation.task_id for creation in bench.ledger.creations}
        assert {outcome.task_id for outcome in outcomes if isinstance(outcome, Failed)} == paid
        assert len(paid) == 3


async def test_a_full_disk_stops_the_batch(serve: Serve, held: HeldRunner) -> None:
    """The result that could not be written fails its job with its task's id; what runs is ended, the rest skipped."""
    async with serve(runner=held) as bench:
        await anyio.Path(bench.out).mkdir()
        async with bench.pipeline(in_flight=3) as pipeline:
            stream = pipeline.stream(bench.swaps(9))
            await held.until_begun(3)
            label = held.begun[0]  # whichever was created first
            await anyio.Path(bench.out / f"{label}.png.part").symlink_to("/dev/full")
            held.let_go(label)
            outcomes = [outcome async for outcome in stream]
        first = outcomes[int(label)]
        assert isinstance(first, Failed)
        assert isinstance(first.error, DiskFullError)
        assert (first.stage, first.task_id) == (Stage.DOWNLOAD, first.error.task_id)
        assert pipeline.stopped_by is first.error
        paid = {creation.task_id for creation in bench.ledger.creations}
        assert {outcome.task_id for outcome in outcomes if isinstance(outcome, Failed)} == paid
        assert set(kinds(outcomes)) == {"Failed", "Skipped"}
        assert not list(bench.out.iterdir())


async def test_a_batch_that_was_stopped_stays_stopped(serve: Serve) -> None:
    """Another stream of the same pipeline sends nothing; a new pipeline begins anew."""
    async with serve(credits=0) as bench:
        jobs = bench.swaps(3)
        async with bench.pipeline() as pipeline:
            assert "Completed" not in kinds((await pipeline.collect(jobs)).outcomes)
            calls = bench.ledger.calls.copy()
            report = await pipeline.collect(jobs)
            assert kinds(report.outcomes) == ["Skipped"] * 3
            assert bench.ledger.calls == calls
        await bench.service.add_credits(3)
        assert kinds(await bench.outcomes(jobs)) == ["Completed"] * 3


async def test_a_lost_answer_is_told_as_doubt_and_stops_nothing(serve: Serve) -> None:
    """The task that may exist is not created again, and the job says so; the others are done."""
    rule = FaultRule((Fault.RESET_AFTER,), CREATES, nth=2)
    async with serve(faults=FaultPlan([rule])) as bench:
        outcomes = await bench.outcomes(bench.swaps(5))
        assert sorted(kinds(outcomes)) == ["Completed"] * 4 + ["Failed"]
        (doubtful,) = [outcome for outcome in outcomes if isinstance(outcome, Failed)]
        assert doubtful.error.paid is None
        assert (doubtful.stage, doubtful.task_id) == (Stage.CREATE, None)
        assert len(bench.ledger.creations) == creates(bench) == 5
        assert not bench.ledger.paid_twice()


class SlowLog(NoLog):
    """Takes its time to write an intent down, and tells what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.writing, self.written = anyio.Event(), anyio.Event()

    async def intent(self, _kind: TaskKind, /) -> None:
        self.told.append("intent")
        self.writing.set()
        await self.written.wait()

    async def refused(self) -> None:
        await anyio.lowlevel.checkpoint()
        self.told.append("refused")


@pytest.mark.parametrize("way", ["cancelled", "stopped"])
async def test_an_intent_whose_create_never_left_is_taken_back(bench: Bench, way: str) -> None:
    """Cancelled, or stopped, while the intent is written down: nothing is sent, and nothing is left in doubt."""
    job, log = bench.swaps(1)[0], SlowLog()
    resources = Resources(bench.client, bench.client.shared_uploads, anyio.Semaphore(1), anyio.Semaphore(1))
    job_run, checked = JobRun(job), await check_job(job)
    async with anyio.create_task_group() as group:

        async def run() -> None:
            with pytest.raises(BatchStoppedError):
                await run_tasks(resources, job_run, checked, log)

        group.start_soon(run)
        await log.writing.wait()
        if way == "cancelled":
            group.cancel_scope.cancel()
        else:
            job_run.stopped = CreditsExhaustedError("none left")
            log.written.set()
    assert log.told == ["intent", "refused"]
    assert creates(bench) == 0
    assert not job_run.sending


async def test_the_events_of_a_stopped_batch_end_for_each_job(serve: Serve) -> None:
    """Every job has exactly one end, skipped ones too."""
    async with serve(credits=2) as bench:
        outcomes = await bench.outcomes(bench.swaps(15), in_flight=2)
        assert sorted(bench.events.ended()) == list(range(15))
        assert len(outcomes) == 15
