"""A cluster within the test's process: what a `DistributedPipeline` does as a `SwapPipeline` does."""

from __future__ import annotations

import logging
import pickle
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import fsspec
import pytest
from attrs import define, evolve
from distributed import Client, LocalCluster

from facewarp_async.client import FaceSwapClient
from facewarp_async.config import ApiKey, Limits
from facewarp_async.distributed import DistributedPipeline, coordinator, reaching, sending
from facewarp_async.distributed import values as values_module
from facewarp_async.errors import (
    AuthenticationError,
    ClusterError,
    ConfigurationError,
    CreditsExhaustedError,
    JournalInUseError,
    MissingFileError,
)
from facewarp_async.models import FaceDetection, ImageSwap, Job
from facewarp_async.pipeline import Completed, Event, Failed, JobEnded, Outcome, Skipped, StageBegun, SwapPipeline
from facewarp_async.policy.polling import FixedPolling
from facewarp_async.report import read_report, write_page
from facewarp_async.server import Fault, FaultRule, InstantRunner, LocalService

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


@define
class Bench:
    """A service, a client of it, and a cluster of two workers."""

    folder: Path
    service: LocalService
    client: FaceSwapClient
    dask: Client

    def swaps(self, number: int) -> list[Job]:
        """Make jobs for pictures of their own with the same face."""
        return [ImageSwap(self.picture(str(index)), self.picture("face")) for index in range(number)]

    def picture(self, label: str) -> Path:
        path = self.folder / "in" / f"{label}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + label.encode())
        return path

    def pipeline(self, **options: Any) -> DistributedPipeline:
        options.setdefault("shard_size", 3)
        options.setdefault("journal", self.folder / "batch.db")
        return DistributedPipeline(
            options.pop("client", self.client), self.dask, output_dir=self.folder / "out", **options
        )


Serve = Callable[..., Any]


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    """Start a service with options, and a cluster."""

    @asynccontextmanager
    async def start(**options: Any) -> AsyncIterator[Bench]:
        async with (
            LocalService(runner=InstantRunner(), **options) as service,
            LocalCluster(  # type: ignore[no-untyped-call]  # Dask's
                n_workers=2, threads_per_worker=2, processes=False, asynchronous=True, dashboard_address=":0"
            ) as cluster,
            Client(cluster, asynchronous=True) as dask,  # type: ignore[no-untyped-call]  # the same
            FaceSwapClient(
                service.provider, service.auth, poll_policy=FixedPolling(image_s=0.02, longest_s=0.05)
            ) as client,
        ):
            yield Bench(tmp_path, service, client, dask)

    return start


@pytest.fixture
async def bench(serve: Serve) -> AsyncIterator[Bench]:
    async with serve() as bench:
        yield bench


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


async def test_a_second_batch_with_the_same_journal_is_refused(bench: Bench) -> None:
    async with bench.pipeline() as first:
        with pytest.raises(JournalInUseError, match=r"batch\.db: the journal is used by another"):
            await bench.pipeline().__aenter__()
        assert (await first.collect(bench.swaps(2))).completed == 2
    async with bench.pipeline() as again:
        assert (await again.collect(bench.swaps(2))).completed == 2
    assert len(bench.service.ledger.creations) == 2


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


