"""Batches whose media or results lie elsewhere."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import fsspec
import fsspec.config
import pytest

from facewarp_async import (
    BatchReport,
    Completed,
    FaceSwapClient,
    Failed,
    ImageSwap,
    Limits,
    RemoteFile,
    SwapPipeline,
    VideoSwap,
    jobs_from_folder,
    jobs_from_manifest,
)
from facewarp_async.errors import InputError, MissingFileError, OutputError
from facewarp_async.models import Job
from facewarp_async.remote import listing
from facewarp_async.remote.store import Place
from facewarp_async.server import LocalService
from tests.patience import seconds

if TYPE_CHECKING:
    from tests.remote.conftest import Bucket, Hanging, Site

pytestmark = pytest.mark.anyio

Picture = Callable[..., bytes]
OUT = "s3://bucket/out"


@pytest.fixture
def face(bucket: Bucket, picture: Picture) -> RemoteFile:
    return bucket.put("face.png", picture("the face"))


@pytest.fixture
def fill(bucket: Bucket, picture: Picture) -> Callable[[int], None]:
    """Fill the folder ``in`` with pictures."""

    def fill(number: int) -> None:
        bucket.fill({f"in/{index:03}.png": picture(str(index)) for index in range(number)})

    return fill


async def _run(client: FaceSwapClient, jobs: Any, **options: Any) -> BatchReport:
    async with SwapPipeline(client, output_dir=options.pop("output_dir", OUT), **options) as pipeline:
        return await pipeline.collect(jobs)


def _paths(report: BatchReport) -> list[str]:
    return [str(outcome.path) for outcome in report.outcomes if isinstance(outcome, Completed)]


async def _listed(jobs: AsyncIterator[Job]) -> list[str]:
    return [str(job.name) async for job in jobs]


async def test_a_folder_elsewhere_is_swapped_into_another(
    bucket: Bucket, client: FaceSwapClient, face: RemoteFile, fill: Callable[[int], None]
) -> None:
    """In order, and byte for byte: the service gives back the media."""
    fill(20)
    report = await _run(client, jobs_from_folder("s3://bucket/in", face=face))
    assert _paths(report) == [f"{OUT}/{index:03}.png" for index in range(20)]
    assert bucket.files("out") == bucket.files("in")


def test_a_folder_elsewhere_without_an_end_is_left(memory: RemoteFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that lists a page below it each time; its job says that it is no file."""
    asked = list[RemoteFile]()

    def listed(folder: RemoteFile) -> list[listing.Listed]:
        asked.append(folder)
        below = folder.joined("more")
        return [listing.Listed(name="more", file=below, path=below.url, is_folder=True)]

    monkeypatch.setattr("facewarp_async.sources.elsewhere.list_folder", listed)
    (job,) = jobs_from_folder("memory://in", face="face.png")
    assert len(asked) < 200
    assert job.media == asked[-1].joined("more")


async def test_what_was_done_is_neither_created_nor_fetched_again(
    bucket: Bucket,
    local: LocalService,
    client: FaceSwapClient,
    face: RemoteFile,
    fill: Callable[[int], None],
    tmp_path: Path,
) -> None:
    fill(5)
    jobs = jobs_from_folder("s3://bucket/in", face=face)
    await _run(client, jobs, journal=tmp_path / "batch.db")
    before = local.ledger.copy()
    report = await _run(client, jobs, journal=tmp_path / "batch.db")
    assert [outcome.resumed for outcome in report.outcomes if isinstance(outcome, Completed)] == [True] * 5
    assert local.ledger == before


@pytest.mark.parametrize("spoil", ["missing", "shorter", "other"])
async def test_a_result_that_is_not_what_it_was_is_fetched_again_and_not_created(
    bucket: Bucket,
    local: LocalService,
    client: FaceSwapClient,
    face: RemoteFile,
    fill: Callable[[int], None],
    tmp_path: Path,
    spoil: str,
) -> None:
    fill(3)
    jobs = jobs_from_folder("s3://bucket/in", face=face)
    await _run(client, jobs, journal=tmp_path / "batch.db")
    body = bucket.files("out")["001.png"]
    if spoil == "missing":
        bucket.remove("out/001.png")
    else:
        bucket.put("out/001.png", body[:-1] if spoil == "shorter" else body[:-1] + b"!")
    await _run(client, jobs, journal=tmp_path / "batch.db")
    assert bucket.files("out") == bucket.files("in")
    assert len(local.ledger.creations) == 3


