"""The blocks that set up an environment do so, in a copy of the checkout."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.docs.installing import copy_checkout, make_wheels, run_there
from tests.docs.pages import MARK, ROOT, block_named

SOME_TESTS = {"PYTEST_ADDOPTS": "tests/test_text.py"}
"""Makes a command that runs all tests, this one too, run a few."""

SetUp = Callable[..., str]


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    make_wheels(folder, "facewarp-async[cli,local]")
    return folder


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout. The blocks share it, as they do on a user's disk."""
    folder = tmp_path_factory.mktemp("checkout")
    copy_checkout(folder)
    return folder


@pytest.fixture
def set_up(checkout: Path, wheels: Path) -> SetUp:
    """Run a block of a page there."""

    def run(page: str, name: str, *, then: str = "", **settings: str) -> str:
        return run_there(f"{block_named(ROOT / page, name).text}\n{then}", checkout, wheels, **settings)

    return run


@pytest.mark.slow
@pytest.mark.timeout(600)  # it installs some hundred megabytes
def test_the_readmes_first_command_ends_in_the_demos_results(set_up: SetUp, checkout: Path) -> None:
    assert set_up("README.md", "bash:1").splitlines() == [
        "facewarp-demo/results",
        "facewarp-demo/contact-sheet.jpg",
        "facewarp-demo/report.html",
    ]
    results = sorted((checkout / "facewarp-demo/results").iterdir())
    assert len(results) >= 16
    assert all(MARK in path.read_bytes() for path in results)


@pytest.mark.slow
@pytest.mark.timeout(600)  # it installs some hundred megabytes
def test_getting_started_ends_in_a_command_that_works(set_up: SetUp) -> None:
    printed = set_up("docs/getting-started.md", "bash:1", then=".venv/bin/facewarp --version")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert printed.splitlines()[-1] == f"facewarp-async {project['version']}"


WHERE = "import facewarp_async; print(facewarp_async.__file__)"


@pytest.mark.slow
@pytest.mark.timeout(600)  # it installs some hundred megabytes
def test_the_readmes_second_command_runs_the_tests_of_an_installed_package(set_up: SetUp, checkout: Path) -> None:
    printed = set_up("README.md", "bash:2", then=f".venv/bin/python -P -c '{WHERE}'", **SOME_TESTS)
    assert " passed in " in printed
    assert printed.splitlines()[-1].startswith(f"{checkout}/.venv/lib/")


@pytest.mark.slow
@pytest.mark.timeout(600)  # it installs some hundred megabytes
def test_contributors_work_on_the_checkout_itself(set_up: SetUp, checkout: Path) -> None:
    tests = block_named(ROOT / "CONTRIBUTING.md", "bash:2").text
    printed = set_up("CONTRIBUTING.md", "bash:1", then=f"{tests}\n.venv/bin/python -P -c '{WHERE}'", **SOME_TESTS)
    assert " passed in " in printed
    assert printed.splitlines()[-1] == f"{checkout}/facewarp_async/__init__.py"
