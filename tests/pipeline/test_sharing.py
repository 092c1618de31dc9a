"""Each file is uploaded once for all jobs that have it, and once more when it was forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from facewarp_async import DetectFaces, ImageSwap, Stage
from facewarp_async.files import inspect
from facewarp_async.server import PUT, Fault, FaultPlan, FaultRule
from tests.pipeline.outcomes import completed, failed

if TYPE_CHECKING:
    from tests.pipeline.conftest import Bench, Serve

pytestmark = pytest.mark.anyio


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
        lost = await bench.client.shared_uploads.asset(await inspect(face), slot=anyio.Semaphore(1))
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
            asset = await bench.client.shared_uploads.asset(await inspect(path), slot=anyio.Semaphore(1))
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
