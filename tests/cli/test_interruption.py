"""Signals: an end within a second, without noise."""

from __future__ import annotations

import array
import fcntl
import os
import re
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from facewarp_async.client import FaceSwapClient
from facewarp_async.config import ApiKey, Provider
from facewarp_async.models import TaskKind
from facewarp_async.server import InstantRunner, LocalService
from tests.cli.reading import read_until
from tests.patience import seconds

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

MakeFile = Callable[..., Path]
Settings = Callable[[LocalService], dict[str, str]]
BATCH = ["batch", "in", "--face", "me.png", "-o", "out"]


@pytest.fixture(autouse=True)
def heeded_hangups() -> Iterator[None]:
    """Have programs heed SIGHUP, also where the tests run under nohup: it would be left to them to ignore it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


class Sluggish:
    """A runner's duration that never ends, and an event for when the first task has begun."""

    def __init__(self) -> None:
        self.begun = anyio.Event()

    def __call__(self, _kind: TaskKind) -> float:
        self.begun.set()
        return 600.0


@pytest.mark.parametrize(
    ("command", "number"),
    [
        (BATCH, signal.SIGINT),
        (BATCH, signal.SIGTERM),
        (BATCH, signal.SIGHUP),
        (["swap", "in/0.png", "me.png"], signal.SIGINT),
    ],
)
async def test_a_signal_ends_a_command_soon_and_quietly(
    command: list[str], number: int, start: Any, settings: Settings, make_file: MakeFile, read_errors: Any
) -> None:
    for index in range(4):
        make_file(f"in/{index}.png")
    make_file("me.png")
    sluggish = Sluggish()
    async with (
        LocalService(runner=InstantRunner(duration_s=sluggish)) as service,
        start(*command, env=settings(service)) as process,
    ):
        with anyio.fail_after(seconds(20)):
            await sluggish.begun.wait()
        process.send_signal(number)
        begun = time.monotonic()
        errors = await read_errors(process)
        assert await process.wait() == 130
    assert time.monotonic() - begun < seconds(1.5)
    assert [
        line for line in errors.splitlines() if "Traceback" in line or "Warning" in line or "Unclosed" in line
    ] == []
    if command[0] == "batch":
        assert errors.splitlines()[-2].startswith("interrupted: 0 done")
        assert errors.splitlines()[-1] == "run the same command again to go on"


async def test_a_signal_ends_the_embedded_service_and_its_workers(start: Any, read_errors: Any, tmp_path: Path) -> None:
    async with start("demo", stdout=subprocess.PIPE) as process:
        await read_until(process, b"sample photos")
        process.send_signal(signal.SIGINT)
        begun = time.monotonic()
        errors = await read_errors(process)
        assert await process.wait() == 130
    assert time.monotonic() - begun < seconds(1.5)
    assert "Traceback" not in errors
    assert list(tmp_path.rglob("*.part")) == []  # noqa: ASYNC240 - a few files


async def test_a_reader_that_stands_still_does_not_hold_the_end(
    start: Any, here: dict[str, str], make_file: MakeFile, read_errors: Any
) -> None:
    for index in range(40):
        make_file(f"in/{index}.png")
    make_file("me.png")
    read_end, write_end = os.pipe()
    room = fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, 4096)
    async with start(*BATCH, "--json", env=here, stdout=write_end) as process:
        os.close(write_end)
        with anyio.fail_after(seconds(20)):
            while _waiting_bytes(read_end) < room - 250:  # noqa: ASYNC110 - a pipe has no event for being full
                await anyio.sleep(0.02)
        process.send_signal(signal.SIGINT)
        begun = time.monotonic()
        errors = await read_errors(process)
        assert await process.wait() == 130
    os.close(read_end)
    assert time.monotonic() - begun < seconds(1.5)
    assert "Traceback" not in errors


def _waiting_bytes(descriptor: int) -> int:
    number = array.array("i", [0])
    fcntl.ioctl(descriptor, termios.FIONREAD, number)
    return number[0]


async def test_a_second_signal_does_not_break_into_the_end(
    start: Any, settings: Settings, make_file: MakeFile, read_errors: Any
) -> None:
    sluggish = Sluggish()
    async with (
        LocalService(runner=InstantRunner(duration_s=sluggish)) as service,
        start("swap", make_file("a.png"), make_file("me.png"), env=settings(service)) as process,
    ):
        with anyio.fail_after(seconds(20)):
            await sluggish.begun.wait()
        for _ in range(5):
            process.send_signal(signal.SIGINT)
        errors = await read_errors(process)
        assert await process.wait() == 130
    assert "Traceback" not in errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_serve_prints_its_address_serves_and_ends_well(
    number: int, start: Any, make_file: MakeFile, read_errors: Any, tmp_path: Path
) -> None:
    arguments = ["--api-key", "sesame", "--data-dir", tmp_path / "state"]
    async with start("serve", *arguments) as process:
        with anyio.fail_after(seconds(20)):
            url = (await process.stdout.receive()).decode()
        assert url.endswith("\n")
        async with FaceSwapClient(Provider("local", url.strip(), requests_per_second=None), ApiKey("sesame")) as client:
            assert (await client.upload(make_file("a.png"))).key
        process.send_signal(number)
        begun = time.monotonic()
        errors = await read_errors(process)
        assert await process.wait() == 0
    assert time.monotonic() - begun < seconds(1.5)
    assert f"export FACEWARP_BASE_URL={url}" in errors
    assert "export FACEWARP_API_KEY=sesame\n" in errors
    link = re.compile(rf"^  {url.strip()}/\?token=[0-9a-f]{{32}}$", re.MULTILINE).search(errors)
    assert link is not None
    assert len(link[0]) < 80
    assert "Traceback" not in errors


async def test_a_port_that_is_taken_is_a_usage_error(run: Any, local: LocalService) -> None:
    ended = await run("serve", "--port", local.provider.base_url.rpartition(":")[2])
    assert (ended.code, ended.out, ended.noise) == (2, b"", [])
    assert ended.err.endswith(": Address already in use: choose another port, or 0 for a free one\n")


SIGNALLED_LATE = """
import atexit, os, signal, sys
from facewarp_async.__main__ import main

class Last:
    def __del__(self, signal_me=(os.kill, os.getpid(), int(sys.argv.pop(1)))):
        kill, me, number = signal_me
        kill(me, number)

last = Last()
atexit.register(last.__del__)
sys.exit(main())
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_after_the_end_changes_nothing(number: int, tmp_path: Path) -> None:
    command = [sys.executable, "-c", SIGNALLED_LATE, str(int(number)), "--version"]
    ended = await anyio.run_process(command, check=False, cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert ended.stdout
