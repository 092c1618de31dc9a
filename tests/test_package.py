"""The root of the package: what it names, and what importing it costs."""

from __future__ import annotations

import inspect
import logging
import subprocess
import sys
import types
from pathlib import Path

import pytest

import facewarp_async

PUBLIC = [(name, getattr(facewarp_async, name)) for name in facewarp_async.__all__]
EXTRAS = {
    "aiohttp.web",
    "av",
    "botocore",
    "cv2",
    "cyclopts",
    "dask",
    "distributed",
    "facewarp_async.cli",
    "facewarp_async.engine",
    "facewarp_async.server",
    "jinja2",
    "numpy",
    "rich",
    "uvloop",
}


def _imported(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    return {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}


def test_all_is_sorted_and_complete() -> None:
    """Constants first, then classes, then functions, as the linter sorts them; each name is there once."""
    names = facewarp_async.__all__

    def rank(name: str) -> tuple[int, str]:
        return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)

    assert names == sorted(names, key=rank)
    assert len(names) == len(set(names))
    here = {name for name, value in vars(facewarp_async).items() if not name.startswith("_")}
    modules = {name for name in here if isinstance(getattr(facewarp_async, name), types.ModuleType)}
    assert here - modules == set(names)


@pytest.mark.parametrize(("name", "value"), PUBLIC, ids=facewarp_async.__all__)
def test_everything_public_says_what_it_is(name: str, value: object) -> None:
    """And so do the public methods and properties of a public class."""
    if not isinstance(value, type | types.FunctionType):
        return
    assert inspect.getdoc(value)
    for member_name, member in vars(value).items() if isinstance(value, type) else ():
        is_ours = isinstance(member, types.FunctionType | property | classmethod | staticmethod)
        if is_ours and not member_name.startswith("_"):
            assert inspect.getdoc(getattr(value, member_name)), f"{name}.{member_name}"


@pytest.mark.parametrize(("name", "value"), PUBLIC, ids=facewarp_async.__all__)
def test_every_public_class_is_defined_in_the_package(name: str, value: object) -> None:
    if isinstance(value, type):
        assert value.__module__.startswith("facewarp_async.")
        assert value.__name__ == name


def test_all_errors_are_public_and_have_one_root() -> None:
    errors = {value for value in vars(facewarp_async.errors).values() if isinstance(value, type)}
    own = {value for value in errors if issubclass(value, Exception) and value.__module__ == "facewarp_async.errors"}
    assert all(issubclass(error, facewarp_async.FaceWarpError) for error in own)
    assert {error.__name__ for error in own} <= set(facewarp_async.__all__)


def test_every_error_is_in_the_tree_that_the_documentation_shows() -> None:
    tree = inspect.getdoc(facewarp_async.errors) or ""
    for name, value in PUBLIC:
        if isinstance(value, type) and issubclass(value, facewarp_async.FaceWarpError):
            assert name in tree, name


@pytest.mark.slow
def test_importing_the_package_imports_no_extra() -> None:
    modules = _imported("import facewarp_async")
    assert "facewarp_async.client" in modules
    loaded = {name for name in modules for extra in EXTRAS if name == extra or name.startswith(extra + ".")}
    assert loaded == set()


def test_the_package_is_typed_and_logs_nothing_unless_asked() -> None:
    assert (Path(facewarp_async.__file__).parent / "py.typed").exists()
    root = logging.getLogger("facewarp_async")
    assert root.level == logging.NOTSET
    assert not [handler for handler in root.handlers if not isinstance(handler, logging.NullHandler)]
