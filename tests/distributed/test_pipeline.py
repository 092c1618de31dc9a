"""A cluster within the test's process: what a `DistributedPipeline` does as a `SwapPipeline` does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import fsspec
import pytest
from attrs import evolve

from facewarp_async.client import FaceSwapClient
from facewarp_async.config import ApiKey, Limits
from facewarp_async.distributed import DistributedPipeline, coordinator, sending
from facewarp_async.errors import (
    AuthenticationError,
    ClusterError,
    ConfigurationError,
    CreditsExhaustedError,
    MissingFileError,
)
from facewarp_async.models import FaceDetection, ImageSwap, Job
from facewarp_async.pipeline import Completed, Event, Failed, JobEnded, Outcome, Skipped, StageBegun, SwapPipeline
from facewarp_async.server import Fault, FaultRule

if TYPE_CHECKING:
    from tests.distributed.conftest import Bench, Serve

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


def known(outcome: Outcome) -> tuple[Any, ...]:
    """Return what two runs of a job have in common."""
    match outcome:
        case Completed():
            return outcome.job, outcome.path, outcome.resumed, _size(outcome), set(outcome.durations_s)
        case Failed():
            told = str(outcome.error).partition(", as the worker at ")[0]
            return outcome.job, type(outcome.error), told, outcome.stage, outcome.error.job
        case _:
            return outcome.job, outcome.reason


async def test_outcomes_are_those_of_a_single_pipeline_in_the_order_of_the_jobs(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also failed ones, jobs that are the same, names that collide, and paths that are relative."""
    jobs = [*bench.swaps(7), ImageSwap(bench.folder / "none.png", bench.picture("face")), *bench.swaps(2)]
    jobs.append(ImageSwap(Path("in/6.png"), Path("in/face.png")))
    monkeypatch.chdir(bench.folder)
    jobs += [evolve(job, name="sub/same") for job in bench.swaps(2)]
    async with bench.pipeline() as pipeline:
        stream = pipeline.stream(jobs)
        outcomes = [known(outcome) async for outcome in stream]
    created = len(bench.service.ledger.creations)
    async with SwapPipeline(bench.client, output_dir=bench.folder / "out", journal=bench.folder / "one.db") as single:
        expected = [known(outcome) for outcome in (await single.collect(jobs)).outcomes]
    assert outcomes == expected
    assert created == 12
    assert bench.service.ledger.calls["put"] == 2 * 8, "each content once by each of the two pipelines"


async def test_a_relative_output_folder_stays_relative_in_outcomes(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bench.folder)
    pipeline = DistributedPipeline(bench.client, bench.dask, output_dir="out", journal=bench.folder / "batch.db")
    async with pipeline:
        report = await pipeline.collect(bench.swaps(1))
    (outcome,) = report.outcomes
    assert isinstance(outcome, Completed)
    assert outcome.path == Path("out/0.png")
    assert (report.completed, report.stopped_by) == (1, None)


async def test_a_provider_is_asked_with_the_credentials_of_the_environment(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigurationError, match="no credentials"):
        bench.pipeline(client=bench.service.provider)
    monkeypatch.setenv("FACEWARP_API_KEY", bench.service.auth.key)
    async with bench.pipeline(client=bench.service.provider) as pipeline:
        report = await pipeline.collect(bench.swaps(1))
    assert (report.completed, report.stopped_by) == (1, None)


async def test_media_and_results_may_be_at_urls(bench: Bench) -> None:
    """The cluster is in this process, so all see the same memory."""
    fsspec.filesystem("memory").pipe_file("/in/a.png", b"\x89PNG\r\n\x1a\na")
    job = ImageSwap("memory://in/a.png", bench.picture("face"))
    for resumed in (False, True):
        pipeline = DistributedPipeline(
            bench.client, bench.dask, output_dir="memory://out", journal=bench.folder / "batch.db"
        )
        async with pipeline:
            (outcome,) = (await pipeline.collect([job])).outcomes
        assert isinstance(outcome, Completed), outcome
        assert (outcome.job, str(outcome.path), outcome.resumed) == (job, "memory://out/a.png", resumed)
    assert fsspec.filesystem("memory").cat_file("/out/a.png") == b"\x89PNG\r\n\x1a\na"
    assert len(bench.service.ledger.creations) == 1


