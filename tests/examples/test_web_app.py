"""The web app takes uploads, tells their progress, gives results, refuses what it should, and ends properly."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import aiohttp
import anyio
import pytest
from aiohttp import FormData, web
from playwright.async_api import Page, expect

import facewarp_async
from facewarp_async.server import CREATES, Fault, FaultRule, InstantRunner, LocalService, Work

pytestmark = pytest.mark.anyio

PORTRAITS = Path(facewarp_async.__file__).parent / "engine" / "data" / "portraits"
Start = Callable[..., AbstractAsyncContextManager[str]]
Held = tuple[LocalService, threading.Event]


@pytest.fixture
def web_app(example: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch) -> Any:
    """The example, whose limits a test may change."""
    module = example("web_app/app.py")
    for name in ("MAX_FILE_BYTES", "MOST_AT_ONCE", "KEEP_S", "GRACE_S", "UPLOAD_S", "STILL_HERE_S"):
        monkeypatch.setattr(module, name, getattr(module, name))  # put back at the end
    return module


@pytest.fixture
def start(web_app: Any, in_environment: Callable[[LocalService], None]) -> Start:
    """Serve the app as its `main` does, on a free port."""

    @asynccontextmanager
    async def start(service: LocalService) -> AsyncIterator[str]:
        in_environment(service)
        web_app.app = web_app.make_app()
        runner = web.AppRunner(web_app.app, shutdown_timeout=5)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()

    return start


@pytest.fixture
async def held() -> AsyncIterator[Held]:
    """A service whose tasks end when an event is set, and that event."""
    go = threading.Event()

    def hold(_work: Work) -> None:
        go.wait()

    async with LocalService(runner=InstantRunner(fail=hold)) as service:
        try:
            yield service, go
        finally:
            go.set()


def form(media: bytes, face: bytes = b"\x89PNG\r\n\x1a\nface", **fields: str) -> FormData:
    data = FormData()
    data.add_field("media", media, filename="../../my cat.png", content_type="image/png")
    data.add_field("face", face, filename="me.png", content_type="image/png")
    for name, value in ({"consent": "yes"} | fields).items():
        if value:
            data.add_field(name, value)
    return data


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """List what the app has on the disk."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return lambda: [str(path.relative_to(folder)) for folder in tmp_path.glob("swaps-*") for path in folder.rglob("*")]


PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 10


async def states(visitor: aiohttp.ClientSession, url: str, name: str) -> list[dict[str, Any]]:
    """Read the events of a swap to their end."""
    async with visitor.get(f"{url}/swaps/{name}/events") as answer:
        assert answer.content_type == "text/event-stream"
        return [json.loads(line[6:]) async for line in answer.content if line.startswith(b"data: ")]


async def reach(visitor: aiohttp.ClientSession, url: str, name: str, state: str) -> None:
    """Read the events of a swap until it is in a state."""
    async with visitor.get(f"{url}/swaps/{name}/events") as answer:
        async for line in answer.content:
            if f'"{state}"'.encode() in line:
                return
    pytest.fail(f"it was never in the state {state}")


async def begin(visitor: aiohttp.ClientSession, url: str, data: FormData) -> str:
    async with visitor.post(f"{url}/swaps", data=data) as answer:
        assert answer.status == 202, await answer.text()
        return str((await answer.json())["swap"])


async def test_an_upload_is_swapped_while_its_progress_is_told(start: Start, held: Held) -> None:
    service, go = held
    async with start(service) as url, aiohttp.ClientSession() as visitor:
        name = await begin(visitor, url, form(PICTURE))
        await reach(visitor, url, name, "wait")
        watching = asyncio.create_task(states(visitor, url, name))
        go.set()
        assert (await watching)[-1] == {"state": "done", "message": ""}
        async with visitor.get(f"{url}/swaps/{name}/result") as answer:
            assert (answer.content_type, answer.headers["Cache-Control"]) == ("image/png", "no-store")
            assert await answer.read() == PICTURE
        assert len(service.ledger.creations) == 1