async def test_a_result_whose_job_is_called_otherwise_is_copied_by_the_store(
    bucket: Bucket, local: LocalService, client: FaceSwapClient, face: RemoteFile, picture: Picture, tmp_path: Path
) -> None:
    media = bucket.put("a.png", picture())
    for name in ("old", "folder/new", "folder/new"):
        report = await _run(client, [ImageSwap(media, face, name=name)], journal=tmp_path / "batch.db")
        assert report.completed == 1
    assert bucket.names("out") == {"old.png", "folder/new.png"}
    assert local.ledger.calls["get"] == 1
    [outcome] = report.outcomes
    assert isinstance(outcome, Completed)
    assert outcome.resumed


async def test_in_a_store_without_marks_results_are_known_by_their_sha_256(
    memory: RemoteFile,
    bucket: Bucket,
    local: LocalService,
    client: FaceSwapClient,
    face: RemoteFile,
    picture: Picture,
    tmp_path: Path,
) -> None:
    jobs = [ImageSwap(bucket.put("a.png", picture()), face)]
    for _ in range(2):
        await _run(client, jobs, journal=tmp_path / "batch.db", output_dir="memory://out")
    assert local.ledger.calls["get"] == 1
    fsspec.filesystem("memory").store["/out/a.png"].seek(0)
    fsspec.filesystem("memory").store["/out/a.png"].write(b"other")
    await _run(client, jobs, journal=tmp_path / "batch.db", output_dir="memory://out")
    assert local.ledger.calls["get"] == 2
    assert fsspec.filesystem("memory").cat_file("/out/a.png") == picture()


async def test_an_object_that_many_jobs_need_is_sent_once(
    bucket: Bucket, local: LocalService, client: FaceSwapClient, face: RemoteFile, fill: Callable[[int], None]
) -> None:
    fill(6)
    await _run(client, jobs_from_folder("s3://bucket/in", face=face))
    assert sum(local.ledger.uploads.values()) == 7


async def test_one_bad_object_stops_no_other(
    bucket: Bucket, client: FaceSwapClient, face: RemoteFile, fill: Callable[[int], None]
) -> None:
    fill(3)
    bucket.put("in/001.png", b"no picture")
    names = ("000", "001", "002", "gone")
    jobs = [ImageSwap(f"s3://bucket/in/{name}.png", face) for name in names]
    report = await _run(client, jobs)
    assert [type(outcome) for outcome in report.outcomes] == [Completed, Failed, Completed, Failed]
    errors = [outcome.error for outcome in report.outcomes if isinstance(outcome, Failed)]
    assert all(isinstance(error, InputError) for error in errors)


async def test_a_result_never_replaces_its_own_media(
    bucket: Bucket, local: LocalService, client: FaceSwapClient, face: RemoteFile, picture: Picture
) -> None:
    """By whatever URL it is called."""
    bucket.put("in/a.png", picture())
    report = await _run(client, [ImageSwap("s3a://bucket/in/a.png", face)], output_dir="S3A://bucket/in")
    [outcome] = report.outcomes
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, OutputError)
    assert bucket.files("in") == {"a.png": picture()}


@pytest.mark.parametrize("name", ["../up", "/abs", "a/../../up", "..", "a\\b", "con", "x" * 300])
async def test_no_name_leads_out_of_the_output_folder(
    bucket: Bucket, client: FaceSwapClient, face: RemoteFile, picture: Picture, name: str
) -> None:
    await _run(client, [ImageSwap(bucket.put("in/a.png", picture()), face, name=name)])
    assert len(bucket.files("out")) == 1
    assert set(bucket.files()) == {"face.png", "in/a.png", *(f"out/{path}" for path in bucket.files("out"))}


async def test_media_and_results_may_lie_here_and_there(
    bucket: Bucket, site: Site, client: FaceSwapClient, face: RemoteFile, picture: Picture, tmp_path: Path
) -> None:
    (tmp_path / "here.png").write_bytes(picture("here"))
    page = site.put("/a%20page.png", picture("page"))
    await _run(client, [ImageSwap(tmp_path / "here.png", face), ImageSwap(f"{page.url}?token=1", face)])
    assert bucket.files("out") == {"here.png": picture("here"), "a page.png": picture("page")}
    await _run(client, [ImageSwap(bucket.put("a.png", picture()), face)], output_dir=tmp_path / "out")
    assert (tmp_path / "out" / "a.png").read_bytes() == picture()


