"""The shape of the code: short functions, no cycles, nothing that nobody uses. By names, which is coarse and quick."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "facewarp_async"
USERS = [PACKAGE, *(ROOT / name for name in ("tests", "benchmarks", "examples"))]
LONGEST = 60
"""Lines that a function may have, its docstring and signature left aside."""

KNOWN_DECORATORS = {"property", "classmethod", "staticmethod", "contextmanager", "asynccontextmanager", "overload"}
CALLED_FROM_OUTSIDE = {"pytest_configure"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def modules(folder: Path = PACKAGE) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def functions(path: Path) -> Iterator[Function]:
    return (node for node in ast.walk(tree(path)) if isinstance(node, Function))


def place(path: Path, node: ast.stmt) -> str:
    return f"{path.relative_to(ROOT)}:{node.lineno}"


def test_no_function_is_long() -> None:
    found = {}
    for path in (path for folder in USERS for path in modules(folder)):
        for function in functions(path):
            body = function.body[1:] if ast.get_docstring(function) is not None else function.body
            length = (function.end_lineno or 0) - body[0].lineno + 1 if body else 0
            if length > LONGEST:
                found[place(path, function)] = f"{function.name}: {length} lines"
    assert found == {}


def _name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(path: Path, known: set[str]) -> set[str]:
    """Return the modules that a module needs in order to be imported."""
    found: set[str] = set()
    for node in tree(path).body:
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= names & known or {node.module} & known
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names} & known
    return found - {_name_of(path)}


def test_no_module_needs_itself() -> None:
    paths = {_name_of(path): path for path in modules()}
    needs = {name: _imports(path, set(paths)) for name, path in paths.items()}
    while free := {name for name, needed in needs.items() if not needed}:
        needs = {name: needed - free for name, needed in needs.items() if name not in free}
    assert needs == {}, "these need each other, or what needs itself"


@cache
def _uses(paths: tuple[Path, ...]) -> Counter[str]:
    """Count how often each name is used: read, asked of an object, passed, imported, or written as a string."""
    found: Counter[str] = Counter()
    for path in paths:
        for node in ast.walk(tree(path)):
            match node:
                case ast.Name(id=name, ctx=ast.Load()) | ast.Attribute(attr=name, ctx=ast.Load()):
                    found[name] += 1
                case ast.keyword(arg=str(name)) | ast.Constant(value=str(name)):
                    found.update(name.split())
                case ast.MatchClass(kwd_attrs=names):
                    found.update(names)
    for template in PACKAGE.rglob("*.html*"):
        found.update(re.findall(r"\w+", template.read_text()))
    return found


@cache
def _classes() -> set[str]:
    return {node.name for path in modules() for node in ast.walk(tree(path)) if isinstance(node, ast.ClassDef)}


@cache
def _public_classes() -> set[str]:
    names: set[str] = set()
    for path in [
        PACKAGE / "__init__.py",
        *(PACKAGE / name / "__init__.py" for name in ("server", "testing", "distributed")),
    ]:
        for node in tree(path).body:
            if isinstance(node, ast.Assign | ast.AnnAssign) and "__all__" in ast.unparse(node).partition("=")[0]:
                assert node.value is not None
                names |= set(ast.literal_eval(node.value))
    for path in modules():
        for found in ast.walk(tree(path)):
            if isinstance(found, ast.ClassDef) and found.name in names:
                names |= {ast.unparse(base) for base in found.bases}
    return names


def _definitions(path: Path) -> Iterator[tuple[str, ast.stmt]]:
    """Give what a module defines, but for what users call, and libraries by a class of theirs."""
    public, own = _public_classes(), _classes() | {"Protocol", "Generic", "Exception", "Enum", "StrEnum", "NamedTuple"}
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ClassDef):
            yield node.name, node
            is_outsider = not {ast.unparse(base).partition("[")[0] for base in node.bases} <= own
            for member in node.body:
                is_offered = node.name in public and isinstance(member, Function) and not member.name.startswith("_")
                if isinstance(member, Function) and not is_offered and not is_outsider:
                    yield from _function(member)
    for statement in tree(path).body:
        if isinstance(statement, Function):
            yield from _function(statement)
        elif isinstance(statement, ast.Assign | ast.AnnAssign):
            for target in statement.targets if isinstance(statement, ast.Assign) else [statement.target]:
                if isinstance(target, ast.Name):
                    yield target.id, statement


def _function(node: Function) -> Iterator[tuple[str, ast.stmt]]:
    decorators = {ast.unparse(each).partition("(")[0].rpartition(".")[2] for each in node.decorator_list}
    is_dunder = node.name.startswith("__") and node.name.endswith("__")
    if decorators <= KNOWN_DECORATORS and not is_dunder and node.name not in CALLED_FROM_OUTSIDE:
        yield node.name, node


def test_nothing_is_defined_that_nobody_uses() -> None:
    """What only tests use is not used."""
    uses = _uses(tuple(modules()))
    assert {
        place(path, node): name
        for path in modules()
        for name, node in _definitions(path)
        if not uses[name] and not (name.startswith("__") and name.endswith("__"))
    } == {}


@pytest.mark.slow
def test_no_option_is_there_that_nobody_gives() -> None:
    """A parameter with a default is given somewhere: in the package, or in a test where it is the users'."""
    given = _uses(tuple(path for folder in USERS for path in modules(folder)))
    found = {}
    for path in modules():
        for function in functions(path):
            for parameter, default in zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True):
                if default is not None and not given[parameter.arg]:
                    found[place(path, function)] = parameter.arg
    assert found == {}
