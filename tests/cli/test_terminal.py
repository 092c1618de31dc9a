"""Bars on a terminal, streams that are closed, extras that are missing."""

from __future__ import annotations

import errno
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest

from facewarp_async.server import CREATES, Fault, FaultRule, InstantRunner, LocalService, Made, Work
from tests.patience import seconds

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

MakeFile = Callable[..., Path]
Environment = Callable[[Mapping[str, str] | None], dict[str, str]]
COLOUR = re.compile(r"\x1b\[[0-9;]*3[0-9][0-9;]*m")


@pytest.fixture
def run_on_terminal(program: Sequence[str], environment: Environment, tmp_path: Path) -> Callable[..., Any]:
    """Run the program with stderr on a terminal of so many columns; return its exit code and what it drew.

    What it has drawn is shown to `watch`, again and again, in a thread.
    """

    def run(
        arguments: Sequence[str], columns: int, environ: Mapping[str, str], both: bool, watch: Callable[[bytes], object]
    ) -> tuple[int, str]:
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        process = subprocess.Popen(
            [*program, *arguments],
            env=environment({"TERM": "xterm-256color"} | dict(environ)),
            cwd=tmp_path,
            stderr=slave,
            stdout=slave if both else subprocess.DEVNULL,
        )
        os.close(slave)
        drawn = b""
        killing = threading.Timer(seconds(40), process.kill)
        killing.start()
        try:
            while chunk := os.read(master, 65536):
                drawn += chunk
                watch(drawn)
        except OSError as error:  # what Linux says at the end of a terminal
            if error.errno != errno.EIO:
                raise
        finally:
            os.close(master)
            killing.cancel()
        return process.wait(timeout=seconds(20)), drawn.decode()

    async def run_in_thread(
        *arguments: str,
        columns: int = 80,
        env: Mapping[str, str],
        both: bool = False,
        watch: Callable[[bytes], object] = len,
    ) -> tuple[int, str]:
        return await anyio.to_thread.run_sync(run, arguments, columns, env, both, watch)

    return run_in_thread


@pytest.fixture
def batch(make_file: MakeFile) -> list[str]:
    """A batch with one failure, whose name is hostile."""
    for number in range(5):
        make_file(f"in/{number}.png")
    make_file("in/[red]\x1b[31mbad.png", salt=b"").write_bytes(b"")
    make_file("me.png")
    return ["batch", "in", "--face", "me.png", "-o", "out"]


async def test_bars_are_drawn_and_taken_away(run_on_terminal: Any, batch: list[str], here: dict[str, str]) -> None:
    code, drawn = await run_on_terminal(*batch, env=here)
    assert code == 1
    for word in ("uploaded", "created", "done", "━"):
        assert word in drawn
    assert COLOUR.search(drawn)
    assert "finished: 5 done, 1 failed" in drawn.splitlines()[-1]


