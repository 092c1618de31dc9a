"""The page in a browser: with mouse, finger and keyboard, on a phone, in the dark, without scripts, with thousands."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import av
import cv2
import numpy as np
import pytest

from facewarp_async.errors import NoFaceError
from facewarp_async.journal import JobRecord, JobState, RunRecord
from tests.browsing import until

if TYPE_CHECKING:
    from playwright.async_api import BrowserContext, Page

pytestmark = [pytest.mark.anyio, pytest.mark.browser, pytest.mark.slow]

MakePage = Callable[..., Any]
MakeRecord = Callable[..., JobRecord]
MakeRun = Callable[..., RunRecord]


@pytest.fixture
def records(make_swap: MakeRecord, make_record: MakeRecord) -> list[JobRecord]:
    """Three jobs that are done, and two that have failed."""
    failed = {"state": JobState.FAILED, "error": NoFaceError("no face was found", task_id=8)}
    return [
        *(make_swap(f"beach-{number}") for number in range(3)),
        *(make_record(f"x{n}.jpg", **failed) for n in (1, 2)),
    ]


async def open_page(page: Page, path: Path) -> list[str]:
    """Open a page, and return the addresses that it asks for, as they come to be."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    await page.goto(path.as_uri())
    return asked


async def shade(page: Page, *, at: float) -> int:
    """Return how light the first wipe is, on a line through its middle."""
    box = await page.locator(".wipe").first.bounding_box()
    assert box is not None
    clip: Any = {"x": box["x"] + at * box["width"], "y": box["y"] + box["height"] * 0.3, "width": 2, "height": 2}
    data = await page.screenshot(clip=clip)

    def read() -> int:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert image is not None
        return int(image.mean())

    return await anyio.to_thread.run_sync(read)


DARK, LIGHT = range(30, 50), range(210, 230)


async def test_the_wipe_follows_the_keys(page: Page, make_page: MakePage, records: list[JobRecord]) -> None:
    await open_page(page, await make_page(records))
    await page.locator(".wipe").first.scroll_into_view_if_needed()
    assert await shade(page, at=0.3) in DARK, "before"
    assert await shade(page, at=0.7) in LIGHT, "after"
    await page.locator(".wipe input").first.focus()
    for _ in range(30):
        await page.keyboard.press("ArrowRight")
    assert await shade(page, at=0.7) in DARK
    assert await page.locator(".wipe input").first.get_attribute("aria-valuetext") == "80 % before, 20 % after"
    await page.keyboard.press("Home")
    assert await shade(page, at=0.3) in LIGHT


@pytest.mark.parametrize("how", ["mouse", "finger"])
async def test_the_wipe_follows_the_pointer(
    context: BrowserContext, make_page: MakePage, records: list[JobRecord], how: str
) -> None:
    assert context.browser is not None
    own = await context.browser.new_context(has_touch=how == "finger")
    page = await own.new_page()
    await open_page(page, await make_page(records))
    await page.locator(".wipe").first.scroll_into_view_if_needed()
    box = await page.locator(".wipe").first.bounding_box()
    assert box is not None
    y = box["y"] + box["height"] / 2
    if how == "mouse":
        await page.mouse.move(box["x"] + box["width"] / 2, y)
        await page.mouse.down()
        await page.mouse.move(box["x"] + box["width"] * 0.8, y, steps=5)
        await page.mouse.up()
    else:
        await page.touchscreen.tap(box["x"] + box["width"] * 0.8, y)
    assert abs(int(await page.locator(".wipe input").first.input_value()) - 80) <= 1
    assert await shade(page, at=0.7) in DARK
    await own.close()


async def test_files_are_found_by_state_and_by_words(page: Page, make_page: MakePage, records: list[JobRecord]) -> None:
    await open_page(page, await make_page(records))
    shown = page.locator(".card:visible")
    assert await shown.count() == 5
    await page.get_by_label("failed 2").check(force=True)
    assert await shown.count() == 2
    assert await page.locator("output").inner_text() == "2 of 5"
    await page.get_by_label("Find").fill("X2 face")
    assert await shown.count() == 1
    await page.get_by_label("Find").fill("nowhere")
    assert await page.get_by_text("No file fits.").is_visible()
    await page.get_by_label("Find").fill("")
    await page.get_by_label("all").check(force=True)
    assert await shown.count() == 5


