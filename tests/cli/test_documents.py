"""What the README and the manual say of the command line is so."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from facewarp_async.cli import help
from facewarp_async.cli.app import app
from facewarp_async.cli.exits import ExitCode
from facewarp_async.cli.plan import Plan
from facewarp_async.cli.records import outcome_record
from facewarp_async.models import ImageSwap
from facewarp_async.pipeline import Skipped

ROOT = Path(__file__).parents[2]
MANUAL = (ROOT / "docs/command-line.md").read_text()
HELPS = [text for name, text in vars(help).items() if name.isupper()]
COMMANDS = re.findall(r"^ *(facewarp [a-z]+ .*)$", "\n".join([(ROOT / "README.md").read_text(), *HELPS]), re.MULTILINE)


def fields(heading: str) -> set[str]:
    """Return what the first column of the first table below a heading names."""
    section = MANUAL.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    table = re.search(r"(?:^\|.*\n)+", section, re.MULTILINE)
    assert table is not None
    return set(re.findall(r"`(\w+)`", "\n".join(line.split("|")[1] for line in table[0].splitlines())))


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_that_is_shown_is_one(line: str) -> None:
    words = shlex.split(re.split(r"  #| > ", line)[0])[1:]
    app.parse_args(words, exit_on_error=False, print_error=False)


def test_all_commands_are_in_the_manual() -> None:
    names = {name for name in app if not name.startswith("-")}
    assert names == set(re.findall(r"^\| `facewarp (\w+)", MANUAL, re.MULTILINE))


def test_all_exit_codes_are_in_the_manual() -> None:
    assert {str(int(code)) for code in ExitCode} == set(re.findall(r"^\| (\d+) \|", MANUAL, re.MULTILINE))


def test_all_fields_of_the_objects_are_in_the_manual() -> None:
    record = outcome_record(Skipped(job=ImageSwap("a.png", "me.png"), reason="stopped"))
    assert set(record) == fields("JSON")
    assert set(Plan(rate=1.0, is_free=False).record()) == fields("Before it costs anything")


def test_all_options_of_a_batch_that_the_manual_names_are_options() -> None:
    known = {name for each in app["batch"].assemble_argument_collection() for name in each.names}
    known |= {name for each in app["serve"].assemble_argument_collection() for name in each.names}
    assert set(re.findall(r"`(--[a-z-]+)", MANUAL)) <= known
