"""Folders in which the command cannot work."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from facewarp_async.cli.app import run_program
from facewarp_async.cli.demo import DemoCommand
from facewarp_async.cli.exits import UsageError
from facewarp_async.cli.output import Output
from facewarp_async.cli.report import passing_journal
from facewarp_async.errors import OutputError

MakeFile = Callable[..., Path]


@pytest.mark.slow
def test_a_file_in_the_place_of_the_services_folder_is_told(
    make_file: MakeFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    make_file("in/a.png"), make_file("me.png")
    Path("out/.facewarp").mkdir(parents=True)
    Path("out/.facewarp/service").write_text("mine")
    assert run_program(["batch", "in", "--face", "me.png", "-o", "out"]) == 2
    assert "facewarp: out/.facewarp/service: cannot be used: " in capfd.readouterr().err
    assert Path("out/.facewarp/service").read_text() == "mine"


async def _enter_passing_journal() -> None:
    async with passing_journal():
        raise AssertionError("there is no place for it")


def test_without_a_place_for_temporary_files_there_is_no_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(UsageError, match="there is no place for temporary files: No such file"):
        anyio.run(_enter_passing_journal)


def test_a_demo_that_cannot_write_its_photos_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "photos").write_text("mine")
    with pytest.raises(OutputError, match=r"photos: cannot be written: "):
        anyio.run(DemoCommand(folder=tmp_path), Output())