async def test_failures_are_the_first_files(page: Page, make_page: MakePage, records: list[JobRecord]) -> None:
    await open_page(page, await make_page(records))
    assert await page.locator(".card h3").all_text_contents() == [
        "x1.jpg", "x2.jpg", "in/beach-0.png", "in/beach-1.png", "in/beach-2.png",
    ]  # fmt: skip


async def test_all_can_be_done_by_keys(page: Page, make_page: MakePage, records: list[JobRecord]) -> None:
    """From the top: skip to the files, a wipe, enlarge, the next, back to where it was."""
    await open_page(page, await make_page(records))
    await page.keyboard.press("Tab")
    assert await page.evaluate("document.activeElement.textContent") == "Skip to the files"
    await page.keyboard.press("Enter")
    seen = []
    for _ in range(6):
        await page.keyboard.press("Tab")
        seen.append(await page.evaluate("document.activeElement.type || document.activeElement.className"))
    assert seen == ["search", "radio", "range", "button", "before", "after"]
    await page.keyboard.press("Shift+Tab")
    await page.keyboard.press("Shift+Tab")
    await page.keyboard.press("Enter")
    title = page.locator("#large .title")
    assert await title.inner_text() == "in/beach-0.png"
    assert await page.evaluate("document.activeElement.type") == "range"
    await page.keyboard.press("PageDown")
    assert await title.inner_text() == "in/beach-1.png"
    await page.keyboard.press("PageUp")
    await page.keyboard.press("PageUp")
    assert await title.inner_text() == "in/beach-2.png", "round"
    await page.keyboard.press("Escape")
    assert not await page.locator("#large").is_visible()
    await until(page, "document.activeElement.getAttribute('aria-label') === 'Enlarge in/beach-2.png'")


async def test_enlarged_the_files_themselves_are_shown_or_their_copies(
    context: BrowserContext, make_page: MakePage, records: list[JobRecord], tmp_path: Path
) -> None:
    assert context.browser is not None
    own = await context.browser.new_context()  # the console tells of what is missing, and may
    page = await own.new_page()
    await open_page(page, await make_page(records))
    (tmp_path / "in" / "beach-0.png").unlink()
    await page.locator(".enlarge").first.click()
    await page.wait_for_function(
        "[...document.querySelectorAll('#large img')].every(i => i.complete && i.naturalWidth)"
    )
    sources = [await picture.get_attribute("src") for picture in await page.locator("#large img").all()]
    assert [(source or "")[:4] for source in sources] == ["data", "file"]
    assert await page.locator(".lost").count() == 0
    await own.close()


async def test_nothing_is_asked_of_a_network_and_names_lead_to_their_files(
    page: Page, make_page: MakePage, make_swap: MakeRecord
) -> None:
    names = ["javascript:alert(1)%41#?&", "\"'><img src=x onerror=alert(1)>", "raw\udcff", "new\nline", "😀"]
    asked = await open_page(page, await make_page([make_swap(name) for name in names], pictures="link"))
    await page.wait_for_function("[...document.images].every(image => image.complete)")
    assert await page.evaluate("[...document.images].map(image => image.naturalWidth)") == [64] * 10
    assert await page.locator(".lost").count() == 0
    assert {address.partition(":")[0] for address in asked} <= {"file", "data"}
    assert len(asked) >= 11
    for link in await page.locator(".links a").all():
        assert await link.evaluate("link => link.protocol") == "file:"


async def test_a_picture_that_was_moved_later_is_told_of(
    context: BrowserContext, make_page: MakePage, records: list[JobRecord], tmp_path: Path
) -> None:
    path = await make_page(records, pictures="link")
    (tmp_path / "out" / "beach-0.png").unlink()
    assert context.browser is not None
    own = await context.browser.new_context()  # the console tells of it, and may
    page = await own.new_page()
    await open_page(page, path)
    await page.locator(".lost").wait_for()
    assert await page.locator(".lost").count() == 1
    await own.close()


