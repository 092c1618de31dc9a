"""Changes one thing of a module at a time and runs its tests, which have to fail: else nothing guards it.

``python tests/mutation.py wire`` takes minutes; the names of modules behind it choose among its modules, and with
``--every 5`` it takes each fifth change only. It works on a copy, in a fork for each mutant, and prints those that
survive. `tests/mutants.toml` lists survivors that are no gaps, each with its reason: the exit code is 1 if there are
others, or if one of them is killed now.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib
import math
import os
import shutil
import signal
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
from attrs import frozen
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).parents[1]
KNOWN = Path(__file__).with_name("mutants.toml")
_PURE = ("--noconftest",)  # whose tests need nothing of a loop or a service: loading that takes longer than they do
_JOBS = tuple(
    f"tests/pipeline/test_{name}.py"
    for name in ("order", "limits", "sharing", "failing_jobs", "jobs", "events", "misuse")
)
_RESUMING = tuple(f"tests/journal/test_{name}.py" for name in ("resume", "same_jobs", "going_on"))
_STREAM = ("tests/pipeline/test_stream.py", "tests/pipeline/test_stream_ends.py")
SUITES: dict[str, dict[str, tuple[str, ...]]] = {
    "wire": {"": (*_PURE, "tests/wire", "tests/hostile/test_json.py")},
    "policy": {"": (*_PURE, "tests/policy")},
    "journal": {
        "": (
            "-mnot slow",
            *(f"tests/journal/test_{name}.py" for name in ("record", "small_promises", "opening", "odd_files")),
            *(f"tests/journal/test_{name}.py" for name in ("replay", "commits")),
        ),
        "codec": (*_PURE, "tests/journal/test_record.py"),
        "record": (*_PURE, "tests/journal/test_record.py"),
        "steps": (*_PURE, "tests/journal/test_steps.py"),
        "runs": ("-mnot slow", "tests/journal/test_runs.py"),
        "journal": (
            "-mnot slow",
            *(f"tests/journal/test_{name}.py" for name in ("log", "small_promises", "commits", "runs", "doubt")),
            *_RESUMING,
        ),
    },
    "pipeline": {
        "": ("-mnot slow", *_JOBS, *_STREAM),
        "advice": (*_PURE, "tests/pipeline/test_advice.py"),
        "events": (*_PURE, "tests/pipeline/test_sendings.py"),
        "fingerprints": (*_PURE, "tests/pipeline/test_fingerprints.py"),
        "names": (*_PURE, "tests/pipeline/test_names.py", "tests/pipeline/test_long_names.py"),
        "outcomes": (*_PURE, "tests/pipeline/test_reports.py"),
        "pipeline": (
            "tests/pipeline/test_stopping.py",
            *_JOBS,
            *(f"tests/journal/test_{name}.py" for name in ("fetching", "runs", "doubt")),
            *_RESUMING,
        ),
        "slots": ("-mnot slow", "tests/pipeline/test_slots.py"),
        "stream": ("-mnot slow", *_STREAM),
        "run_notes": ("-mnot slow", "tests/journal/test_runs.py"),
        "memory": (
            "-mnot slow",
            "tests/pipeline/test_memory.py",
            *_RESUMING,
            *(f"tests/journal/test_{name}.py" for name in ("doubt", "endings", "runs")),
        ),
        "results": ("-mnot slow", "tests/pipeline/test_results.py", "tests/remote/test_restoring.py"),
    },
}
"""The tests of a folder's modules, and of those that have tests of their own."""

LONGEST_S = 60.0
"""How long the tests of a mutant may take at least; else five times as long as without it. Then it hangs."""

_SWAPS: dict[type[ast.AST], tuple[type[ast.AST], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.And: (ast.Or,),
    ast.Or: (ast.And,),
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Div,),
    ast.Div: (ast.Mult,),
    ast.FloorDiv: (ast.Mult,),
    ast.Mod: (ast.Mult,),
    ast.BitOr: (ast.BitAnd,),
    ast.BitAnd: (ast.BitOr,),
}
_NAMES = {"min": "max", "max": "min", "any": "all", "all": "any"}


@frozen
class Mutant:
    """A module with one change.

    Attributes:
        name: Its module, the function, and what became of the line.
        line: Where.
        source: The whole module.
    """

    name: str
    line: int
    source: str


