"""The site is built without a warning, and its reference has every public name."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import attrs
import pytest
from sphinx.util.inventory import InventoryFile

import facewarp_async
from facewarp_async.errors import FaceWarpError, Recovery

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
NAMES = (
    "facewarp_async",
    "facewarp_async.server",
    "facewarp_async.testing",
    "facewarp_async.distributed",
    "facewarp_async.report",
)
pytestmark = pytest.mark.timeout(600)  # Sphinx and basedpyright read all of the package

MODULES = [import_module(name) for name in NAMES if (spec := find_spec(name)) is not None and spec.has_location]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as CONTRIBUTING.md says."""
    command = re.search(r"^\.venv/bin/sphinx-build (.*) docs build/site$", (ROOT / "CONTRIBUTING.md").read_text(), re.M)
    assert command is not None
    folder = tmp_path_factory.mktemp("site")
    build = [str(BIN / "sphinx-build"), *command[1].split(), "-q", "docs", str(folder)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def documented(site: Path) -> set[str]:
    """All names that the reference explains."""
    inventory = InventoryFile.loads((site / "objects.inv").read_bytes(), uri="")
    return {name for kind, names in inventory.data.items() if kind.startswith("py:") for name in names}


@pytest.mark.slow
def test_the_reference_has_every_public_name(documented: set[str]) -> None:
    for number, module in enumerate(MODULES):
        again = {name for each in MODULES[:number] for name in each.__all__ if hasattr(module, name)}
        missing = {name for name in module.__all__ if f"{module.__name__}.{name}" not in documented}
        assert missing - again == set(), "not in docs/reference"


@pytest.mark.slow
def test_the_reference_has_every_method_of_the_client_and_the_pipeline(documented: set[str]) -> None:
    for cls in (facewarp_async.FaceSwapClient, facewarp_async.SwapPipeline, facewarp_async.OutcomeStream):
        methods = {name for name, member in inspect.getmembers(cls) if callable(member) or isinstance(member, property)}
        shown = {f"{cls.__name__}.{name}" for name in methods if not name.startswith("_")}
        assert {f"facewarp_async.{name}" for name in shown} - documented == set()


@pytest.mark.slow
def test_the_table_has_every_error_with_its_code_and_what_to_do(site: Path) -> None:
    page = (site / "errors.html").read_text()
    rows = [re.sub(r"<[^>]+>", " ", row).split() for row in re.findall(r"<tr.*?</tr>", page, re.DOTALL)]
    for name in facewarp_async.__all__:
        cls = getattr(facewarp_async, name)
        if not (isinstance(cls, type) and issubclass(cls, FaceWarpError)) or cls is FaceWarpError:
            continue
        (row,) = [row for row in rows if row[0] == name]
        assert len(row) > 8, "too little to say what it means and what to do"
        assert cls.default_code is None or row[1] == str(cls.default_code)
        assert (row[-1] == "yes") == (cls.recovery is Recovery.STOP_BATCH)


def test_the_limits_on_the_page_are_the_defaults() -> None:
    page = (ROOT / "docs" / "pace.md").read_text()
    assert {
        name: int(value) for name, value in re.findall(r"^\| `(\w+)` \| (\d+) \|", page, re.MULTILINE)
    } == attrs.asdict(facewarp_async.Limits())


@pytest.mark.slow
def test_all_public_types_are_known() -> None:
    environment = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}"}  # where it looks for the packages
    command = [str(BIN / "basedpyright"), "--verifytypes", "facewarp_async", "--ignoreexternal"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert "Type completeness score: 100%" in done.stdout, done.stdout[-4000:]
    assert int(re.findall(r"Symbols exported by \"facewarp_async\": (\d+)", done.stdout)[0]) > 2000
