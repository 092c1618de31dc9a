"""Uploads, tasks and downloads at once: as many as they may be, and none takes the place of another kind."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from facewarp_async import FaceSwapClient, ImageSwap, Job, Stage, SwapPipeline
from facewarp_async.policy.polling import FixedPolling, PollPolicy
from facewarp_async.server import PUT, Fault, FaultPlan, FaultRule
from facewarp_async.session import Pacer
from tests.heads import PNG
from tests.pipeline.outcomes import completed

if TYPE_CHECKING:
    from tests.pipeline.conftest import Bench, HeldRunner, Hold, Serve

pytestmark = pytest.mark.anyio


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
