"""Builds the distributions, looks at what is in them, and tests them on each Python with old and new dependencies.

``python tests/matrix.py`` runs it all, which takes two hours; ``--python 3.12 --resolution highest`` is one of its
cells, and what comes after ``--`` goes to pytest: ``-- -m "not slow"`` or ``-- tests/wire``. It needs uv, and the
Pythons.

The tests are those of the unpacked sdist. The package is the wheel that was built from it, and in one cell the sdist
itself: nothing is of the checkout.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
import zipfile
from collections.abc import Iterator
from configparser import ConfigParser
from contextlib import contextmanager
from email import message_from_bytes
from pathlib import Path

ROOT = Path(__file__).parents[1]
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
RESOLUTIONS = ("lowest-direct", "highest")
FROM_SDIST = ("3.11", "highest")
NOT_OF_THE_WHEEL = ("tests/checks", "tests/docs", "tests/benchmarks")
"""They are about the checkout, and what is not shipped."""


def run(*command: str | Path, cwd: Path = ROOT, check: bool = True) -> int:
    environ = {name: value for name, value in os.environ.items() if name not in {"VIRTUAL_ENV", "PYTHONPATH"}}
    return subprocess.run([str(part) for part in command], cwd=cwd, env=environ, check=check).returncode


def build(folder: Path) -> tuple[Path, Path]:
    """Build the sdist from the checkout, and the wheel from the sdist."""
    run("uv", "build", "--quiet", "--out-dir", folder, ROOT)
    run("uv", "tool", "run", "--quiet", "twine", "check", "--strict", *folder.glob("*.whl"), *folder.glob("*.tar.gz"))
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, sdist


def check_wheel(wheel: Path) -> None:
    """See that the wheel has all of the package, nothing else, and says what it needs and may be used for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (info,) = {name.partition("/")[0] for name in names if ".dist-info/" in name}
        metadata = message_from_bytes(archive.read(f"{info}/METADATA"))
        entry_points = ConfigParser()
        entry_points.read_string(archive.read(f"{info}/entry_points.txt").decode())
    package = {name for name in names if not name.startswith(info)}
    assert package == set(tracked("facewarp_async")), package ^ set(tracked("facewarp_async"))
    assert "facewarp_async/py.typed" in package
    own = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE", "licenses/NOTICE"}
    assert names - package == {f"{info}/{name}" for name in own}
    assert metadata["License-Expression"] == project["license"]
    assert metadata["Requires-Python"] == project["requires-python"]
    assert set(metadata.get_all("Provides-Extra", [])) == set(project["optional-dependencies"])
    entry_points_of = {"console_scripts": project["scripts"], **project["entry-points"]}
    assert {group: dict(entry_points[group]) for group in entry_points.sections()} == entry_points_of


def check_sdist(sdist: Path) -> None:
    """See that the sdist has what git has, but for what only a checkout needs."""
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames() if not name.endswith("/PKG-INFO")}
    folders = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["sdist"][
        "include"
    ]
    assert names == {*tracked(*folders), "pyproject.toml", ".gitignore"}, names ^ set(tracked(*folders))


def tracked(*paths: str) -> list[str]:
    """Return the files that git knows of."""
    done = subprocess.run(["git", "ls-files", *paths], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def install(folder: Path, package: Path, *, python: str, resolution: str) -> Path:
    """Make an environment with the package, its extras in the versions asked for, and the newest tools for tests."""
    # pyenv's own names for its Pythons are programs that fail for those that are not chosen.
    of_pyenv = sorted(Path.home().glob(f".pyenv/versions/{python}.*/bin/python"))
    run("uv", "venv", "--quiet", "--python", of_pyenv[-1] if of_pyenv else python, folder)
    interpreter = folder / "bin" / "python"
    pip = ("uv", "pip", "install", "--quiet", "--python", interpreter)
    # By name, because the lowest versions are those of what is asked for, and not of what that needs.
    run(*pip, "--resolution", resolution, "--all-extras", "-r", ROOT / "pyproject.toml")
    run(*pip, "--no-deps", package)
    pinned = folder / "pinned.txt"
    with pinned.open("w") as file:
        freeze = ["uv", "pip", "freeze", "--quiet", "--exclude", "facewarp-async", "--python", str(interpreter)]
        subprocess.run(freeze, stdout=file, check=True)
    run(*pip, "--constraint", pinned, "--group", f"{ROOT / 'pyproject.toml'}:test")
    return interpreter


@contextmanager
def unpacked(sdist: Path, folder: Path) -> Iterator[Path]:
    """Give the sdist's tests without its package, in a folder."""
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (tree,) = folder.iterdir()
    shutil.rmtree(tree / "facewarp_async")
    yield tree


def test_cell(package: Path, sdist: Path, *, python: str, resolution: str, arguments: list[str]) -> bool:
    """Run the tests in one environment."""
    with tempfile.TemporaryDirectory() as name:
        interpreter = install(Path(name) / "venv", package, python=python, resolution=resolution)
        with unpacked(sdist, Path(name) / "tree") as tree:
            where = "import facewarp_async, sys; assert facewarp_async.__file__.startswith(sys.prefix)"
            run(interpreter, "-c", where, cwd=tree)
            run(interpreter.with_name("facewarp"), "--version", cwd=tree)
            ignored = [f"--ignore={path}" for path in NOT_OF_THE_WHEEL]
            began = time.monotonic()
            code = run(interpreter, "-m", "pytest", "-q", *ignored, *arguments, cwd=tree, check=False)
    cell = f"Python {python}, {resolution}, {package.name}"
    print(f"{cell}: exit code {code} after {time.monotonic() - began:.0f} s", flush=True)
    return code == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", action="append", choices=PYTHONS, help="all of them if it is not given")
    parser.add_argument("--resolution", action="append", choices=RESOLUTIONS, help="both if it is not given")
    parser.add_argument("--build-only", action="store_true", help="build and look at what was built")
    parser.add_argument("arguments", nargs="*", help="for pytest")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        wheel, sdist = build(Path(name))
        check_wheel(wheel)
        check_sdist(sdist)
        cells = [(python, kind) for python in options.python or PYTHONS for kind in options.resolution or RESOLUTIONS]
        passed = [
            test_cell(
                sdist if (python, resolution) == FROM_SDIST else wheel,
                sdist,
                python=python,
                resolution=resolution,
                arguments=options.arguments,
            )
            for python, resolution in ([] if options.build_only else cells)
        ]
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