def mutants(path: Path, module: str) -> Iterator[Mutant]:
    """Give a module's mutants, in the order of its lines."""
    tree = ast.parse(path.read_text())
    for steps in list(_places(tree)):
        for changed in _changes(_follow(tree, steps)):
            twin = copy.deepcopy(tree)
            _replace(twin, steps, changed)
            node = _statement(tree, steps)
            before, after = ast.unparse(node), ast.unparse(_statement(twin, steps))
            if before != after:
                name = f"{module}.{_scope(tree, steps)}: {_differing(before, after)}"
                yield Mutant(name, node.lineno, ast.unparse(ast.fix_missing_locations(twin)))


Steps = tuple[tuple[str, int | None], ...]


def _places(node: ast.AST, steps: Steps = ()) -> Iterator[Steps]:
    """Give the ways to all nodes that are worth a change: no annotations, docstrings, messages or lists of names."""
    yield steps
    for name, value in ast.iter_fields(node):
        if name in {"annotation", "returns", "decorator_list", "type_params"} or isinstance(node, ast.JoinedStr):
            continue
        for index, child in enumerate(value if isinstance(value, list) else [value]):
            if isinstance(child, ast.AST) and not _is_left_out(child):
                yield from _places(child, (*steps, (name, index if isinstance(value, list) else None)))


def _is_left_out(node: ast.AST) -> bool:
    match node:
        case ast.Import() | ast.ImportFrom() | ast.Expr(value=ast.Constant()):
            return True
        case ast.Assign(targets=[ast.Name(id="__all__")]) | ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
        case ast.Call(func=ast.Name(id=name)):
            return name.endswith("Error") or name == "TypeVar"
        case ast.Call(func=ast.Attribute(value=ast.Name(id="logger"))):
            return True
    return False


def _follow(node: ast.AST, steps: Steps) -> ast.AST:
    for name, index in steps:
        value = getattr(node, name)
        node = value if index is None else value[index]
    return node


def _replace(tree: ast.AST, steps: Steps, changed: ast.AST) -> None:
    parent, (name, index) = _follow(tree, steps[:-1]), steps[-1]
    if index is None:
        setattr(parent, name, changed)
    else:
        getattr(parent, name)[index] = changed


def _statement(tree: ast.AST, steps: Steps) -> ast.stmt:
    """Return the innermost statement."""
    found = None
    for count in range(len(steps) + 1):
        node = _follow(tree, steps[:count])
        found = node if isinstance(node, ast.stmt) else found
    assert found is not None
    return found


def _scope(tree: ast.AST, steps: Steps) -> str:
    nodes = [_follow(tree, steps[:count]) for count in range(len(steps) + 1)]
    scopes = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return ".".join(node.name for node in nodes if isinstance(node, scopes)) or "-"


def _differing(before: str, after: str) -> str:
    """Return the first line that differs, before and after."""
    ours, theirs = before.splitlines(), after.splitlines()
    for one, other in zip(ours, theirs, strict=False):
        if one != other:
            return f"{one.strip()}  ->  {other.strip()}"
    return f"{ours[-1].strip()}  ->  {theirs[-1].strip()}"


def _changes(node: ast.AST) -> Iterator[ast.AST]:
    """Give what a node may become."""
    for swap in _SWAPS.get(type(node), ()):
        yield swap()
    match node:
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(number) | float(number)):
            yield ast.Constant(number + 1)
        case ast.Constant(value=str(text)):
            yield ast.Constant(f"XX{text}")
        case ast.Constant(value=bytes(body)):
            yield ast.Constant(b"XX" + body)
        case ast.Compare(ops=[_, *_]) | ast.BoolOp():
            return
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield operand
        case ast.Name(id=name) if name in _NAMES:
            yield ast.Name(_NAMES[name], ast.Load())
        case ast.Return(value=value) if value is not None and not isinstance(value, ast.Constant):
            yield ast.Return(ast.Constant(None))
        case ast.Raise() | ast.AugAssign() | ast.Delete():
            yield ast.Pass()
        case ast.Expr(value=ast.Call() | ast.Await()):
            yield ast.Pass()
        case ast.Break():
            yield ast.Continue()
        case ast.Continue():
            yield ast.Break()
        case ast.If(test=test) | ast.IfExp(test=test) | ast.While(test=test):
            changed = copy.copy(node)
            changed.test = ast.UnaryOp(ast.Not(), test)
            yield changed


