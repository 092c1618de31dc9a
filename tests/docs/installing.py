"""What the pages install, made of what is installed here, so that the blocks that set up an environment can be run.

The environments are real: pip and uv make them. Only where the packages come from is another: pip gets wheels of the
versions that these tests run with, uv its cache. A network is asked for what neither has, and for nothing else.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution, distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.docs.pages import ROOT

BIN = Path(sys.executable).parent
BROUGHT_BY_PIP = ("hatchling", "uv")
"""What the pages need besides the package's own requirements: what builds it, and what they ask pip for."""

_OWN_SETTINGS = ("FACEWARP_", "PIP_", "PYTEST_", "PYTHON", "UV_PROJECT", "UV_RUN_", "VIRTUAL_ENV")


def copy_checkout(folder: Path) -> None:
    """Copy what a source distribution holds."""
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["sdist"]
    for name in ["pyproject.toml", *build["include"]]:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder / name)


def make_wheels(folder: Path, requirement: str) -> None:
    """Make wheels of all that a requirement needs, but for itself, and of what pip has to bring."""
    for each in needed(requirement):
        _pack(each, folder)
    for name in BROUGHT_BY_PIP:
        brought = folder / name
        _fetch(name, brought)
        for each in distributions(path=[str(brought)]):
            _pack(each, folder)


def needed(requirement: str) -> Iterator[Distribution]:
    """Give the installed distributions that a requirement needs, and what these need."""
    waiting, seen = [Requirement(requirement)], set()
    while waiting:
        wanted = waiting.pop()
        known = distribution(wanted.name)
        if wanted.name not in seen and str(wanted) != requirement:
            yield known
        seen.add(wanted.name)
        for text in known.requires or ():
            one = Requirement(text)
            applies = one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in wanted.extras | {""})
            if applies and one.name not in seen:
                waiting.append(one)


def _fetch(name: str, folder: Path) -> None:
    uv = os.environ.get("UV") or shutil.which("uv", path=f"{BIN}:{os.environ['PATH']}")
    assert uv is not None, "uv is missing: the README's command for the tests brings it"
    command = [uv, "pip", "install", "--quiet", "--python", sys.executable, "--target", str(folder), name]
    for options in (["--offline"], []):
        done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
    pytest.skip(f"{name} is neither in uv's cache nor to be had from the network: {done.stderr}")


def _pack(each: Distribution, folder: Path) -> None:
    """Write a distribution that is installed as a wheel again, unpressed, which is quick."""
    stem = f"{re.sub('[-_.]+', '_', each.metadata['Name'])}-{each.version}"
    tag = re.search(r"^Tag: (.+)$", each.read_text("WHEEL") or "", re.MULTILINE)
    assert tag is not None, f"{stem} was installed from no wheel"
    made_by_pip = {script.name for script in each.entry_points.select(group="console_scripts")}
    with zipfile.ZipFile(folder / f"{stem}-{tag[1]}.whl", "w") as wheel:
        for file in each.files or ():
            if "bin" in file.parts[-2:-1] and (".." in file.parts or file.parts[0] == "bin"):
                if file.name not in made_by_pip:
                    wheel.write(str(file.locate()), f"{stem}.data/scripts/{file.name}")
            elif ".." not in file.parts and file.suffix != ".pyc" and file.name not in {"INSTALLER", "REQUESTED"}:
                wheel.write(str(file.locate()), str(file))


def run_there(commands: str, checkout: Path, wheels: Path, **settings: str) -> str:
    """Run a block in a checkout, in a shell that has none of these tests' settings; return what it prints."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(_OWN_SETTINGS)}
    own |= {"PATH": f"{BIN}:{os.environ['PATH']}", "NO_COLOR": "1"}
    own |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "PIP_NO_COMPILE": "1", "PIP_CONFIG_FILE": os.devnull}

    def run(**more: str) -> subprocess.CompletedProcess[str]:
        shell = ["bash", "-euo", "pipefail", "-c", commands]
        return subprocess.run(
            shell, cwd=checkout, env=own | settings | more, capture_output=True, text=True, check=False
        )

    done = run(UV_OFFLINE="1")
    if done.returncode and "network was disabled" in done.stderr:
        done = run()
        if done.returncode and "Failed to fetch" in done.stderr:
            pytest.skip(f"neither uv's cache nor the network has what the block installs: {done.stderr}")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
