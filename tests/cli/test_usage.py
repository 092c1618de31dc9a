"""What the program refuses before it begins, and what it says of itself."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from facewarp_async.cli import help
from facewarp_async.cli.app import run_program

MakeFile = Callable[..., Path]


@pytest.fixture(autouse=True)
def _nothing_in_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith("FACEWARP_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bogus"], "bogus"),
        (["swap", "a.png"], "FACE"),
        (["swap", "a.png", "face.png", "--bogus"], "--bogus"),
        (["swap", "missing.png", "face.png"], "missing.png: cannot be read"),
        (["swap", "a.png", "missing.png"], "missing.png: cannot be read"),
        (["swap", "a.png", "clip.mp4"], "clip.mp4: is a video"),
        (["swap", "empty.png", "face.png"], "empty.png: is empty"),
        (["swap", "a.png", "face.png", "--provider", "nobody"], "--provider"),
        (["swap", "a.png", "face.png", "--provider", "vidnoz"], "FACEWARP_API_KEY"),
        (["swap", "a.png", "face.png", "--base-url", "ftp://x"], "is no base URL"),
        (["swap", "a.png", "face.png", "--rps", "-1"], "--rps"),
        (["swap", "a.png", "face.png", "--rps", "nan"], "--rps"),
        (["swap", "a.png", "face.png", "-o", "a.png"], "would be written over"),
        (["swap", "a.png", "face.png", "-o", "face.png"], "would be written over"),
        (["batch", "missing", "--face", "face.png", "-o", "out"], "missing: is no folder"),
        (["batch", "a.png", "--face", "face.png", "-o", "out"], "is no folder; for one file there is facewarp swap"),
        (["batch", "media", "--face", "missing.png", "-o", "out"], "missing.png: cannot be read"),
        (["batch", "media", "--face", "face.png", "-o", "media"], "folder of the media"),
        (["batch", "media", "--face", "face.png", "-o", "media/../media"], "folder of the media"),
        (["batch", "media", "--face", "face.png", "-o", "."], "holds the folder of the media"),
        (["batch", "media", "--face", "out/face.png", "-o", "out"], "holds the face"),
        (["batch", "media", "--face", "face.png", "-o", "a.png"], "a.png: results cannot be written there"),
        (["batch", "media", "--face", "face.png", "-o", "a.png/out"], "results cannot be written there"),
        (["swap", "a.png", "face.png", "-o", "face.png/out.png"], "results cannot be written there"),
        (["demo", "-o", "a.png"], "results cannot be written there"),
        (["serve", "--data-dir", "a.png"], "a.png"),
        (["batch", "media", "--face", "face.png", "-o", "out", "--uploads", "0"], "--uploads"),
        (["batch", "-o", "out"], "which files? Name a FOLDER, or a --manifest"),
        (["batch", "media", "-o", "out"], "which face?"),
        (["batch", "media", "--face", "face.png", "-o", "out", "--max-credits", "-1"], "--max-credits"),
        (["batch", "media", "--manifest", "jobs.csv", "-o", "out"], "expected one of them"),
        (["batch", "--manifest", "gone.csv", "-o", "out"], "gone.csv: cannot be read"),
        (["batch", "--manifest", "jobs.csv", "-o", "out"], "jobs.csv, line 3, column face: is missing"),
        (["batch", "--manifest", "jobs.csv", "--include", "*.png", "-o", "out"], "choose from a FOLDER"),
        (["batch", "--manifest", "jobs.csv", "--face", "face.png", "-o", "media"], "--out media holds media/b.png"),
        (["faces", "missing.png"], "missing.png: cannot be read"),
        (["faces", "a.png", "-o", "face.png"], "results cannot be written there"),
        (["multi", "a.png"], "--face"),
        (["multi", "a.png", "--face", "face.png"], "expected the index of a face, = and a file"),
        (["multi", "a.png", "--face", "0=face.png", "--face", "0=a.png"], "names a face twice"),
        (["multi", "a.png", "--face", "0=missing.png"], "missing.png: cannot be read"),
        (["multi", "a.png", "--face", "0=face.png", "-o", "face.png"], "would be written over"),
        (["task", "5"], "say which with --provider or --base-url"),
        (["task", "x"], "TASK"),
        (["completion", "cmd"], "SHELL"),
        (["serve", "--port", "99999"], "--port"),
        (["serve", "--host", "256.0.0.1"], "cannot listen"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_a_reason(
    arguments: list[str], message: str, make_file: MakeFile, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.png", "face.png", "clip.mp4", "media/b.png", "out/face.png"):
        make_file(name)
    Path("empty.png").touch()
    Path("jobs.csv").write_text("media,face\nmedia/b.png,face.png\na.png,\n")
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    assert run_program(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.splitlines()[-1 - err.count("Try: ")].startswith("facewarp: ")
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before


def test_a_link_to_the_media_is_the_media(make_file: MakeFile, capsys: pytest.CaptureFixture[str]) -> None:
    make_file("a.png")
    make_file("face.png")
    Path("link.png").symlink_to("a.png")
    assert run_program(["swap", "a.png", "face.png", "-o", "link.png"]) == 2
    assert "would be written over" in capsys.readouterr().err


def test_a_message_shows_what_was_typed_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program(["swap", "[red]\x1b[31m\n.png", "face.png"]) == 2
    err = capsys.readouterr().err
    assert err == "facewarp: [red]\\x1b[31m\\n.png: cannot be read: No such file or directory\n"


COMMANDS = ["demo", "swap", "faces", "multi", "batch", "report", "task", "serve", "completion"]


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help_with_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program([command, "--help"]) == 0
    out, err = capsys.readouterr()
    assert "Examples:\n  facewarp " + command in out
    assert err == ""


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_no_word_of_python(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run_program([command, "--help"]) == 0
    assert re.findall(r"REMOTEFILE|\b(?:STR|INT|FLOAT)\b|\[ARGS\]|default: False", capsys.readouterr().out) == []


def test_help_wraps_where_the_line_ends_and_not_where_the_sources_did(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run_program(["swap", "--help"]) == 0
    lines = [line.strip("│ ") for line in capsys.readouterr().out.splitlines()]
    begin = next(number for number, line in enumerate(lines) if line.startswith("--out"))
    end = next(number for number, line in enumerate(lines) if line.startswith("--hd"))
    assert [line for line in lines[begin : end - 1] if len(line) < 45] == []


def test_the_examples_fit_on_a_terminal_of_80_columns() -> None:
    texts = [text for name, text in vars(help).items() if name.isupper()]
    assert [line for text in texts for line in text.splitlines() if len(line) > 80] == []


def test_help_documents_the_exit_codes_and_the_environment(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program(["--help"]) == 0
    out = capsys.readouterr().out
    for line in (
        "    0  all done",
        "    1  some",
        "    2  usage",
        "    3  the batch was stopped",
        "  130  interrupted",
    ):
        assert line in out
    assert "FACEWARP_API_KEY" in out


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program(["--version"]) == 0
    assert capsys.readouterr().out.startswith("facewarp-async 0.")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_names_the_commands_and_options(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program(["completion", shell]) == 0
    out = capsys.readouterr().out
    assert "facewarp" in out
    for word in ("multi", "max-credits", "in-doubt"):
        assert word in out


NOWHERE = ["--base-url", "http://127.0.0.1:9"]
BATCH = ["batch", "in", "--face", "me.png", "-o", "out"]


@pytest.mark.parametrize("content", [b"not a journal", b"SQLite format 3\0" + bytes(84)])
def test_a_damaged_journal_is_named_and_left_as_it_is(
    content: bytes, make_file: MakeFile, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_file("in/a.png"), make_file("me.png")
    monkeypatch.setenv("FACEWARP_API_KEY", "key")
    journal = Path("out/.facewarp/batch.db")
    journal.parent.mkdir(parents=True)
    journal.write_bytes(content)
    for options in ([], ["--dry-run"]):
        assert run_program([*BATCH, *NOWHERE, *options]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert "facewarp: out/.facewarp/batch.db: " in err
        assert journal.read_bytes() == content
        assert options or "paid for, anew" in err
        assert "interrupted" not in err


def test_a_plan_counts_and_does_nothing(
    make_file: MakeFile, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for number in range(6):
        make_file(f"in/{number}.png")
    make_file("me.png"), make_file("in/same.png", salt=b"in/0.png"), make_file("in/bad.png").write_bytes(b"")
    monkeypatch.setenv("FACEWARP_API_KEY", "key")
    assert run_program([*BATCH, *NOWHERE, "--dry-run", "--json", "--rps", "2"]) == 1
    out, err = capfd.readouterr()
    assert "cannot be used: in/bad.png: is empty" in err
    expected = {"files": 8, "uploads": 7, "upload_bytes": 7000, "tasks": 7, "unusable": 1, "seconds": 11}
    assert {name: json.loads(out)[name] for name in expected} == expected
    assert not Path("out").exists()


def test_a_plan_for_this_machine_costs_nothing(make_file: MakeFile, capfd: pytest.CaptureFixture[str]) -> None:
    make_file("in/a.png"), make_file("me.png")
    assert run_program([*BATCH, "--dry-run"]) == 0
    out = capfd.readouterr().out.splitlines()
    assert (out[0], out[2]) == ("1 file", "to create at no cost: 1 task")
    assert not Path("out").exists()
