"""Many jobs against the service: in which order they are read and done, and their outcomes come."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from facewarp_async import (
    Completed,
    Failed,
    ImageResult,
    ImageSwap,
    Job,
    MissingFileError,
    Skipped,
    Stage,
    UnsupportedFormatError,
    jobs_from_folder,
)
from tests.heads import PNG
from tests.pipeline.outcomes import completed, failed

if TYPE_CHECKING:
    from tests.pipeline.conftest import Bench, HeldRunner, Serve

pytestmark = pytest.mark.anyio


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