def copy_all(folder: Path, count: int) -> None:
    """Give the first picture many names, before and after."""
    for where in ("in", "out"):
        for number in range(count):
            (folder / where / f"{number}.png").hardlink_to(folder / where / "first.png")


async def test_videos_play_together(page: Page, make_page: MakePage, make_record: MakeRecord, tmp_path: Path) -> None:
    for folder in ("in", "out"):
        await anyio.to_thread.run_sync(film, tmp_path / folder / "a.mp4")
    record = make_record("a.mp4", source=str(tmp_path / "in" / "a.mp4"), path="a.mp4")
    await open_page(page, await make_page([record]))
    times = "[...document.querySelectorAll('.card video')].map((video) => video.currentTime)"
    assert await page.evaluate(times) == [0, 0]
    await page.get_by_role("button", name="Play").click()
    await page.wait_for_function(f"() => {times}.every((time) => time > 0.2)")
    before, after = await page.evaluate(times)
    assert abs(before - after) < 0.4
    await page.get_by_role("button", name="Pause").click()
    assert await page.evaluate("[...document.querySelectorAll('.card video')].every((video) => video.paused)")


def film(path: Path) -> None:
    """Write a video of two seconds."""
    path.parent.mkdir(exist_ok=True)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for light in range(20):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 10 * light, np.uint8), format="bgr24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


async def test_without_scripts_before_and_after_stand_side_by_side(
    context: BrowserContext, make_page: MakePage, records: list[JobRecord]
) -> None:
    assert context.browser is not None
    own = await context.browser.new_context(java_script_enabled=False)
    page = await own.new_page()
    await open_page(page, await make_page(records))
    boxes = [await picture.bounding_box() for picture in await page.locator(".wipe").first.locator("img").all()]
    assert boxes[0] is not None
    assert boxes[1] is not None
    assert boxes[0]["x"] + boxes[0]["width"] <= boxes[1]["x"]
    assert not await page.locator(".wipe input").first.is_visible()
    assert not await page.locator(".filter").is_visible()
    await own.close()


async def test_in_print_before_and_after_stand_side_by_side(
    page: Page, make_page: MakePage, records: list[JobRecord]
) -> None:
    await open_page(page, await make_page(records))
    await page.emulate_media(media="print")
    before, after = [await each.bounding_box() for each in await page.locator(".wipe").first.locator("img").all()]
    assert before is not None
    assert after is not None
    assert before["x"] + before["width"] <= after["x"]
    assert not await page.locator(".filter").is_visible()


