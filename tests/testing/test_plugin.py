"""The pytest plugin, in test runs of its own: what a user's test files do with it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., str]

PLUGIN = "facewarp_async.pytest_plugin"

DOCUMENT = Path(__file__).parents[2] / "docs" / "testing.md"
FILES: dict[str, str] = dict(re.findall(r"```python\n# (\S+)\n(.*?)```", DOCUMENT.read_text(), flags=re.DOTALL))

IN_ANOTHER_PROCESS = """
import subprocess, sys

def test_the_app_in_another_process(facewarp_environ, facewarp_media, tmp_path):
    photo, face = facewarp_media.make("team.jpg"), facewarp_media.make("me.jpg")
    code = "import asyncio, sys; from app import make_portrait; asyncio.run(make_portrait(*sys.argv[1:]))"
    subprocess.run([sys.executable, "-c", code, photo, face, tmp_path / "out.jpg"], check=True)
    facewarp_environ.assert_created(1)
"""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run pytest on a test file; return what it says."""

    def run(test: str, *options: str, code: int = 0) -> str:
        (tmp_path / "app.py").write_text(FILES["app.py"])
        (tmp_path / "test_app.py").write_text(test)
        (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\naddopts = --strict-markers\n")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("FACEWARP_", "PYTEST_"))}
        # Only what is asked for is loaded: a plugin of this environment must not be what makes it work.
        environ = kept | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(tmp_path)}
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, "test_app.py"]
        ended = subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert ended.returncode == code, ended.stdout + ended.stderr
        return ended.stdout

    return run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("test", "plugins", "passed"),
    [
        (FILES["test_app.py"], [PLUGIN], 1),
        (IN_ANOTHER_PROCESS, [PLUGIN], 1),
        (FILES["test_trouble.py"], [PLUGIN, "anyio.pytest_plugin"], 3),
        (FILES["test_unit.py"], [], 1),
    ],
    ids=["plain", "process", "anyio", "unittest"],
)
def test_a_users_tests(run: Run, test: str, plugins: list[str], passed: int) -> None:
    """Those that the documentation shows, with nothing but the package, pytest and what the test's flavour needs."""
    options = [option for plugin in plugins for option in ("-p", plugin)]
    assert f"{passed} passed" in run(test, *options)


@pytest.mark.slow
def test_fixtures_and_marker_are_told_of(run: Run) -> None:
    said = run("", "-p", PLUGIN, "--fixtures", "--markers")
    assert "@pytest.mark.facewarp_service(**options): arguments" in said
    said = run("", "-p", PLUGIN, "--fixtures")
    for name in ("facewarp_service", "facewarp_environ", "facewarp_media"):
        assert f"\n{name} --" in said
    assert "no docstring" not in said


@pytest.mark.slow
def test_a_failed_assertion_says_what_was_created(run: Run) -> None:
    test = FILES["test_app.py"].replace("assert_created(1)", "assert_created(2)")
    said = run(test, "-p", PLUGIN, code=1)
    assert "expected 2 tasks, but 1 were created" in said
    assert "IMAGE_SWAP of 'team.jpg' with 'me.jpg'" in said


@pytest.mark.slow
def test_the_plugin_imports_next_to_nothing() -> None:
    """It is loaded in every run of every project that has the package."""
    code = (
        "import sys, pytest, logging, importlib; before = set(sys.modules)\n"
        f"import {PLUGIN}\n"
        "print(*(set(sys.modules) - before))"
    )
    ended = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert set(ended.stdout.split()) == {"facewarp_async", PLUGIN}


def test_pytest_finds_the_plugin_by_itself() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"facewarp": PLUGIN}
