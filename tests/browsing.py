"""Pages in a headless Chromium: one browser for all tests, a fresh profile for each.

A test asks for ``page`` and is marked ``browser``. Its page has no cookies and no cache of another's. At the end the
test fails if the page had an error: a script's exception, a message on the console, a refusal by the page's own policy.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest

if TYPE_CHECKING:
    from playwright.async_api import BrowserContext, ConsoleMessage, Page

CHROMIUM = "/usr/bin/chromium"
_ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",  # in containers there is none to be had
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--mute-audio",
    "--remote-debugging-port=0",
)


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A browser; its address, for `connect_over_cdp`."""
    program = shutil.which("chromium") or CHROMIUM
    if not Path(program).exists():
        pytest.fail(f"{program} is missing: the pages are tested in Chromium, which Debian has as chromium")
    profile = tmp_path_factory.mktemp("chromium")
    command = [program, *_ARGUMENTS, f"--user-data-dir={profile}", "about:blank"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield _address(process)
        finally:
            process.terminate()


def _address(process: subprocess.Popen[str]) -> str:
    """Read where a browser listens from what it says."""
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        if found := re.search(r"DevTools listening on (ws://\S+)", line):
            threading.Thread(target=process.stderr.read, daemon=True).start()  # a full pipe would stop the browser
            return found[1]
        said.append(line)
    pytest.fail("Chromium did not start:\n" + "".join(said))


@pytest.fixture
async def context(chromium: str) -> AsyncIterator[BrowserContext]:
    """A profile of a test's own, whose pages must have no errors."""
    # Not above: most runs of the tests have no use for it.
    from playwright.async_api import async_playwright  # noqa: PLC0415

    troubles: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            troubles.append(message.text)

    async with async_playwright() as playwright:
        browser = await playwright.chromium.connect_over_cdp(chromium)
        context = await browser.new_context()
        context.set_default_timeout(10_000)
        context.on("console", note)
        context.on("weberror", lambda error: troubles.append(str(error.error)))
        yield context
        await context.close()
    assert not troubles, "the page had errors: " + "; ".join(troubles)


@pytest.fixture
async def page(context: BrowserContext) -> Page:
    """A blank page."""
    return await context.new_page()


async def until(page: Page, expression: str) -> None:
    """Wait for a condition. The page's own policy forbids the waiting that a browser is asked for with a string."""
    with anyio.fail_after(10):
        while not await page.evaluate(expression):  # noqa: ASYNC110 - the page has no event for us
            await anyio.sleep(0.05)
