"""Every code block of the README and the manual is run, and does what the page says of it."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import shlex
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from facewarp_async.cli.records import outcome_record
from facewarp_async.client import FaceSwapClient
from facewarp_async.errors import Stage
from facewarp_async.models import ImageResult, ImageSwap
from facewarp_async.pipeline import Completed
from facewarp_async.server import LocalService
from tests.docs.pages import MARK, ROOT, Block, blocks_of

TESTED_APART = {
    "testing.md": "tests/testing/test_plugin.py",
    "files-elsewhere.md": "tests/remote/test_document.py",
    "several-machines.md": "tests/distributed/test_document.py",
}
"""The pages whose blocks need more than a folder and a service, and the tests that run them."""

PAGES = [ROOT / "README.md", *(path for path in sorted((ROOT / "docs").glob("*.md")) if path.name not in TESTED_APART)]
BIN = Path(sys.executable).parent

pytestmark = pytest.mark.timeout(600)  # a block may be ten programs one after the other, each with the engine

MAKES = {
    "README.md:python:1": ["out.png", "group-swapped.png"],
    "README.md:python:2": ["out/beach.jpg", "out/day-2/boat.png", "out/sunset.jpg"],
    "README.md:python:3": ["out.jpg"],
    "README.md:bash:3": [
        "team-swapped.jpg",
        "group-swapped.jpg",
        "swapped/beach.jpg",
        "swapped/team.jpg",
        "result.jpg",
    ],
    "migrating.md:python:1": ["out-team.jpg", "out-you.jpg"],
    "command-line.md:csv:1": ["out/team.jpg", "out/clips/with-me.mp4", "out/group.jpg"],
    "getting-started.md:bash:2": ["team-swapped.jpg"],
    "local-service.md:python:1": ["out.jpg"],
    "web-app.md:python:1": ["answer.jpg"],
}
"""The results that a block makes, where the page does not show what it prints."""

SET_UP = {"README.md:bash:1", "README.md:bash:2", "getting-started.md:bash:1"}
"""The blocks that make an environment to run in, which `test_setting_up.py` runs."""

SHOWS_IT = {"getting-started.md:bash:2": "facewarp swap team.jpg me.jpg --rps 0"}
"""What shows that a block has done what it is for, where itself it neither prints nor makes anything."""

LIES_THERE = {"folder.md:python:1": {"holiday/notes.jpg": b"no picture"}}
"""What a block finds besides the usual folder."""


BLOCKS = [block for page in PAGES for block in blocks_of(page)]


def of(*languages: str) -> list[Any]:
    return [
        pytest.param(each, id=each.name) for each in BLOCKS if each.language in languages and each.name not in SET_UP
    ]


def check(block: Block, printed: str, folder: Path) -> None:
    """See that a block has made and printed what the page says."""
    if block.output is None:
        assert MAKES.get(block.name), "say below the block what it prints, or here what it makes"
    else:
        expected = ".*?".join(re.escape(part) for part in block.output.split("…"))
        assert re.fullmatch(expected, printed, re.DOTALL), printed
    for name in MAKES.get(block.name, []):
        assert MARK in (folder / name).read_bytes(), f"{name} is no result of a swap"


def execute(block: Block) -> tuple[str, dict[str, Any]]:
    """Run a block of Python as a program, with its `main` where the page leaves that out; return what it printed."""
    names: dict[str, Any] = {"__name__": "__main__"}
    with redirect_stdout(io.StringIO()) as printed:
        exec(compile(block.text, block.name, "exec"), names)
        if "async def main" in block.text and "asyncio.run(" not in block.text:
            asyncio.run(names["main"]())
    return printed.getvalue(), names


def test_no_block_is_left_out() -> None:
    assert {block.language for block in BLOCKS} <= {"python", "bash", "csv", "json"}
    assert all(page in (ROOT / test).read_text() for page, test in TESTED_APART.items())
    assert SET_UP | MAKES.keys() | SHOWS_IT.keys() <= {block.name for block in BLOCKS}


@pytest.mark.slow
@pytest.mark.parametrize("block", of("python"))
def test_python_does_what_the_page_says(block: Block, folder: Path, service: LocalService) -> None:
    for name, content in LIES_THERE.get(block.name, {}).items():
        (folder / name).write_bytes(content)
    printed, names = execute(block)
    if "app" in names:
        post_to(names["app"], folder)
    check(block, printed, folder)


def post_to(app: web.Application, folder: Path) -> None:
    """Send a picture to a page's web app, as a browser would, and keep the answer; one without a face is refused."""

    async def post() -> None:
        async with TestClient(TestServer(app)) as browser:
            async with browser.post("/swap", data=(folder / "team.jpg").read_bytes()) as answer:
                assert (answer.status, answer.content_type) == (200, "image/jpeg")
                (folder / "answer.jpg").write_bytes(await answer.read())
            async with browser.post("/swap", data=b"no picture") as answer:
                assert (answer.status, await answer.text()) == (422, "UnsupportedFormatError: give another picture")

    asyncio.run(post())


def shell(command: str, folder: Path) -> str:
    """Run lines in a shell whose `facewarp` is the one that is tested, and return what they print."""
    environment = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}", "NO_COLOR": "1"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def paid_task(folder: Path, service: LocalService) -> int:
    """A task that was created before, whose result was not fetched."""

    async def swap() -> int:
        async with FaceSwapClient(service.provider, service.auth, cache_dir=False) as client:
            return (await client.swap_image("team.jpg", "me.jpg")).task_id

    return asyncio.run(swap())


@pytest.mark.slow
@pytest.mark.parametrize("block", of("bash"))
def test_commands_do_what_the_page_says(block: Block, folder: Path, service: LocalService, paid_task: int) -> None:
    lines = block.text.replace("4711", str(paid_task)).replace("'…'", service.auth.key).splitlines()
    lines += [SHOWS_IT[block.name]] if block.name in SHOWS_IT else []
    serving = [line for line in lines if line.startswith("facewarp serve")]
    if serving != lines:
        printed = shell("\n".join(line for line in lines if line not in serving), folder)
        check(block, printed, folder)
    for line in serving:
        serve(line, folder)


def serve(line: str, folder: Path) -> None:
    """Run a service until it is ready, on a free port."""
    _, *arguments = shlex.split(re.sub(r"--port \d+", "--port 0", line), comments=True)
    with subprocess.Popen([BIN / "facewarp", *arguments], cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("http://127.0.0.1:")
        process.terminate()
    assert process.returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("block", of("csv"))
def test_a_list_of_jobs_is_one(block: Block, folder: Path, service: LocalService) -> None:
    (folder / "list.csv").write_text(block.text)
    shell("facewarp batch --manifest list.csv -o out", folder)
    check(block, "", folder)


@pytest.mark.parametrize("block", of("json"))
def test_an_outcome_in_json_is_one(block: Block) -> None:
    outcome = Completed(job=ImageSwap("in/a.jpg", "me.jpg"), result=ImageResult(task_id=7, key="", url=""))
    record = outcome_record(outcome)
    shown = json.loads(block.text)
    assert shown.keys() == record.keys()
    assert {type(value) for value in shown["seconds"].values()} == {float}
    assert set(shown["seconds"]) == set(Stage)
    assert shown["status"] == record["status"]
