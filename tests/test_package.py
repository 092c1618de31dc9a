"""The root of the package: what it names, and what importing it costs."""

from __future__ import annotations

import ast
import inspect
import logging
import os
import pickle
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
    "fsspec",
    "jinja2",
    "numpy",
    "rich",
    "uvloop",
}


def _imported(code: str) -> set[str]:
    program = f"{code}\nimport sys\nprint(*sys.modules)"
    # What measures coverage would be in there too, and imports modules of its own.
    unmeasured = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60, env=unmeasured)
    return set(done.stdout.split())


def test_all_is_sorted_and_complete() -> None:
    """Constants first, then classes, then functions, as the linter sorts them; each name is there once."""
    names = facewarp_async.__all__

    def rank(name: str) -> tuple[int, str]:
        return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)

    assert names == sorted(names, key=rank)
    assert len(names) == len(set(names))


def test_each_name_is_imported_from_where_type_checkers_look_for_it() -> None:
    tree = ast.parse(inspect.getsource(facewarp_async))
    typed = next(node for node in tree.body if isinstance(node, ast.If))
    assert ast.unparse(typed.test) == "TYPE_CHECKING"
    imports = [node for node in typed.body if isinstance(node, ast.ImportFrom)]
    homes = {alias.name: node.module for node in imports for alias in node.names}
    assert homes == {name: f"facewarp_async.{home}" for name, home in facewarp_async._HOME_OF.items()}
    assert set(homes) == set(facewarp_async.__all__)


@pytest.mark.slow
def test_a_fresh_interpreter_has_every_name_by_star_by_dir_and_by_attribute() -> None:
    code = """
import facewarp_async
before = set(vars(facewarp_async))
assert "FaceSwapClient" not in before, "it would not be what this is about"
assert set(facewarp_async.__all__) <= set(dir(facewarp_async))
assert facewarp_async.errors.InputError is facewarp_async.InputError
from facewarp_async import *
assert set(facewarp_async.__all__) <= set(globals())
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_name_that_is_not_there_is_told_like_any_other() -> None:
    with pytest.raises(AttributeError, match="module 'facewarp_async' has no attribute 'FaceSwapClinet'"):
        _ = facewarp_async.FaceSwapClinet  # type: ignore[attr-defined]
    assert not hasattr(facewarp_async, "__wrapped__")
    with pytest.raises(ImportError):
        from facewarp_async import FaceSwapClinet  # type: ignore[attr-defined]  # noqa: F401, PLC0415


@pytest.mark.parametrize(("name", "value"), PUBLIC, ids=facewarp_async.__all__)
def test_everything_public_can_be_pickled_by_name(name: str, value: object) -> None:
    if isinstance(value, type | types.FunctionType):
        assert pickle.loads(pickle.dumps(value)) is value, name


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
def test_importing_the_package_imports_nothing_yet() -> None:
    """What a program does not use, it does not wait for: the command's help does not wait for aiohttp."""
    modules = _imported("import facewarp_async")
    assert {name for name in modules if name.startswith("facewarp_async")} == {"facewarp_async"}
    assert not modules & {"aiohttp", "asyncio", "attr", "cattrs", "anyio", "sqlite3", "ssl"}


@pytest.mark.slow
def test_a_client_imports_neither_the_pipeline_nor_a_database() -> None:
    modules = _imported("from facewarp_async import FaceSwapClient")
    assert "facewarp_async.client" in modules
    assert not modules & {
        "facewarp_async.pipeline",
        "facewarp_async.journal",
        "facewarp_async.sources",
        "sqlite3",
        "csv",
    }


@pytest.mark.slow
def test_the_command_that_only_helps_imports_no_network() -> None:
    modules = _imported("from facewarp_async.cli.app import run_program\nrun_program(['--version'])")
    assert "cyclopts" in modules
    modules -= _imported("import anyio")  # old ones have imported ssl
    assert not modules & {"aiohttp", "cattrs", "ssl", "sqlite3", "facewarp_async.client", "facewarp_async.pipeline"}


@pytest.mark.slow
def test_using_all_of_the_package_imports_no_extra() -> None:
    modules = _imported("from facewarp_async import *")
    assert "facewarp_async.client" in modules
    loaded = {name for name in modules for extra in EXTRAS if name == extra or name.startswith(extra + ".")}
    assert loaded == set()


def test_the_package_is_typed_and_logs_nothing_unless_asked() -> None:
    assert (Path(facewarp_async.__file__).parent / "py.typed").exists()
    root = logging.getLogger("facewarp_async")
    assert root.level == logging.NOTSET
    assert not [handler for handler in root.handlers if not isinstance(handler, logging.NullHandler)]
