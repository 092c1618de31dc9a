"""``facewarp swap``."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import facewarp_async
from facewarp_async.server import CREATES, Fault, FaultRule, LocalService

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

MakeFile = Callable[..., Path]


async def test_a_result_is_named_after_its_media_and_its_path_is_all_of_stdout(
    run: Any, here: dict[str, str], make_file: MakeFile, tmp_path: Path
) -> None:
    media, face = make_file("in/team.png"), make_file("me.jpg")
    ended = await run("swap", "in/team.png", "me.jpg", env=here)
    assert (ended.code, ended.out, ended.noise) == (0, b"team-swapped.png\n", [])
    assert (tmp_path / "team-swapped.png").read_bytes() == media.read_bytes()
    assert "\x1b" not in ended.err
    assert " DEBUG " not in ended.err
    assert "in/team.png: uploading" in ended.err  # a line for each stage, where there is no terminal
    assert face.exists()


async def test_a_name_of_the_programs_own_replaces_no_file(
    run: Any, here: dict[str, str], make_file: MakeFile, tmp_path: Path
) -> None:
    make_file("a.png")
    face = make_file("a-swapped.png")
    before = face.read_bytes()
    ended = await run("swap", "a.png", "a-swapped.png", env=here)
    assert (ended.code, ended.lines) == (0, ["a-swapped-2.png"])
    assert face.read_bytes() == before


async def test_a_file_that_is_named_is_written_and_replaced(
    run: Any, here: dict[str, str], make_file: MakeFile, tmp_path: Path
) -> None:
    media, face, old = make_file("clip.mp4"), make_file("me.png"), make_file("sub/out.mp4", salt=b"old")
    ended = await run("swap", media, face, "-o", "sub/out.mp4", env=here)
    assert (ended.code, ended.lines) == (0, ["sub/out.mp4"])
    assert old.read_bytes() == media.read_bytes()


async def test_a_folder_that_is_named_gets_the_result(
    run: Any, here: dict[str, str], make_file: MakeFile, tmp_path: Path
) -> None:
    media, face = make_file("x" * 240 + ".png"), make_file("me.png")
    ended = await run("swap", media, face, "-o", "new-folder", env=here)
    assert ended.code == 0
    [written] = (tmp_path / "new-folder").iterdir()
    assert ended.lines == [f"new-folder/{written.name}"]
    assert written.read_bytes() == media.read_bytes()


async def test_a_task_that_fails_is_told_with_its_code(
    run: Any, here: dict[str, str], local: LocalService, make_file: MakeFile, tmp_path: Path
) -> None:
    local.faults.add(FaultRule(Fault.TASK_FAILS, CREATES, code=603))
    ended = await run("swap", make_file("a.png"), make_file("me.png"), env=here)
    assert (ended.code, ended.out, ended.noise) == (1, b"", [])
    assert "code 603" in ended.err
    assert set(os.listdir(tmp_path)) == {"a.png", "me.png"}  # noqa: PTH208 - iterdir counts as blocking here


async def test_a_name_of_two_hundred_characters_keeps_its_ending_and_fits_a_line(
    run: Any, here: dict[str, str], make_file: MakeFile, tmp_path: Path
) -> None:
    """With spaces, quotes, a line break and emoji in it."""
    name = "a \"very\" 'long' name \U0001f642 with\na newline; $(rm -rf .) `x` %s " + "x" * 140
    media, face = make_file(f"{name}.png"), make_file("me.png")
    ended = await run("swap", media, face, env=here)
    assert (ended.code, ended.noise) == (0, [])
    [result] = ended.lines
    assert result.startswith("a \"very\" 'long' name \U0001f642 with_a newline; $(rm -rf .) `x` %s xxx")
    assert result.endswith("-swapped.png")
    assert (tmp_path / result).read_bytes() == media.read_bytes()
    told = ended.err.splitlines()
    assert len(told) == 5
    assert max(map(len, told)) < 90
    ended = await run("faces", media, env=here)
    assert [line.partition("\t")[2].partition("\t")[0][-11:] for line in ended.lines] == ["-face-0.png", "-face-1.png"]


async def test_verbose_shows_calls_and_no_secret(
    run: Any, here: dict[str, str], local: LocalService, make_file: MakeFile
) -> None:
    local.faults.add(FaultRule(Fault.SERVER_ERROR, "put", nth=1))
    ended = await run("swap", make_file("a.png"), make_file("me.png"), "--verbose", env=here)
    seen = [
        "DEBUG facewarp_async.session.api: POST /v1/source/upload-url -> HTTP 200",
        f"DEBUG facewarp_async.transfer.transfers: PUT {here['FACEWARP_BASE_URL']}/storage/",
        "DEBUG facewarp_async.transfer.transfers: repeating in",
        "INFO facewarp_async.calls: uploaded ",
        "INFO facewarp_async.calls: created task ",
        "is done",
        f"DEBUG facewarp_async.transfer.transfers: GET {here['FACEWARP_BASE_URL']}/storage/",
        "INFO facewarp_async.calls: downloaded a-swapped.png",
    ]
    places = [ended.err.find(each) for each in seen]
    assert places == sorted(places)
    assert places[0] >= 0
    assert here["FACEWARP_API_KEY"] not in ended.err
    assert "X-Amz-" not in ended.err


async def test_without_credentials_it_swaps_on_this_machine(run: Any, tmp_path: Path) -> None:
    portraits = Path(facewarp_async.__file__).parent / "engine/data/portraits"
    ended = await run("swap", portraits / "hopper.jpg", portraits / "collins.png")
    assert (ended.code, ended.lines, ended.noise) == (0, ["hopper-swapped.jpg"], [])
    first = ended.err.splitlines()[0]
    assert first == "no FACEWARP_API_KEY is set: swapping locally, nothing leaves this machine"
    assert len(first) < 80
    result = (tmp_path / "hopper-swapped.jpg").read_bytes()
    assert result[:3] == b"\xff\xd8\xff"
    assert result != (portraits / "hopper.jpg").read_bytes()
