"""The checks that need no running program: types, style, import contracts, and what the project says of itself."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "facewarp_async"
BIN = Path(sys.executable).parent


def run(*command: str) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_types_are_strict() -> None:
    run(sys.executable, "-m", "mypy", "--strict")


def test_style_is_clean() -> None:
    run(str(BIN / "ruff"), "check", ".")
    run(str(BIN / "ruff"), "format", "--check", ".")


@pytest.mark.slow
def test_imports_go_one_way() -> None:
    run(str(BIN / "lint-imports"))


def test_nothing_inside_the_package_imports_its_root() -> None:
    root_import = re.compile(r"^\s*(from facewarp_async import|import facewarp_async\s*$)", re.MULTILINE)
    assert [path for path in PACKAGE.rglob("*.py") if root_import.search(path.read_text())] == []


def test_no_module_has_more_than_four_hundred_lines() -> None:
    folders = [PACKAGE, *(ROOT / name for name in ("tests", "benchmarks", "examples"))]
    lengths = {path: len(path.read_text().splitlines()) for folder in folders for path in folder.rglob("*.py")}
    assert {path: length for path, length in lengths.items() if length > 400} == {}


def test_the_runtime_dependencies_are_the_five() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {re.split(r"[<>=!~ ]", requirement)[0] for requirement in project["dependencies"]}
    assert names == {"aiohttp", "attrs", "cattrs", "anyio", "aiofiles"}
    assert set(project["optional-dependencies"]) == {"cli", "local", "remote", "dask", "speed", "all"}


def test_the_ci_runs_exactly_the_readmes_test_command() -> None:
    readme, ci = (ROOT / "README.md").read_text(), (ROOT / ".ci" / "run").read_text()
    commands = [line for line in ci.splitlines() if line and not line.startswith(("#", "set ", "cd "))]
    *installing, last = commands
    assert last in readme
    assert [line for line in installing if not line.startswith("command -v ")] == []