class Straggling(InstantRunner):
    """Lets the last of two tasks go when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = 0
        self.let_go = anyio.Event()

    async def run(self, work: Work) -> Made:
        self.begun += 1
        if self.begun == 2:
            await self.let_go.wait()
        return await super().run(work)


async def test_the_time_that_is_left_is_told_while_nothing_ends(
    run_on_terminal: Any, make_file: MakeFile, tmp_path: Path
) -> None:
    for name in ("in/a.png", "in/b.png", "me.png"):
        make_file(name)
    straggling = Straggling()

    def watch(drawn: bytes) -> None:
        if b" left" in drawn:
            anyio.from_thread.run_sync(straggling.let_go.set)

    async with LocalService(runner=straggling) as service:
        env = {"FACEWARP_BASE_URL": service.provider.base_url, "FACEWARP_API_KEY": service.auth.key}
        env["FACEWARP_CACHE_DIR"] = str(tmp_path)
        command = ["batch", "in", "--face", "me.png", "-o", "out", "--rps", "0"]
        code, drawn = await run_on_terminal(*command, env=env, watch=watch)
    assert code == 0
    assert re.search(r"1/2  [0-9.]+ s, (up to|about|[0-9]+( s)? to) [0-9]+ (s|min) left", drawn)


async def test_columns_on_a_terminal_are_parted_by_spaces(
    run_on_terminal: Any, make_file: MakeFile, here: dict[str, str]
) -> None:
    make_file("a.png")
    code, drawn = await run_on_terminal("faces", "a.png", env=here, both=True)
    assert code == 0
    assert "0  a-face-0.png  27,45 67,45" in drawn


async def test_without_colour_bars_are_drawn_without_colour(
    run_on_terminal: Any, batch: list[str], here: dict[str, str]
) -> None:
    code, drawn = await run_on_terminal(*batch, env=here | {"NO_COLOR": "1"})
    assert code == 1
    assert "━" in drawn
    assert not COLOUR.search(drawn)


async def test_names_are_text_on_a_terminal(run_on_terminal: Any, batch: list[str], here: dict[str, str]) -> None:
    _, drawn = await run_on_terminal(*batch, env=here, both=True)
    assert r"in/[red]\x1b[31mbad.png: is empty" in drawn
    assert "out/4.png" in drawn  # stdout is the same screen, and its lines come above the bars


async def test_a_narrow_terminal_gets_one_line(
    run_on_terminal: Any, batch: list[str], here: dict[str, str], local: LocalService
) -> None:
    local.faults.add(FaultRule(Fault.SLOW, delay_s=0.05))
    code, drawn = await run_on_terminal(*batch, columns=40, env=here)
    assert code == 1
    assert "━" not in drawn
    assert re.search(r"\d/6 done", drawn)
    lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "\n", drawn).splitlines()
    assert max(len(line) for line in lines if "/6 done" in line) <= 36


async def test_a_dumb_terminal_gets_lines(
    run_on_terminal: Any, batch: list[str], here: dict[str, str], local: LocalService
) -> None:
    local.faults.add(FaultRule(Fault.SLOW, CREATES, delay_s=1.1))
    code, drawn = await run_on_terminal(*batch, env=here | {"TERM": "dumb"})
    assert code == 1
    # When the second is over that a line is due after, a slow machine is not as far as a quick one.
    assert re.search(
        r"^\d of 6 done(?:, 1 failed)?, \d created(?: \(\d running\))?, \d uploaded \(\d\.\d kB\)", drawn, re.M
    )
    assert "\x1b" not in drawn


async def test_a_reader_that_goes_away_does_not_end_the_work(
    start: Any, here: dict[str, str], make_file: MakeFile, read_errors: Any, tmp_path: Path
) -> None:
    for number in range(5):
        make_file(f"in/{number}.png")
    read_end, write_end = os.pipe()
    os.close(read_end)
    arguments = ["batch", "in", "--face", make_file("me.png"), "-o", "out"]
    async with start(*arguments, env=here, stdout=write_end) as process:
        os.close(write_end)
        errors = await read_errors(process)
        assert await process.wait() == 0
    assert "Traceback" not in errors
    assert errors.count("stdout cannot be written any more (Broken pipe)") == 1
    assert len(os.listdir(tmp_path / "out")) == 5 + len([".facewarp"])  # noqa: PTH208 - iterdir counts as blocking here


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("completion", "zsh")])
async def test_help_into_a_closed_pipe_is_silent(start: Any, read_errors: Any, arguments: tuple[str, ...]) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    async with start(*arguments, stdout=write_end) as process:
        os.close(write_end)
        assert await read_errors(process) == ""
        assert await process.wait() == 1


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("completion", "zsh")])
async def test_help_onto_a_full_disk_says_so(start: Any, read_errors: Any, arguments: tuple[str, ...]) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    async with start(*arguments, stdout=full) as process:
        os.close(full)
        assert await read_errors(process) == "facewarp: stdout cannot be written (No space left on device)\n"
        assert await process.wait() == 1


async def test_closed_streams_get_into_no_other_file(
    here: dict[str, str], environment: Environment, make_file: MakeFile, tmp_path: Path
) -> None:
    media, face = make_file("a.png"), make_file("me.png")
    script = f'exec "{sys.executable}" -m facewarp_async swap "{media}" "{face}" -o result.png 0<&- 1>&- 2>&-'
    ended = await anyio.run_process(["sh", "-c", script], check=False, env=environment(here), cwd=tmp_path)
    assert ended.returncode == 0
    assert (tmp_path / "result.png").read_bytes() == media.read_bytes()


WITHOUT = """
import importlib.machinery, sys
missing = set(sys.argv.pop(1).split(","))
find = importlib.machinery.PathFinder.find_spec
def find_spec(name, path=None, target=None):
    return None if name.partition(".")[0] in missing else find(name, path, target)
importlib.machinery.PathFinder.find_spec = find_spec
from facewarp_async.__main__ import main
sys.exit(main())
"""


@pytest.mark.parametrize(
    ("missing", "arguments", "extra"),
    [
        ("cyclopts", ["--help"], "facewarp-async[cli]"),
        ("rich", ["--help"], "facewarp-async[cli]"),
        ("cv2,numpy,av", ["demo"], "facewarp-async[cli,local]"),
        ("cv2", ["swap", "a.png", "me.png"], "facewarp-async[local]"),
        ("av", ["serve"], "facewarp-async[local]"),
    ],
)
async def test_a_missing_extra_is_named(
    missing: str, arguments: list[str], extra: str, environment: Environment, make_file: MakeFile, tmp_path: Path
) -> None:
    make_file("a.png")
    make_file("me.png")
    command = [sys.executable, "-c", WITHOUT, missing, *arguments]
    ended = await anyio.run_process(command, check=False, env=environment(None), cwd=tmp_path)
    errors = ended.stderr.decode()
    assert (ended.returncode, ended.stdout) == (2, b"")
    assert f"pip install '{extra}'" in errors
    assert len(errors.splitlines()) == 1


async def test_a_vendor_needs_no_engine(
    here: dict[str, str], environment: Environment, make_file: MakeFile, tmp_path: Path
) -> None:
    make_file("a.png")
    make_file("me.png")
    command = [sys.executable, "-c", WITHOUT, "cv2,numpy,av,uvloop,orjson", "swap", "a.png", "me.png"]
    ended = await anyio.run_process(command, check=False, env=environment(here), cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (0, b"a-swapped.png\n")
