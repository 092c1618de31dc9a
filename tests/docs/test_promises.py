"""What the pages name is there: files, tests, programs with their options, benchmarks."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import QUICK
from tests.docs.pages import ROOT, block_named

pytestmark = pytest.mark.timeout(600)  # some run the engine in a process of their own

PAGES = [*sorted(ROOT.glob("*.md")), *(ROOT / name / "README.md" for name in ("benchmarks", "examples"))]
"""The pages that are read beside the code; those of `docs/` the site's builder follows."""

COMMAND = re.compile(r"^(?:\.venv/bin/)?python (-m [\w.]+|[\w/]+\.py)\b *(.*)$")
NO_OPTIONS = {"tests/engine/golden.py", "tests/storage/ceph.py"}
"""Programs that would begin at once: one is run below, one needs a Ceph."""


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_what_is_there(page: Path) -> None:
    missing = []
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text()):
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            missing.append(target)
    assert missing == []


def test_the_tests_that_are_named_are_there() -> None:
    named = {name for page in PAGES for name in re.findall(r"`(tests/[\w/.]+)`", page.read_text())}
    assert len(named) > 15
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_all_examples_and_all_benchmarks_are_in_their_tables() -> None:
    rows = r"^\| [\[`]([\w/.]+)[\]`]"
    examples = {str(path.relative_to(ROOT / "examples")) for path in ROOT.glob("examples/**/*.py")}
    assert set(re.findall(rows, (ROOT / "examples/README.md").read_text(), re.MULTILINE)) == examples
    assert set(re.findall(rows, (ROOT / "benchmarks/README.md").read_text(), re.MULTILINE)) == set(QUICK)
    named = {name for page in PAGES for name in re.findall(r"`python -m benchmarks (\w+)", page.read_text())}
    assert named <= set(QUICK)


def commands() -> dict[str, set[str]]:
    """Return the programs that pages tell to run with Python, and the options that they name for each."""
    found: dict[str, set[str]] = {}
    for page in [*PAGES, *ROOT.glob("docs/*.md")]:
        text = page.read_text()
        lines = [line.strip() for line in text.splitlines()] + re.findall(r"`([^`\n]+)`", text)
        for line in lines:
            if (match := COMMAND.match(line)) and not match[1].startswith(("-m venv", "-m facewarp", "-m benchmarks")):
                options = {word for word in shlex.split(match[2]) if word.startswith("--")}
                found.setdefault(match[1], set()).update(options)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("program", sorted(commands()))
def test_a_program_that_is_named_takes_the_options_that_are_named(program: str) -> None:
    if program in NO_OPTIONS:
        assert (ROOT / program).is_file()
        return
    command = [sys.executable, *program.split(), "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [option for option in commands()[program] if option not in done.stdout] == []


@pytest.mark.slow
@pytest.mark.parametrize(("name", "text"), [("bash:4", "structure "), ("bash:5", " 0 findings: ")])
def test_what_contributors_run_says_what_it_is_to_say(name: str, text: str, tmp_path: Path) -> None:
    """In a copy, as golden pictures are written anew; for a second instead of ten minutes."""
    for folder in ("tests/engine", "facewarp_async"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    _, *arguments = shlex.split(block_named(ROOT / "CONTRIBUTING.md", name).text.replace("600", "1"))
    done = subprocess.run([sys.executable, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert text in done.stdout