async def test_a_page_that_was_signed_again_is_the_same_job(
    site: Site, local: LocalService, client: FaceSwapClient, face: RemoteFile, picture: Picture, tmp_path: Path
) -> None:
    page = site.put("/a.png", picture())
    for date in ("1", "2"):
        job = ImageSwap(f"{page.url}?X-Amz-Date={date}&X-Amz-Signature=s{date}", face)
        report = await _run(client, [job], journal=tmp_path / "batch.db")
        assert report.completed == 1
    assert len(local.ledger.creations) == 1
    assert b"X-Amz" not in (tmp_path / "batch.db").read_bytes()


# Folders


async def test_a_folder_is_walked_as_one_here_is(bucket: Bucket, face: RemoteFile, picture: Picture) -> None:
    names = ["b.png", "a/z.jpg", "a/é %#?.webp", "a.mp4", ".hidden.png", "a/.git/x.png", "notes.txt", "out/done.png"]
    for name in (*names, "me.png", "a/raw/x.png"):
        bucket.put(f"in/{name}", picture(name))
    jobs = jobs_from_folder(
        "s3://bucket/in", face="s3://bucket/in/me.png", output_dir="s3a://bucket/in/out", exclude="raw"
    )
    found = [job async for job in jobs]
    assert [job.name for job in found] == ["a/z", "a/é %#?", "a", "b"]
    assert [type(job) for job in found] == [ImageSwap, ImageSwap, VideoSwap, ImageSwap]
    assert found[1].media == RemoteFile("s3://bucket/in/a/é %#?.webp")
    again = jobs_from_folder(
        "s3://bucket/in", face="s3://bucket/x", output_dir="s3://bucket/in/out", include="*.png", recursive=False
    )
    assert await _listed(aiter(again)) == ["b", "me"]


async def test_objects_with_slashes_that_lead_nowhere_are_passed_over(bucket: Bucket, face: RemoteFile) -> None:
    """Such as a folder's own, and one with two slashes, which would lead round in a circle."""

    class Odd:
        def invalidate_cache(self, _path: str) -> None: ...

        def ls(self, path: str, detail: bool) -> list[dict[str, Any]]:
            names = [
                "bucket/in/",
                "bucket/in//",
                "bucket/in//x.png",
                "bucket/in/a/b.png",
                "bucket/in/ok.png",
                "bucket/x",
            ]
            return [{"name": name, "type": "directory" if name.endswith("/") else "file"} for name in names]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(listing, "locate", lambda _file: Place(Odd(), "bucket/in"))
        found = listing.list_folder(RemoteFile("s3://bucket/in"))
    assert [entry.name for entry in found] == ["ok.png"]


async def test_a_page_of_links_is_a_folder(site: Site, picture: Picture, face: RemoteFile) -> None:
    links = "".join(
        f'<a href="{link}">' for link in ("b.png", "a%20c.png", "../up.png", "./", "?C=N", "http://x/y.png")
    )
    site.put("/in/", links.encode())
    jobs = jobs_from_folder(f"{site.url}/in/", face=face)
    found = [job async for job in jobs]
    assert [(job.name, str(job.media)) for job in found] == [
        ("a c", f"{site.url}/in/a%20c.png"),
        ("b", f"{site.url}/in/b.png"),
    ]


async def test_a_folder_that_is_none_is_an_error(bucket: Bucket, face: RemoteFile) -> None:
    with pytest.raises(MissingFileError, match="s3://bucket/gone: does not exist"):
        await _listed(aiter(jobs_from_folder("s3://bucket/gone", face=face)))
    with pytest.raises(MissingFileError, match="is a file, expected a folder"):
        await _listed(aiter(jobs_from_folder(face, face=face)))