@pytest.mark.parametrize("who", ["driver", "worker"])
async def test_another_version_is_refused_with_what_to_do(
    who: str, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scheduler here is in the same process: only what it compares with can be another."""
    if who == "driver":
        monkeypatch.setattr(values_module, "OWN_VERSIONS", ("99.0", values_module.OWN_VERSIONS[1]))
        with pytest.raises(ConfigurationError, match=r"the program .* has facewarp-async .*, the scheduler has 99\.0"):
            await bench.pipeline().__aenter__()
        return
    async with bench.pipeline() as pipeline:
        monkeypatch.setattr(values_module, "OWN_VERSIONS", ("99.0", values_module.OWN_VERSIONS[1]))
        with pytest.raises(ConfigurationError, match=r"the worker at .* has facewarp-async .*, the scheduler has 99"):
            await pipeline.collect(bench.swaps(1))


async def test_a_worker_that_lacks_the_package_is_named(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The workers here are in the same process: only the name that is looked for can be another."""
    monkeypatch.setattr(reaching, "PACKAGE", "what-nobody-has")
    with pytest.raises(ClusterError, match=r"the worker at inproc://.* lacks facewarp-async: install"):
        await bench.pipeline().__aenter__()
    assert not (bench.folder / "batch.db").exists()


async def test_a_dask_client_of_a_program_that_blocks_is_refused(bench: Bench) -> None:
    assert bench.dask.cluster is not None
    make = partial(Client, bench.dask.cluster.scheduler_address, set_as_default=False)
    client = await anyio.to_thread.run_sync(make)
    try:
        with pytest.raises(ConfigurationError, match="make it with asynchronous=True"):
            DistributedPipeline(bench.client, client, journal=bench.folder / "batch.db")
    finally:
        await anyio.to_thread.run_sync(client.close)


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


async def test_a_relative_journal_is_refused(bench: Bench) -> None:
    with pytest.raises(ConfigurationError, match=r"batch\.db: the journal lies on the scheduler's machine"):
        await bench.pipeline(journal="batch.db").__aenter__()


async def test_credentials_and_signatures_are_nowhere_to_be_read(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """Not in logs, however much is logged, not in what Dask keeps, and not in a repr."""
    caplog.set_level(logging.DEBUG)
    logging.getLogger("distributed").setLevel(logging.DEBUG)
    async with bench.pipeline() as pipeline:
        settings = pipeline._settings()
        report = await pipeline.collect(bench.swaps(3))
        kept = await bench.dask.run_on_scheduler(_everything)  # type: ignore[no-untyped-call]  # Dask's
    outcome = report.outcomes[0]
    assert isinstance(outcome, Completed)
    signature = getattr(outcome.result, "url", "").partition("X-Amz-Signature=")[2][:64]
    assert len(signature) == 64
    for text in (caplog.text, repr(settings), kept):
        assert bench.service.auth.key not in text
        assert signature not in text
    assert "in/0.png" not in kept
    assert bench.service.auth.key.encode() in pickle.dumps(settings), "they do reach the workers"


async def test_a_signed_url_is_a_medium_and_its_signature_is_nowhere_to_be_read(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """Another storage verifies it. One that was altered fails its job, in words that do not tell it either."""
    caplog.set_level(logging.DEBUG)
    logging.getLogger("distributed").setLevel(logging.DEBUG)
    events: list[Event] = []
    async with LocalService(runner=InstantRunner()) as store, FaceSwapClient(store.provider, store.auth) as owner:
        urls = [await owner.access_url((await owner.upload(bench.picture(name))).key) for name in ("media", "face")]
        signatures = [url.partition("X-Amz-Signature=")[2][:64] for url in urls]
        altered = urls[0].replace(signatures[0], "0123456789abcdef" * 4)
        jobs = [ImageSwap(urls[0], urls[1], name="good"), ImageSwap(altered, urls[1], name="bad")]
        async with bench.pipeline(on_event=events.append) as pipeline:
            outcomes = (await pipeline.collect(jobs)).outcomes
            kept = await bench.dask.run_on_scheduler(_everything)  # type: ignore[no-untyped-call]  # Dask's
    assert [type(outcome) for outcome in outcomes] == [Completed, Failed]
    assert (bench.folder / "out" / "good.png").read_bytes() == bench.picture("media").read_bytes()
    journal = (bench.folder / "batch.db").read_bytes().decode("latin-1")
    page = bench.folder / "page.html"
    await write_page(await read_report(bench.folder / "batch.db", output_dir=bench.folder / "out"), page)
    told = [str(outcome.error) for outcome in outcomes if isinstance(outcome, Failed)]
    for text in (caplog.text, journal, page.read_text(), kept, repr(outcomes), repr(events), *told):
        for secret in (*signatures, "0123456789abcdef" * 4):
            assert secret not in text


def _everything(dask_scheduler: Any) -> str:
    tasks = [repr((task.run_spec, pickle.dumps(task.run_spec))) for task in dask_scheduler.tasks.values()]
    plugins = [repr((plugin, getattr(plugin, "__dict__", None))) for plugin in dask_scheduler.plugins.values()]
    return repr([tasks, plugins, dask_scheduler.worker_plugins, list(dask_scheduler.get_events().items())])


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
