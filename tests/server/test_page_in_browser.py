"""The page in a browser: a developer watches a program work."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import anyio
import pytest
from yarl import URL

import facewarp_async
from facewarp_async.client import FaceSwapClient
from facewarp_async.models import Asset, ImageSwap
from facewarp_async.pipeline import SwapPipeline
from facewarp_async.server.page.seen import MOST_REQUESTS
from facewarp_async.testing import FakeService, Fault, FaultRule, MediaFolder
from facewarp_async.wire.requests import TASK_PATH, UPLOAD_URL_PATH
from tests.browsing import until

if TYPE_CHECKING:
    from playwright.async_api import Page

pytestmark = [pytest.mark.anyio, pytest.mark.browser, pytest.mark.slow]

PORTRAITS = Path(facewarp_async.__file__).with_name("engine") / "data" / "portraits"
LOADED = "images => images.length > 0 && images.every(image => image.complete && image.naturalWidth > 0)"


@pytest.fixture
async def client(
    facewarp_service: FakeService, make_client: Callable[..., FaceSwapClient]
) -> AsyncIterator[FaceSwapClient]:
    async with make_client(facewarp_service.provider, facewarp_service.auth) as client:
        yield client


@pytest.fixture
async def watched(page: Page, facewarp_service: FakeService) -> AsyncIterator[Page]:
    """The page, opened by its link, and closed before the service that it asks ends."""
    await page.goto(facewarp_service.page_url)
    await page.wait_for_selector("#state[data-state=live]")
    yield page
    await page.close()


async def text(page: Page, selector: str) -> list[str]:
    return await page.locator(selector).all_inner_texts()


def cards(progress: str, number: int) -> str:
    """Return the condition that so many tasks are so far."""
    return f"document.querySelectorAll('.card[data-progress={progress}]').length === {number}"


def loaded(selector: str) -> str:
    """Return the condition that pictures are there."""
    return f"({LOADED})([...document.querySelectorAll('{selector} img')])"


TIMES = "document.querySelector('.times')?.textContent === '\\u00d7{}'"


async def fits(page: Page) -> bool:
    """Tell whether nothing of the page is beyond the window's right edge."""
    return bool(await page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))


async def test_the_link_leaves_no_token_behind(watched: Page, facewarp_service: FakeService) -> None:
    """Not in the address, and in no script's reach."""
    assert watched.url == f"{facewarp_service.base_url}/"
    assert await watched.evaluate("document.cookie") == ""
    assert await watched.locator("#no-tasks").is_visible()
    assert f"FACEWARP_BASE_URL={facewarp_service.base_url}" in (await text(watched, "#no-tasks pre"))[0]


async def test_tasks_are_seen_as_they_run(
    watched: Page, facewarp_service: FakeService, client: FaceSwapClient, facewarp_media: MediaFolder, tmp_path: Path
) -> None:
    facewarp_service.hold_tasks()
    photos = [facewarp_media.make(f"{name}.jpg") for name in ("one", "two", "wall")]
    facewarp_service.fail_tasks(602, media=photos[2])
    async with SwapPipeline(client, output_dir=tmp_path / "out") as pipeline, anyio.create_task_group() as group:
        group.start_soon(pipeline.collect, [ImageSwap(photo, PORTRAITS / "hopper.jpg") for photo in photos])
        await until(watched, cards("processing", 3))
        assert not await watched.locator("#no-tasks").is_visible()
        assert await text(watched, "#processing") == ["3"]
        facewarp_service.release_tasks()
        await until(watched, cards("finished", 2))
        assert await text(watched, ".card[data-progress=failed] .message") == ["No face detected"]
        assert await text(watched, ".card[data-progress=failed] .code") == ["602"]
        assert await text(watched, ".card[data-progress=failed] .name") == ["wall.jpg"]
        assert sorted(await text(watched, ".card[data-progress=finished] .name")) == ["one.jpg", "two.jpg"]
        assert [await text(watched, f"#{each}") for each in ("processing", "finished", "failed")] == [
            ["0"],
            ["2"],
            ["1"],
        ]
        images = watched.locator(".card[data-progress=finished] img")
        assert await images.count() == 6  # before, after and the face
        await until(watched, loaded(".card[data-progress=finished]"))


async def test_requests_are_seen_and_those_in_trouble_alone(
    watched: Page, facewarp_service: FakeService, client: FaceSwapClient, facewarp_media: MediaFolder
) -> None:
    facewarp_service.faults.add(FaultRule(Fault.RATE_LIMITED, UPLOAD_URL_PATH, times=1))
    await client.upload(facewarp_media.make("me.jpg"))
    await until(watched, "document.querySelectorAll('.request').length === 3")
    assert await text(watched, ".request .target span:first-child") == ["/storage/… me.jpg", *[UPLOAD_URL_PATH] * 2]
    assert await text(watched, ".request.trouble .answer") == ["429 802"]
    assert await text(watched, ".request.trouble .fault") == ["played: rate limited"]
    await watched.get_by_label("only trouble").check()
    assert await watched.locator(".request:visible").count() == 1