def survives(path: Path, source: str, tests: tuple[str, ...], longest_s: float = math.inf) -> bool:
    """Run the tests on a module of this source, in a fork that ends with them."""
    original = path.read_text()
    path.write_text(source)
    child = os.fork()
    if not child:
        try:
            os.setsid()
            os._exit(_run(tests))
        finally:
            os._exit(70)
    try:
        ends_at = time.monotonic() + longest_s
        while True:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status) == 0
            if time.monotonic() > ends_at:  # it hangs: that is noticed
                os.killpg(child, signal.SIGKILL)
                os.waitpid(child, 0)
                return False
            time.sleep(0.01)
    finally:
        path.write_text(original)


def _run(tests: tuple[str, ...]) -> int:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    loaded = "-Wignore::pytest.PytestAssertRewriteWarning"  # plugins are there already: that is what makes it quick
    return int(pytest.main(["-xq", loaded, "-pno:cacheprovider", "--hypothesis-profile=mutation", *tests]))


def prepare(folder: Path) -> None:
    """Copy what is needed, and load once what every fork needs: of the package what no mutant changes."""
    for name in ("facewarp_async", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "golden"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    shutil.copytree(ROOT / "docs", folder / "docs")
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    sys.dont_write_bytecode = True
    os.environ["PYTHONPATH"] = str(folder)  # for programs that tests start
    for module in ("aiohttp.web", "anyio.pytest_plugin", "cattrs", "yarl"):
        importlib.import_module(module)
    importlib.import_module("facewarp_async.config")  # and what it needs: below all that is changed here

    # The same examples for each mutant, and no slow shrinking of what they find.
    settings.register_profile(
        "mutation", derandomize=True, max_examples=50, database=None, phases=["explicit", "generate"],
        suppress_health_check=list(HealthCheck), deadline=None,
    )  # fmt: skip


def _suites(folder: str, module: str, chosen: list[str] | None) -> list[tuple[str, ...]]:
    """Return the tests of a module's own, which find most, and then those for what survives them."""
    if chosen:
        return [tuple(chosen)]
    suites, own = SUITES[folder], f"tests/{folder}/test_{module}.py"
    narrow = suites.get(module) or ((*_PURE, own) if _PURE[0] in suites[""] and Path(own).exists() else None)
    return [suites[""]] if narrow is None else [narrow, suites[""]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", choices=SUITES)
    parser.add_argument("modules", nargs="*", help="such as answers; all of them if none is given")
    parser.add_argument("--tests", action="append", help="other tests than the folder's")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="take each Nth mutant of a module only")
    options = parser.parse_args()
    known: dict[str, str] = tomllib.loads(KNOWN.read_text()).get(options.folder, {})
    killed, survivors = set(), []
    with tempfile.TemporaryDirectory() as name:
        prepare(Path(name))
        for path in sorted((Path(name) / "facewarp_async" / options.folder).glob("*.py")):
            if options.modules and path.stem not in options.modules:
                continue
            suites = _suites(options.folder, path.stem, options.tests)
            begun = time.monotonic()
            if not all(survives(path, path.read_text(), tests) for tests in suites):
                raise SystemExit(f"the tests of {path.stem} fail without any change")
            longest_s = max(LONGEST_S, 5 * (time.monotonic() - begun))
            for mutant in islice(mutants(path, path.stem), 0, None, options.every):
                if all(survives(path, mutant.source, tests, longest_s) for tests in suites):
                    survivors.append(mutant.name)
                    print(
                        f"{'known' if mutant.name in known else 'SURVIVED'}: {mutant.line}: {mutant.name}", flush=True
                    )
                else:
                    killed.add(mutant.name)
            print(f"{path.stem}: {len(killed)} kinds killed, {len(survivors)} survived so far", flush=True)
        os.chdir(ROOT)
    wrong = [name for name in survivors if name not in known]
    late = known.keys() & killed - set(survivors)
    print(f"{len(killed)} kinds killed, {len(survivors)} survived, {len(wrong)} of them unknown")
    print("".join(f"known and killed: {name}\n" for name in sorted(late)), end="")
    return 1 if wrong or late else 0


if __name__ == "__main__":
    sys.exit(main())
