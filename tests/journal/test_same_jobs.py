"""By what a journal knows jobs again, whatever their files are called meanwhile."""

from __future__ import annotations

import hashlib
from typing import Any

import anyio
import pytest
from attrs import evolve

from facewarp_async.journal import JobRecord, Journal, job_key
from facewarp_async.models import DetectFaces, ImageSwap, Job, MultiFaceSwap, TaskKind
from facewarp_async.pipeline import Completed
from facewarp_async.server import PUT, Fault, FaultRule

pytestmark = pytest.mark.anyio

World = Any  # tests/journal/conftest.py

SWAP = "/v1/task/face-swap"


async def test_renamed_media_have_their_result_copied(world: World) -> None:
    jobs = world.jobs(2)
    await world.run(jobs)
    before = world.calls()
    renamed = world.media(0).rename(world.folder / "media" / "another name.png")
    outcome, _ = (await world.run([ImageSwap(renamed, world.face), jobs[1]])).outcomes
    assert outcome.path == world.out / "another name.png"
    assert outcome.path.read_bytes() == renamed.read_bytes()
    assert world.calls() == before
    (world.out / "0.png").unlink()
    assert (await world.run([ImageSwap(renamed, world.face)])).outcomes[0].resumed, "the copy is the result now"
    assert world.calls() == before


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
    assert world.calls()[PUT] == 4, "an upload is an account's too"


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


async def test_two_batches_of_a_pipeline_at_once_share_what_is_the_same(world: World) -> None:
    async with world.pipeline() as pipeline, anyio.create_task_group() as group:
        reports: list[Any] = []

        async def collect() -> None:
            reports.append(await pipeline.collect(world.jobs(4)))

        group.start_soon(collect)
        group.start_soon(collect)
    assert [report.completed for report in reports] == [4, 4]
    assert world.created == 4


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
