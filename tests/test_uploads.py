"""Each content is uploaded once, also while it is under way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from facewarp_async import uploads as uploads_module
from facewarp_async.errors import FaceWarpError, ServerError
from facewarp_async.files import AnyMedia, MediaFile, inspect
from facewarp_async.models import Asset
from facewarp_async.uploads import SharedUploads

pytestmark = pytest.mark.anyio

MakeFile = Callable[..., Path]


class Uploader:
    """Uploads when it is let, and counts."""

    def __init__(self) -> None:
        self.sent: list[Path] = []
        self.let = asyncio.Event()
        self.let.set()
        self.error: BaseException | None = None

    async def __call__(self, file: MediaFile, *, on_progress: object = None) -> Asset:
        self.sent.append(file.path)
        number = len(self.sent)
        await self.let.wait()
        if self.error is not None:
            raise self.error
        return Asset(f"key-{number}")


async def known(file: AnyMedia, uploads: SharedUploads) -> None:
    """Have the content hashed: who waits for the thread that does it is blocked too, and waits for no upload yet."""
    await uploads.content(file)


class Slot:
    """A limit of one that tells how many hold it."""

    def __init__(self, limit: int = 100) -> None:
        self._semaphore = anyio.Semaphore(limit)
        self.held = self.most = 0

    async def __aenter__(self) -> None:
        await self._semaphore.acquire()
        self.held += 1
        self.most = max(self.most, self.held)

    async def __aexit__(self, *_: object) -> None:
        self.held -= 1
        self._semaphore.release()


class Store:
    """Remembers uploads beyond the life of a process."""

    def __init__(self) -> None:
        self.kept: dict[bytes, Asset] = {}
        self.by_others: Asset | None = None

    @asynccontextmanager
    async def turn(self, content: bytes) -> AsyncIterator[Asset | None]:
        yield self.by_others

    async def get(self, content: bytes) -> Asset | None:
        return self.kept.get(content)

    async def put(self, content: bytes, asset: Asset) -> None:
        self.kept[content] = asset

    async def drop(self, content: bytes, asset: Asset) -> None:
        if self.kept.get(content) == asset:
            del self.kept[content]


@pytest.fixture
def uploader() -> Uploader:
    return Uploader()


async def test_files_of_the_same_content_are_uploaded_once(make_file: MakeFile, uploader: Uploader) -> None:
    uploads, slot = SharedUploads(uploader), Slot()
    one, same, other = [
        await inspect(make_file(name, salt=name[:1].encode())) for name in ("a1.png", "a2.png", "b.png")
    ]
    assets = [await uploads.asset(file, slot=slot) for file in (one, same, one, other)]
    assert [asset.key for asset in assets] == ["key-1", "key-1", "key-1", "key-2"]


async def test_a_file_that_changed_is_uploaded_anew(make_file: MakeFile, uploader: Uploader) -> None:
    uploads, slot = SharedUploads(uploader), Slot()
    first = await uploads.asset(await inspect(make_file(salt=b"one")), slot=slot)
    second = await uploads.asset(await inspect(make_file(salt=b"two")), slot=slot)
    assert (first.key, second.key) == ("key-1", "key-2")


async def test_callers_wait_for_an_upload_under_way_and_hold_no_slot(make_file: MakeFile, uploader: Uploader) -> None:
    uploader.let.clear()
    uploads, slot, file, keys = SharedUploads(uploader), Slot(), await inspect(make_file()), list[str]()

    async def one() -> None:
        keys.append((await uploads.asset(file, slot=slot)).key)

    await known(file, uploads)
    async with anyio.create_task_group() as group:
        group.start_soon(one)
        await anyio.wait_all_tasks_blocked()
        for _ in range(20):
            group.start_soon(one)
        await anyio.wait_all_tasks_blocked()
        assert slot.held == 1
        uploader.let.set()
    assert (keys, len(uploader.sent)) == (["key-1"] * 21, 1)


async def test_callers_who_waited_for_their_slots_meanwhile_do_not_upload_again(
    make_file: MakeFile, uploader: Uploader
) -> None:
    uploads, slot, file = SharedUploads(uploader), Slot(1), await inspect(make_file())
    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(lambda: uploads.asset(file, slot=slot))
    assert len(uploader.sent) == 1


async def test_a_cancelled_upload_is_taken_over_by_one_who_waits(make_file: MakeFile, uploader: Uploader) -> None:
    uploader.let.clear()
    uploads, slot, file, keys = SharedUploads(uploader), Slot(), await inspect(make_file()), list[str]()

    async def one() -> None:
        keys.append((await uploads.asset(file, slot=slot)).key)

    await known(file, uploads)
    async with anyio.create_task_group() as group:
        leader = asyncio.ensure_future(uploads.asset(file, slot=slot))
        await anyio.wait_all_tasks_blocked()
        for _ in range(3):
            group.start_soon(one)
        await anyio.wait_all_tasks_blocked()
        leader.cancel()
        await asyncio.wait([leader])
        uploader.let.set()
    assert (keys, len(uploader.sent), slot.held) == (["key-2"] * 3, 2, 0)


async def test_a_failed_upload_fails_each_who_waits_with_an_error_of_its_own(
    make_file: MakeFile, uploader: Uploader
) -> None:
    uploader.let.clear()
    uploader.error = ServerError("down", http_status=500)
    uploads, slot, file, errors = SharedUploads(uploader), Slot(), await inspect(make_file()), list[FaceWarpError]()

    async def one() -> None:
        try:
            await uploads.asset(file, slot=slot)
        except FaceWarpError as error:
            errors.append(error)

    await known(file, uploads)
    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(one)
        await anyio.wait_all_tasks_blocked()
        uploader.let.set()
    assert len(uploader.sent) == 1
    assert [(type(error), error.http_status) for error in errors] == [(ServerError, 500)] * 5
    assert len({id(error) for error in errors}) == 5, "each is annotated with its own job"
    uploader.error = None
    assert (await uploads.asset(file, slot=slot)).key == "key-2", "the next caller tries again"


async def test_an_upload_that_the_service_forgot_is_made_again_once(make_file: MakeFile, uploader: Uploader) -> None:
    uploads, slot, file = SharedUploads(uploader), Slot(), await inspect(make_file())
    old = await uploads.asset(file, slot=slot)
    await uploads.forget(file, old)
    new = await uploads.asset(file, slot=slot)
    await uploads.forget(file, old)  # told by another job, late
    assert await uploads.asset(file, slot=slot) == new
    assert len(uploader.sent) == 2


async def test_an_upload_that_is_used_all_the_time_can_be_forgotten_however_long_ago_it_was_made(
    make_file: MakeFile, uploader: Uploader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads_module, "REMEMBERED", 3)
    uploads, slot, face = SharedUploads(uploader), Slot(), await inspect(make_file("face.png"))
    asset = await uploads.asset(face, slot=slot)
    for index in range(10):
        await uploads.asset(await inspect(make_file(f"{index}.png")), slot=slot)
        assert await uploads.asset(face, slot=slot) == asset
    await uploads.forget(face, asset)
    assert await uploads.asset(face, slot=slot) != asset


async def test_the_latest_used_uploads_are_remembered_and_no_more(
    make_file: MakeFile, uploader: Uploader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads_module, "REMEMBERED", 2)
    uploads, slot = SharedUploads(uploader), Slot()
    files = [await inspect(make_file(f"{index}.png")) for index in range(3)]
    for file in [*files, files[2], files[1], files[0]]:
        await uploads.asset(file, slot=slot)
    assert [path.stem for path in uploader.sent] == ["0", "1", "2", "0"]


async def test_uploads_of_an_earlier_run_are_used_until_the_service_forgets_them(
    make_file: MakeFile, uploader: Uploader
) -> None:
    store, slot, file = Store(), Slot(), await inspect(make_file())
    asset = await SharedUploads(uploader, store).asset(file, slot=slot)
    later = SharedUploads(uploader, store)
    assert await later.asset(file, slot=slot) == asset
    await later.forget(file, asset)
    assert store.kept == {}
    assert (await later.asset(file, slot=slot)).key == "key-2"
    assert len(uploader.sent) == 2


async def test_an_upload_that_fails_in_an_unforeseen_way_is_left_to_the_next(
    make_file: MakeFile, uploader: Uploader
) -> None:
    uploader.error = RuntimeError("a bug")
    uploads, slot, file = SharedUploads(uploader), Slot(), await inspect(make_file())
    with pytest.raises(RuntimeError):
        await uploads.asset(file, slot=slot)
    uploader.error = None
    assert (await uploads.asset(file, slot=slot)).key == "key-2"


async def test_a_file_that_another_process_uploads_meanwhile_takes_no_slot_and_is_not_sent(
    make_file: MakeFile, uploader: Uploader
) -> None:
    store, slot = Store(), Slot()
    store.by_others = Asset("theirs")
    assert await SharedUploads(uploader, store).asset(await inspect(make_file()), slot=slot) == Asset("theirs")
    assert (uploader.sent, slot.most) == ([], 0)