async def test_jobs_are_read_only_as_far_ahead_as_is_allowed(bench: Bench) -> None:
    """An endless source: so many are begun, and one more for each outcome that is taken."""
    read = 0
    (job,) = bench.swaps(1)

    def endless() -> Iterator[Job]:
        nonlocal read
        while True:
            read += 1
            yield job

    async with bench.pipeline(limits=Limits(read_ahead=10)) as pipeline:
        stream = pipeline.stream(endless())
        for taken in range(1, 31):
            await anext(stream)
            assert read <= 24 + taken  # two shards of three for each of the four threads
    assert 30 <= read <= 54


async def test_what_leaving_does_to_jobs_is_no_error_that_nobody_took(bench: Bench) -> None:
    """Here it is heard that the shard has ended, without outcomes, once nothing can be asked any more."""
    told, begun = list[Any](), anyio.Event()
    bench.service.faults.add(FaultRule(Fault.SLOW, delay_s=60))
    async with bench.pipeline(on_event=lambda _event: begun.set()) as pipeline:
        link = pipeline._link
        call = link.call

        async def call_late(op: str, *arguments: Any) -> Any:
            if op == "heard":
                raise ClusterError("the connection was lost")
            answer = await call(op, *arguments)
            shards = list(bench.dask.futures.values()) if op == "close" else []
            while any(shard.status == "pending" for shard in shards):  # noqa: ASYNC110 - Dask has no event for it
                await anyio.sleep(0.01)
            return answer

        link.call = call_late  # type: ignore[assignment,method-assign]  # as if all came late
        stream = pipeline.stream(bench.swaps(3))
        await begun.wait()
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context))
    asyncio.get_running_loop().set_exception_handler(None)
    assert not stream.is_complete
    assert told == []


async def test_events_are_those_of_a_single_pipeline(bench: Bench) -> None:
    events: list[Event] = []
    async with bench.pipeline(on_event=events.append) as pipeline:
        report = await pipeline.collect(bench.swaps(5))
    ended = {event.index: event.outcome for event in events if isinstance(event, JobEnded)}
    assert [ended[index] for index in range(5)] == report.outcomes
    begun = [(event.index, str(event.stage)) for event in events if isinstance(event, StageBegun)]
    for index in range(5):
        stages = [stage for other, stage in begun if other == index]
        assert stages == ["check", "upload", "create", "wait", "download"]


async def test_without_credits_the_batch_ends_on_all_workers_and_goes_on_later(serve: Serve) -> None:
    async with serve(credits=4) as bench:
        async with bench.pipeline() as pipeline:
            report = await pipeline.collect(bench.swaps(40))
        assert isinstance(report.stopped_by, CreditsExhaustedError)
        assert report.completed == 4
        assert report.failed + report.skipped == 36
        assert all(isinstance(outcome, Skipped) for outcome in report.outcomes[-10:])
        assert bench.service.ledger.refusals["/v1/task/face-swap", 801] <= 4 * 8
        await bench.service.add_credits(100)
        async with bench.pipeline() as pipeline:
            report = await pipeline.collect(bench.swaps(40))
        assert (report.completed, report.stopped_by) == (40, None)
        assert bench.service.ledger.paid_twice() == []
        assert len(bench.service.ledger.creations) == 40


async def test_a_refused_key_ends_the_batch(bench: Bench) -> None:
    async with bench.pipeline(client=FaceSwapClient(bench.service.provider, ApiKey("wrong"))) as pipeline:
        report = await pipeline.collect(bench.swaps(20))
    assert isinstance(report.stopped_by, AuthenticationError)
    assert report.completed == 0
    assert bench.service.ledger.creations == type(bench.service.ledger.creations)()


