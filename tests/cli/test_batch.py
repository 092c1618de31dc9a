"""``facewarp batch``."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from facewarp_async.server import InstantRunner, LocalService, Made, Work

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

MakeFile = Callable[..., Path]
HOSTILE = [
    "x" * 196 + ".png",
    "two  spaces .png",
    "quotes'\".png",
    "émoji 👩\u200d🚀.png",
    "new\nline.png",
    "[red]markup[bold].png",
    "\x1b[31mescape\x07.png",
    "-o.png",
    os.fsdecode(b"bytes\xff\xfe.png"),
]


async def test_results_lie_as_the_media_do_and_are_all_of_stdout(
    run: Any, here: dict[str, str], make_file: MakeFile, tmp_path: Path
) -> None:
    names = ["a.png", "b/c.jpg", "b/d.mp4", "e.gif", os.fsdecode(b"f\xff.png")]
    media = [make_file(f"in/{name}", salt=os.fsencode(name)) for name in names]
    (tmp_path / "in/notes.txt").write_text("not media")
    ended = await run("batch", "in", "--face", make_file("me.png"), "-o", "out", env=here)
    assert (ended.code, ended.noise) == (0, [])
    assert ended.lines == [f"out/{name}" for name in names]
    assert [(tmp_path / "out" / name).read_bytes() for name in names] == [path.read_bytes() for path in media]
    assert ended.err.splitlines()[-1].startswith("finished: 5 done, 0 failed, 0 skipped, ")
    assert "\x1b" not in ended.err


async def test_json_has_an_object_for_each_file_in_order_and_failures_are_told_one_a_line(
    run: Any, here: dict[str, str], make_file: MakeFile, tmp_path: Path
) -> None:
    for number in range(6):
        make_file(f"in/{number}.png")
    (tmp_path / "in/2.png").write_bytes(b"")
    (tmp_path / "in/4.png").write_text("no picture")
    ended = await run("batch", "in", "--face", make_file("me.png"), "-o", "out", "--json", env=here)
    assert (ended.code, ended.noise) == (1, [])
    assert [record["media"] for record in ended.records] == [f"in/{number}.png" for number in range(6)]
    assert [record["status"][0] for record in ended.records] == list("ccfcfc")
    done, failed = ended.records[0], ended.records[2]
    assert done["path"] == "out/0.png"
    assert done["task_id"] > 0
    assert done["error"] is None
    assert failed["path"] is None
    assert (failed["error"]["type"], failed["error"]["paid"], failed["stage"]) == ("EmptyFileError", False, "check")
    assert done.keys() == failed.keys()
    told = [line for line in ended.err.splitlines() if line.startswith("failed: ")]
    assert [line.split(": ")[1] for line in told] == ["in/2.png", "in/4.png"]


async def test_results_inside_the_folder_are_not_taken_for_media(
    run: Any, here: dict[str, str], make_file: MakeFile
) -> None:
    make_file("in/a.png")
    make_file("in/out/old.png")
    ended = await run("batch", "in", "--face", make_file("me.png"), "-o", "in/out", env=here)
    assert (ended.code, ended.lines) == (0, ["in/out/a.png"])


async def test_hostile_names_are_swapped_and_told_as_text(
    run: Any, here: dict[str, str], make_file: MakeFile, tmp_path: Path
) -> None:
    for name in HOSTILE:
        make_file(f"in/good/{name}", salt=os.fsencode(name))
        make_file(f"in/bad/{name}", salt=b"").write_bytes(b"")
    ended = await run("batch", "in", "--face", make_file("me.png"), "-o", "out", "--json", env=here)
    assert (ended.code, ended.noise) == (1, [])
    done = [record for record in ended.records if record["status"] == "completed"]
    assert sorted(record["media"] for record in done) == sorted(f"in/good/{name}" for name in HOSTILE)
    for record in done:
        assert (tmp_path / record["path"]).read_bytes() == (tmp_path / record["media"]).read_bytes()
    assert {Path(record["path"]).parent for record in done} == {Path("out/good")}
    told = [line for line in ended.err.splitlines() if line.startswith("failed: ")]
    assert len(told) == len(HOSTILE)
    assert all(line.isprintable() for line in ended.err.replace("\u200d", "").splitlines())
    assert any("[red]markup[bold].png" in line for line in told)
    assert any(r"new\nline.png" in line for line in told)


async def test_without_credits_it_stops_and_tells_what_was_left(
    run: Any, settings: Callable[[LocalService], dict[str, str]], make_file: MakeFile
) -> None:
    for number in range(5):
        make_file(f"in/{number}.png")
    async with LocalService(runner=InstantRunner(), credits=2) as service:
        ended = await run("batch", "in", "--face", make_file("me.png"), "-o", "out", "--json", env=settings(service))
    assert (ended.code, ended.noise) == (3, [])
    statuses = [record["status"] for record in ended.records]
    assert statuses.count("completed") == 2
    assert len(statuses) == 5
    assert "Buy credits" in ended.err
    assert "stopped: 2 done" in ended.err


async def test_a_refused_token_stops_it(run: Any, here: dict[str, str], make_file: MakeFile) -> None:
    make_file("in/a.png")
    environ = here | {"FACEWARP_API_KEY": "wrong"}
    ended = await run("batch", "in", "--face", make_file("me.png"), "-o", "out", env=environ)
    assert ended.code == 3
    assert here["FACEWARP_API_KEY"] not in ended.err


async def test_an_empty_folder_is_done_and_told(
    run: Any, here: dict[str, str], make_file: MakeFile, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    ended = await run("batch", "in", "--face", make_file("me.png"), "-o", "out", env=here)
    assert (ended.code, ended.out) == (0, b"")
    assert "holds no pictures and no videos that were asked for" in ended.err


class Watched(InstantRunner):
    """Takes note of how many tasks go on at once, and of whether pains were asked for."""

    def __init__(self) -> None:
        super().__init__(duration_s=0.02)
        self.now = self.most = 0
        self.hd: set[bool] = set()

    async def run(self, work: Work) -> Made:
        self.now += 1
        self.most = max(self.most, self.now)
        self.hd.add(work.hd)
        try:
            return await super().run(work)
        finally:
            self.now -= 1


@pytest.mark.parametrize("options", [["--in-flight", "1", "--hd"], []])
async def test_options_reach_the_service(
    options: list[str], run: Any, settings: Callable[[LocalService], dict[str, str]], make_file: MakeFile
) -> None:
    for number in range(5):
        make_file(f"in/{number}.png")
    runner = Watched()
    async with LocalService(runner=runner) as service:
        ended = await run("batch", "in", "--face", make_file("me.png"), "-o", "out", *options, env=settings(service))
    assert len(ended.lines) == 5
    assert (runner.most == 1, runner.hd) == (bool(options), {bool(options)})