async def test_a_failure_is_told_without_what_is_inside(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    async with LocalService(runner=InstantRunner()) as service, start(service) as url:
        service.faults.add(FaultRule(Fault.TASK_FAILS, CREATES, code=602, message="secret of the inside"))
        async with aiohttp.ClientSession() as visitor:
            name = await begin(visitor, url, form(PICTURE))
            last = (await states(visitor, url, name))[-1]
            assert last["state"] == "failed"
            assert "No face was found" in last["message"]
            assert "inside" not in last["message"]
            assert "secret of the inside" in caplog.text
            async with visitor.get(f"{url}/swaps/{name}/result") as answer:
                assert answer.status == 404


async def test_what_is_no_picture_costs_nothing(start: Start, local: LocalService) -> None:
    async with start(local) as url, aiohttp.ClientSession() as visitor:
        name = await begin(visitor, url, form(b"no picture"))
        last = (await states(visitor, url, name))[-1]
    assert "cannot be used" in last["message"]
    assert not local.ledger.calls


@pytest.mark.parametrize(
    ("data", "headers", "status"),
    [
        (lambda: form(PICTURE, consent=""), {}, 400),
        (lambda: form(PICTURE, more="x"), {}, 400),
        (lambda: form(PICTURE), {"Sec-Fetch-Site": "cross-site"}, 403),
        (lambda: form(b"x" * 5000), {}, 413),
        (lambda: form(b"x" * 50_000), {}, 413),
        (lambda: {"media": "1"}, {}, 415),
    ],
)
async def test_what_must_not_be_taken_is_refused_and_leaves_nothing(
    start: Start,
    web_app: Any,
    local: LocalService,
    files: Callable[[], list[str]],
    data: Callable[[], Any],
    headers: dict[str, str],
    status: int,
) -> None:
    web_app.MAX_FILE_BYTES = 4000
    async with start(local) as url, aiohttp.ClientSession() as visitor:
        async with visitor.post(f"{url}/swaps", data=data(), headers=headers) as answer:
            assert answer.status == status
        assert files() == []
    assert not local.ledger.calls


async def test_a_visitor_who_sends_too_slowly_makes_room(start: Start, web_app: Any, local: LocalService) -> None:
    web_app.UPLOAD_S, web_app.MOST_AT_ONCE = 0.1, 1

    async def dawdle() -> AsyncIterator[bytes]:
        yield b"\x89PNG"
        await anyio.sleep_forever()

    async with start(local) as url, aiohttp.ClientSession() as visitor:
        slow = FormData()
        slow.add_field("media", dawdle(), filename="a.png")
        async with visitor.post(f"{url}/swaps", data=slow) as answer:
            assert answer.status == 408
        await states(visitor, url, await begin(visitor, url, form(PICTURE)))


async def test_one_too_many_is_asked_to_come_back(start: Start, web_app: Any, held: Held) -> None:
    service, go = held
    web_app.MOST_AT_ONCE = 1
    async with start(service) as url, aiohttp.ClientSession() as visitor:
        name = await begin(visitor, url, form(PICTURE))
        async with visitor.post(f"{url}/swaps", data=form(PICTURE)) as answer:
            assert answer.status == 503
        go.set()
        await states(visitor, url, name)
        await begin(visitor, url, form(PICTURE))


async def test_a_visitor_who_leaves_loses_nothing_and_finds_out_later(start: Start, web_app: Any, held: Held) -> None:
    service, go = held
    web_app.STILL_HERE_S = 0.01
    async with start(service) as url:
        async with aiohttp.ClientSession() as visitor:
            name = await begin(visitor, url, form(PICTURE))
            async with visitor.get(f"{url}/swaps/{name}/events") as answer:
                async for line in answer.content:
                    if line == b": still here\n":
                        break
        go.set()
        async with aiohttp.ClientSession() as visitor:
            assert (await states(visitor, url, name))[-1]["state"] == "done"


async def test_results_are_forgotten(start: Start, web_app: Any, held: Held, files: Callable[[], list[str]]) -> None:
    service, go = held
    web_app.KEEP_S = 0.01
    async with start(service) as url, aiohttp.ClientSession() as visitor:
        name = await begin(visitor, url, form(PICTURE))
        assert {f"{name}/media", f"{name}/face"} <= set(files())
        go.set()
        await asyncio.wait(web_app.app[web_app.SWAPS]._tasks)
        assert files() == []
        async with visitor.get(f"{url}/swaps/{name}/result") as answer:
            assert answer.status == 404


async def test_a_running_swap_ends_before_the_app_does(
    start: Start, held: Held, files: Callable[[], list[str]]
) -> None:
    service, go = held
    told: list[bytes] = []
    begun = asyncio.Event()

    async def watch() -> None:
        async with visitor.get(f"{url}/swaps/{name}/events") as answer:
            async for line in answer.content:
                told.append(line)
                if b'"wait"' in line:
                    begun.set()
        go.set()

    async with aiohttp.ClientSession() as visitor:
        async with start(service) as url:
            name = await begin(visitor, url, form(PICTURE))
            watching = asyncio.create_task(watch())
            await begun.wait()
        await watching
    assert b'"done"' not in b"".join(told)  # browsers are let go at once
    assert service.ledger.calls["get"] == 1  # and the result was fetched
    assert files() == []


async def test_a_swap_that_does_not_end_is_cut_off(
    start: Start, web_app: Any, held: Held, caplog: pytest.LogCaptureFixture
) -> None:
    service, _ = held
    web_app.GRACE_S = 0.05
    async with start(service) as url, aiohttp.ClientSession() as visitor:
        await reach(visitor, url, await begin(visitor, url, form(PICTURE)), "wait")
    assert "were cut off" in caplog.text


@pytest.mark.slow
@pytest.mark.browser
async def test_in_a_browser(start: Start, page: Page, tmp_path: Path) -> None:
    shutil.copy(PORTRAITS / "hopper.jpg", tmp_path / "team.jpg")
    shutil.copy(PORTRAITS / "collins.png", tmp_path / "me.png")
    async with LocalService() as service, start(service) as url:
        await page.goto(url)
        await page.get_by_label("Picture to change").set_input_files(tmp_path / "team.jpg")
        await page.get_by_label("Face to put in").set_input_files(tmp_path / "me.png")
        await page.get_by_role("checkbox").check()
        await page.get_by_role("button", name="Swap").click()
        picture = page.get_by_role("img")
        await expect(picture).to_be_visible(timeout=100_000)  # the engine takes what the machine gives it
        await expect(picture).to_have_js_property("naturalWidth", 512)
        assert await page.locator("li.past").count() == 6