CONTRAST = """() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgb = (colour) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return canvas.getImageData(0, 0, 1, 1).data;
  };
  const light = (c) => [0.2126, 0.7152, 0.0722].reduce((sum, share, i) => {
    const x = c[i] / 255; return sum + share * (x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
  }, 0);
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const colour = rgb(getComputedStyle(node).backgroundColor);
      if (colour[3] > 250) return colour;
    }
    return [255, 255, 255];
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), poor = [];
  while (walker.nextNode()) {
    const text = walker.currentNode, node = text.parentElement;
    if (!text.textContent.trim() || !node.checkVisibility() || node.closest('.tag, dialog')) continue;
    const [a, b] = [light(rgb(getComputedStyle(node).color)), light(behind(node))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) poor.push([text.textContent.trim(), ratio]);
  }
  return poor;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_texts_stand_out_in_the_light_and_in_the_dark(
    page: Page, make_page: MakePage, records: list[JobRecord], make_record: MakeRecord, make_run: MakeRun, scheme: Any
) -> None:
    records.append(make_record("unfinished", state=JobState.CREATED))
    records.append(make_record("doubt", state=JobState.INTENT, pending=records[0].kind))
    await page.emulate_media(color_scheme=scheme)
    await open_page(page, await make_page(records, [make_run(ending=None)]))
    paper = await page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(246, 246, 244)") == (scheme == "light")
    assert await page.evaluate(CONTRAST) == []


@pytest.mark.parametrize("width", [360, 800, 820, 1600])
async def test_nothing_is_wider_than_the_screen(
    page: Page, make_page: MakePage, make_swap: MakeRecord, make_run: MakeRun, width: int
) -> None:
    await page.set_viewport_size({"width": width, "height": 740})
    records = [make_swap(name) for name in ("a", "b" * 200, "c" * 30, "d")]
    await open_page(page, await make_page(records, [make_run(), make_run(provider="miocreate")], title="t" * 200))
    await page.locator(".runs summary").click()
    assert await page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    widths = [((await card.bounding_box()) or {"width": 0})["width"] for card in await page.locator(".card").all()]
    assert all(280 <= found <= width for found in widths)


async def test_no_part_of_the_page_has_to_be_scrolled_sideways_on_a_phone(
    page: Page, make_page: MakePage, records: list[JobRecord], make_run: MakeRun
) -> None:
    """What a run was about is all in sight; only the buttons to choose files by may be swept along."""
    await page.set_viewport_size({"width": 360, "height": 740})
    await open_page(page, await make_page(records, [make_run()]))
    swept = """() => [...document.querySelectorAll('body *')].filter((node) => node.scrollWidth > node.clientWidth
        && ['auto', 'scroll'].includes(getComputedStyle(node).overflowX)).map((node) => node.tagName)"""
    assert set(await page.evaluate(swept)) <= {"FIELDSET"}
    cells = page.locator(".runs td")
    boxes = [await cell.bounding_box() for cell in await cells.all()]
    assert all(box is not None and box["x"] >= 0 and box["x"] + box["width"] <= 360 for box in boxes)
    assert await cells.evaluate_all("cells => cells.map((cell) => getComputedStyle(cell, '::before').content)") == [
        f'"{heading}"' for heading in ("began", "took", "ended", "service", "tasks", "API calls")
    ]


async def test_on_a_phone_what_is_touched_is_large_enough(
    page: Page, make_page: MakePage, records: list[JobRecord]
) -> None:
    await page.set_viewport_size({"width": 360, "height": 740})
    await open_page(page, await make_page(records))
    for each in await page.locator(".enlarge, .filter span, #find").all():
        box = await each.bounding_box()
        assert box is not None
        assert min(box["width"], box["height"]) >= 32


async def test_what_can_be_worked_with_has_a_name(page: Page, make_page: MakePage, records: list[JobRecord]) -> None:
    await open_page(page, await make_page(records))
    nameless = """() => [...document.querySelectorAll('button, input, a, img, video, [role=img]')].filter((node) =>
        !(node.getAttribute('aria-label') || node.getAttribute('alt') || node.textContent.trim()
          || node.labels?.[0]?.textContent.trim())).map((node) => node.outerHTML)"""
    assert await page.evaluate(nameless) == []
    headings = await page.evaluate("[...document.querySelectorAll('h1, h2, h3')].map((node) => node.tagName)")
    assert headings == ["H1", "H2", "H3", "H3", "H3", "H3", "H3"]


async def test_a_page_of_5000_files_can_be_used_at_once(
    page: Page, make_page: MakePage, make_swap: MakeRecord, make_record: MakeRecord, make_run: MakeRun, tmp_path: Path
) -> None:
    """The bound is wide, for slow machines; a page that lays all files out misses it by far."""
    first = make_swap("first")
    copy_all(tmp_path, 5000)
    records = [
        make_record(f"{n}.png", media=f"{n}.png", source=str(tmp_path / "in" / f"{n}.png"), path=f"{n}.png")
        for n in range(5000)
    ]
    path = await make_page([*records, first], [make_run()])
    assert (await anyio.Path(path).stat()).st_size < 12_000_000
    begun = time.monotonic()
    await open_page(page, path)
    seen = "(node) => node.checkVisibility({contentVisibilityAuto: true})"
    assert await page.locator(".card").first.evaluate(seen)
    assert not await page.locator(".card").last.evaluate(seen), "what is out of sight is not laid out"
    await page.get_by_label("Find").fill("4321.png")
    assert time.monotonic() - begun < 20
    assert await page.locator(".card:visible").count() == 1
    loaded = await page.evaluate("[...document.images].filter((image) => image.naturalWidth).length")
    assert loaded < 1000, "pictures are asked for as they come into sight"