async def test_one_job_that_fails_stops_no_other(bench: Bench) -> None:
    jobs = bench.swaps(6)
    jobs[2] = ImageSwap(bench.folder / "none.png", bench.picture("face"))
    async with bench.pipeline() as pipeline:
        report = await pipeline.collect(jobs)
    assert [isinstance(outcome, Completed) for outcome in report.outcomes] == [True, True, False, True, True, True]
    failed = report.outcomes[2]
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, MissingFileError)
    assert ", as the worker at inproc://" in str(failed.error)


async def test_two_batches_share_the_rate_of_their_account(serve: Serve) -> None:
    """That one pacer keeps the rate however late calls are sent, `test_parts` shows on a clock of its own."""
    async with (
        serve(requests_per_second=20) as bench,
        bench.pipeline(journal=bench.folder / "one.db") as one,
        bench.pipeline(journal=bench.folder / "two.db") as two,
        anyio.create_task_group() as group,
    ):
        accounts = [active.account for active in coordinator_of(bench)._runs.values()]
        assert len(accounts) == 2
        assert accounts[0] is accounts[1] is not None

        async def run(pipeline: DistributedPipeline, jobs: list[Job]) -> None:
            assert (await pipeline.collect(jobs)).completed == 6

        jobs = bench.swaps(12)
        group.start_soon(run, one, jobs[:6])
        group.start_soon(run, two, jobs[6:])


async def test_an_upload_that_fails_on_one_worker_is_made_by_another(bench: Bench) -> None:
    """The face that all need: the first upload of it is refused for good, and fails that job alone."""
    bench.service.faults.add(FaultRule(Fault.REFUSED, "/v1/source/upload-url", code=400, times=1))
    async with bench.pipeline(shard_size=1) as pipeline:
        report = await pipeline.collect(bench.swaps(8))
    assert report.completed >= 6
    assert max(bench.service.ledger.contents.values()) == 1


async def test_leaving_the_block_ends_what_the_workers_do_and_the_next_run_goes_on(serve: Serve) -> None:
    async with serve() as bench:
        bench.service.faults.add(FaultRule(Fault.SLOW, "put", delay_s=60))
        async with bench.pipeline() as pipeline:
            pipeline.stream(bench.swaps(20))
            while not bench.service.ledger.calls["put"]:  # noqa: ASYNC110 - the service is only looked at
                await anyio.sleep(0.01)
            left_at = anyio.current_time()
        assert anyio.current_time() - left_at < 2
        bench.service.faults.clear()
        async with bench.pipeline() as pipeline:
            assert (await pipeline.collect(bench.swaps(20))).completed == 20


async def test_jobs_that_workers_leave_without_outcomes_end_the_batch(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the tasks of a worker would that misunderstands the coordinator: nobody waits for them for ever."""

    async def leave(_run: str, _number: int) -> None:
        pass

    monkeypatch.setattr(sending, "run_shard", leave)
    async with bench.pipeline() as pipeline:
        with pytest.raises(ClusterError, match="5 times over, workers died with the same 2 jobs, or left them"):
            await pipeline.collect(bench.swaps(2))


def _size(outcome: Completed) -> int | None:
    return None if isinstance(outcome.result, FaceDetection) else outcome.result.size


async def test_a_coordinator_forgets_what_has_ended(bench: Bench) -> None:
    """A long batch, and one after the other, leave nothing behind in the scheduler."""
    async with bench.pipeline() as pipeline:
        await pipeline.collect(bench.swaps(9))
        (active,) = coordinator_of(bench)._runs.values()
        shards = active.run.shards
        while shards._shards:  # noqa: ASYNC110 - told after the outcomes
            await anyio.sleep(0.01)
        assert active.left <= 9, "near the end the pacer has to know"
        assert (shards._attempts, active.run._claims, len(active.run._slots)) == ({}, {}, 0)
    assert coordinator_of(bench)._runs == {}


def coordinator_of(bench: Bench) -> coordinator.Coordinator:
    assert bench.dask.cluster is not None
    found = bench.dask.cluster.scheduler.plugins["facewarp-async"]._coordinator
    assert isinstance(found, coordinator.Coordinator)
    return found