async def test_a_folder_below_that_cannot_be_listed_is_a_job_that_fails(
    bucket: Bucket, client: FaceSwapClient, face: RemoteFile, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put("in/a.png", picture("a"))
    bucket.put("in/b/b.png", picture("b"))
    bucket.put("in/c.png", picture("c"))
    listed = listing.list_folder

    def refuse(folder: RemoteFile) -> Any:
        if folder.url.endswith("/b"):
            raise MissingFileError(f"{folder}: may not be read")
        return listed(folder)

    monkeypatch.setattr("facewarp_async.sources.elsewhere.list_folder", refuse)
    report = await _run(client, jobs_from_folder("s3://bucket/in", face=face))
    assert [type(outcome) for outcome in report.outcomes] == [Completed, Failed, Completed]


@pytest.mark.slow
@pytest.mark.parametrize("number", [20, 1100])
async def test_no_more_objects_become_jobs_than_are_asked_for(
    bucket: Bucket, client: FaceSwapClient, face: RemoteFile, picture: Picture, number: int
) -> None:
    """However many pages the listing has: S3 gives 1,000 at once."""
    bucket.fill({f"in/{index:04}.png": picture(str(index)) for index in range(number)})
    taken = 0

    async def counted() -> AsyncIterator[Job]:
        nonlocal taken
        async for job in jobs_from_folder("s3://bucket/in", face=face):
            taken += 1
            yield job

    async with SwapPipeline(client, output_dir=OUT, limits=Limits(in_flight=4, read_ahead=10)) as pipeline:
        stream = pipeline.stream(counted())
        for index in range(5):
            outcome = await anext(stream)
            assert isinstance(outcome, Completed)
            assert outcome.job.name == f"{index:04}"
        assert taken <= 15
    assert len(await _listed(aiter(jobs_from_folder("s3://bucket/in", face=face)))) == number


# Manifests


@pytest.mark.parametrize("is_remote", [True, False])
async def test_a_manifest_may_name_urls_and_be_one(
    bucket: Bucket, client: FaceSwapClient, picture: Picture, tmp_path: Path, is_remote: bool
) -> None:
    rows = [
        "media,face,name",
        "s3://bucket/in/a b#?.png,s3://bucket/face.png,",
        "x/y.png,face.png,",
        "s3://bucket/in/c.mp4,face.png,d/e",
    ]
    for name in ("in/a b#?.png", "face.png", "lists/x/y.png", "lists/face.png"):
        bucket.put(name, picture(name))
    bucket.put("in/c.mp4", b"\x00\x00\x00\x20ftypisom")
    for name in ("x/y.png", "face.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(picture(f"lists/{name}"))
    (tmp_path / "jobs.csv").write_text("\n".join(rows))
    bucket.put("lists/jobs.csv", (tmp_path / "jobs.csv").read_bytes())
    jobs = jobs_from_manifest("s3://bucket/lists/jobs.csv" if is_remote else tmp_path / "jobs.csv")
    report = await _run(client, jobs)
    assert report.completed == 3, report.outcomes
    assert bucket.names("out") == {"a b#?.png", "x/y.png", "d/e.mp4"}


async def test_a_bad_row_of_a_manifest_elsewhere_is_named(bucket: Bucket) -> None:
    bucket.put("jobs.csv", b"media\n")
    bucket.put("jobs.csv", b"media,face\n,me.jpg\n")
    with pytest.raises(InputError, match=r"s3://bucket/jobs\.csv, line 2, column media: is missing"):
        await _listed(aiter(jobs_from_manifest("s3://bucket/jobs.csv")))
    with pytest.raises(MissingFileError, match=r"s3://bucket/gone\.csv: does not exist"):
        await _listed(aiter(jobs_from_manifest("s3://bucket/gone.csv")))


# A store that hangs


@pytest.mark.parametrize("where", ["folder", "media", "output"])
async def test_a_batch_is_cancelled_within_a_second_though_a_store_hangs(
    hanging: Hanging, client: FaceSwapClient, make_file: Callable[..., Path], where: str
) -> None:
    media: Sequence[Job] | Any = [ImageSwap(make_file("a.png"), make_file("face.png"))]
    if where == "folder":
        media = jobs_from_folder("s3://bucket/in", face=make_file("face.png"))
    elif where == "media":
        media = [ImageSwap("s3://bucket/in/a.png", make_file("face.png"))]
    begun = 0.0
    async with anyio.create_task_group() as group:
        group.start_soon(_run, client, media)
        with anyio.fail_after(seconds(30)):
            await hanging.asked.wait()
        begun = anyio.current_time()
        group.cancel_scope.cancel()
    assert anyio.current_time() - begun < seconds(1)