async def test_the_same_request_again_is_one_row_and_rows_are_bounded(
    watched: Page, facewarp_service: FakeService, client: FaceSwapClient, facewarp_media: MediaFolder
) -> None:
    assets = [await client.upload(facewarp_media.make(name)) for name in ("a.jpg", "b.jpg")]
    task_id = await client.create_image_swap(*assets)
    for _ in range(5):
        await client.get_task(task_id)
    await until(watched, TIMES.format(5))
    assert await text(watched, ".request:first-child .target span:first-child") == [TASK_PATH]
    for number in range(MOST_REQUESTS):
        call = client.request_upload if number % 2 else client.access_url
        await call(assets[0].key)
    await until(watched, f"document.querySelectorAll('.request').length === {MOST_REQUESTS}")
    assert await watched.locator(".times").count() == 0


async def test_names_from_elsewhere_are_text(
    watched: Page, client: FaceSwapClient, facewarp_service: FakeService, make_client: Callable[..., FaceSwapClient]
) -> None:
    """An element, a script and an attribute that ends: none of it becomes a part of the page."""
    name = "<img src=x onerror=\"document.title='gone'\"><script>1</script>'\"&amp; " + "long " * 40 + ".jpg"
    grant = await client.request_upload(name)
    target, portrait = URL(grant.url, encoded=True), (PORTRAITS / "hopper.jpg").read_bytes()
    async with aiohttp.ClientSession() as http, http.put(target, data=portrait) as response:
        assert response.status == 200
    facewarp_service.fail_tasks(601, message="<b>no</b>")
    await client.create_image_swap(Asset(grant.key), Asset(grant.key))
    await watched.wait_for_selector(".card[data-progress=failed]")
    assert (await watched.locator(".card .name").text_content() or "").startswith(name[:150])
    assert await text(watched, ".card .message") == ["<b>no</b>"]
    assert await watched.title() == "Local face swap service"
    assert await watched.locator("main script, main b, img[onerror]").count() == 0
    assert await fits(watched)


async def test_a_task_is_looked_at_closely_by_keyboard_alone(
    watched: Page, client: FaceSwapClient, facewarp_media: MediaFolder
) -> None:
    face = facewarp_media.make("me.jpg")
    for media in (PORTRAITS / "collins.png", PORTRAITS / "hopper.jpg"):
        await client.swap_image(media, face)
    await until(watched, cards("finished", 2))
    await watched.keyboard.press("Tab")
    assert await watched.evaluate("document.activeElement.className") == "skip"
    await watched.keyboard.press("Enter")
    await watched.keyboard.press("Tab")
    await watched.keyboard.press("Enter")
    viewer = watched.locator("#viewer")
    assert await viewer.is_visible()
    assert await text(watched, "#viewer-title") == ["hopper.jpg"]
    await until(watched, loaded("#viewer"))
    assert [each.partition(" ·")[0] for each in await text(watched, "#viewer figcaption")] == [
        "before",
        "after",
        "me.jpg",
    ]
    await watched.keyboard.press("ArrowRight")
    assert await text(watched, "#viewer-title") == ["collins.png"]
    await watched.keyboard.press("ArrowRight")
    assert await text(watched, "#viewer-title") == ["collins.png"]
    await watched.keyboard.press("Escape")
    assert not await viewer.is_visible()
    await until(watched, "document.activeElement.getAttribute('aria-label').includes('collins.png')")


async def test_a_clip_is_played(watched: Page, client: FaceSwapClient, facewarp_media: MediaFolder) -> None:
    await client.swap_video(facewarp_media.make("clip.mp4"), facewarp_media.make("me.jpg"))
    await watched.locator(".card[data-progress=finished]").click()
    await until(watched, "[...document.querySelectorAll('#viewer video')].every(clip => clip.videoWidth === 16)")
    assert await watched.locator("#viewer video").count() == 2


async def test_it_fits_a_phone_and_follows_the_system_into_the_dark(
    watched: Page, client: FaceSwapClient, facewarp_media: MediaFolder
) -> None:
    await client.swap_image(facewarp_media.make("a" * 100 + ".jpg"), facewarp_media.make("b" * 100 + ".jpg"))
    await watched.wait_for_selector(".card[data-progress=finished]")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = await watched.evaluate(ground)
    await watched.emulate_media(color_scheme="dark")
    assert await watched.evaluate(ground) != light
    for width in (360, 768, 1600):
        await watched.set_viewport_size({"width": width, "height": 800})
        assert await fits(watched), width
    await watched.set_viewport_size({"width": 360, "height": 800})
    await watched.locator(".card").click()
    box = await watched.locator("#viewer").bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 360


async def test_it_says_when_the_service_is_gone_and_when_it_is_back(watched: Page) -> None:
    await watched.evaluate(
        "() => { window.real = window.fetch; window.fetch = () => Promise.reject(new Error('gone')); }"
    )
    await watched.wait_for_selector("#state[data-state=gone]")
    assert await text(watched, "#state") == ["not reachable; trying again"]
    await watched.evaluate("() => { window.fetch = window.real; }")
    await watched.wait_for_selector("#state[data-state=live]")


async def test_a_service_that_was_started_anew_is_followed_from_its_beginning(
    watched: Page, client: FaceSwapClient, facewarp_service: FakeService
) -> None:
    for _ in range(3):
        await client.request_upload("a.jpg")
    await until(watched, TIMES.format(3))
    seen: Any = facewarp_service._service._gate.page.seen
    seen._seen.clear()
    seen.last = 0
    await client.request_upload("a.jpg")
    await until(watched, "document.querySelectorAll('.times').length === 0")
    assert await watched.locator(".request").count() == 1
