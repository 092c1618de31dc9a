"""Each kind of job, of files and of assets, and where its result goes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest

from facewarp_async import (
    Asset,
    Completed,
    DetectFaces,
    FaceDetection,
    ImageResult,
    ImageSwap,
    Job,
    MultiFaceSwap,
    OutputError,
    Stage,
    VideoResult,
    VideoSwap,
)
from facewarp_async.files import inspect
from facewarp_async.models import TaskKind
from facewarp_async.server import PUT
from tests.heads import PNG
from tests.pipeline.outcomes import completed, failed

if TYPE_CHECKING:
    from tests.pipeline.conftest import Bench

pytestmark = pytest.mark.anyio


async def test_every_kind_of_job_has_its_tasks_and_result(bench: Bench) -> None:
    """Swaps are fetched with their own extension; detections are not; a multiple swap pays for a detection first."""
    face = bench.picture("face")
    jobs: list[Job] = [
        ImageSwap(bench.picture("a"), face, hd=True),
        VideoSwap(bench.video("b"), face),
        MultiFaceSwap(bench.picture("c"), {1: face, 0: bench.picture("other")}),
        MultiFaceSwap(bench.video("d"), {0: face}),
        DetectFaces(bench.picture("e")),
        DetectFaces(bench.video("f")),
    ]
    outcomes = [completed(outcome) for outcome in await bench.outcomes(jobs)]
    files = [None if outcome.path is None else outcome.path.name for outcome in outcomes]
    assert files == ["a.png", "b.mp4", "c.png", "d.mp4", None, None]
    kinds = [ImageResult, VideoResult, ImageResult, VideoResult, FaceDetection, FaceDetection]
    assert [type(outcome.result) for outcome in outcomes] == kinds
    made = {creation.task_id: creation.kind for creation in bench.ledger.creations}
    assert [made[outcome.result.task_id] for outcome in outcomes] == [
        TaskKind.IMAGE_SWAP,
        TaskKind.VIDEO_SWAP,
        TaskKind.MULTI_IMAGE_SWAP,
        TaskKind.MULTI_VIDEO_SWAP,
        TaskKind.FACE_DETECTION,
        TaskKind.FACE_DETECTION,
    ]
    assert len(made) == 8
    assert (bench.out / "d.mp4").read_bytes().endswith(b"d")


async def test_a_multiple_swap_pairs_each_face_with_the_one_it_names(bench: Bench) -> None:
    """The keys of its task are the media, then each crop with the picture of the face to put in."""
    zero, one = bench.picture("zero"), bench.picture("one")
    await bench.outcomes([MultiFaceSwap(bench.picture("media"), {1: one, 0: zero})])
    detection, swap = bench.ledger.creations
    found = (await bench.client.get_task(detection.task_id, TaskKind.FACE_DETECTION)).result
    assert isinstance(found, FaceDetection)
    keys = swap.keys
    assert [keys[1], keys[3]] == [found.faces[1].key, found.faces[0].key]
    uploads = bench.client.shared_uploads
    expected = [(await uploads.asset(await inspect(path), slot=anyio.Semaphore(1))).key for path in (one, zero)]
    assert [keys[2], keys[4]] == expected


async def test_jobs_may_name_assets_that_are_uploaded_already(bench: Bench) -> None:
    """They upload nothing, and their results are called by their keys."""
    media, face = [await bench.client.upload(bench.picture(name)) for name in ("media", "face")]
    film = Asset((await bench.client.upload(bench.video("film"))).key)
    uploads = bench.ledger.calls[PUT]
    jobs = [ImageSwap(media, face), VideoSwap(film, face), MultiFaceSwap(film, {0: face}, name="multi")]
    outcomes = [completed(outcome) for outcome in await bench.outcomes(jobs)]
    assert bench.ledger.calls[PUT] == uploads
    stems = [outcome.path.stem for outcome in outcomes if outcome.path]
    assert stems == [Path(media.key).stem, Path(film.key).stem, "multi"]
    assert bench.ledger.creations[-1].kind is TaskKind.MULTI_VIDEO_SWAP


async def test_media_of_the_same_name_get_results_of_their_own(bench: Bench) -> None:
    """Two folders, one name: two results, and the numbers depend on the jobs' order alone."""
    face = bench.picture("face")
    jobs = [ImageSwap(bench.picture(label, f"{label}/photo.png"), face) for label in ("one", "two", "three")]
    outcomes = [completed(outcome) for outcome in await bench.outcomes(jobs)]
    assert [outcome.path for outcome in outcomes] == [
        bench.out / name for name in ("photo.png", "photo-2.png", "photo-3.png")
    ]
    assert [outcome.path.read_bytes() for outcome in outcomes if isinstance(outcome.path, Path)] == [
        PNG + label for label in (b"one", b"two", b"three")
    ]


@pytest.mark.parametrize("way", ["same folder", "another spelling", "linked folder", "linked file"])
async def test_a_result_never_replaces_the_media(bench: Bench, way: str) -> None:
    """The job fails instead, and says so; the task's id tells where the result is."""
    media, face = bench.picture("a", "photos/a.png"), bench.picture("face")
    output_dir = media.parent
    if way == "another spelling":
        output_dir = bench.folder / "photos" / ".." / "photos"
    if way == "linked folder":
        output_dir = bench.folder / "link"
        output_dir.symlink_to(media.parent)
    if way == "linked file":
        media = bench.folder / "a.png"
        media.symlink_to(bench.folder / "photos" / "a.png")
    jobs = [ImageSwap(media, face), ImageSwap(bench.picture("b"), face)]
    before = media.read_bytes()
    outcomes = await bench.outcomes(jobs, output_dir=output_dir)
    outcome = failed(outcomes[0])
    assert isinstance(outcome.error, OutputError)
    assert outcome.stage is Stage.DOWNLOAD
    assert outcome.task_id is not None
    assert media.read_bytes() == before
    assert isinstance(outcomes[1], Completed)


async def test_without_an_output_folder_nothing_is_fetched(bench: Bench) -> None:
    """The results are told all the same."""
    outcome = completed((await bench.outcomes(bench.swaps(1), output_dir=None))[0])
    assert outcome.path is None
    assert bench.ledger.calls["get"] == 0
    assert isinstance(outcome.result, ImageResult)
