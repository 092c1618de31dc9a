"""The real program, run as a process against a service in the test's own."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import anyio
import pytest
from anyio.abc import Process
from attrs import frozen

from facewarp_async.server import LocalService
from tests.patience import seconds

_NOISE = ("Traceback", "Warning", "Unclosed", "never awaited", "Exception ignored", "never retrieved")


@frozen
class Ended:
    """A program that has ended."""

    code: int
    out: bytes
    err: str

    @property
    def lines(self) -> list[str]:
        return os.fsdecode(self.out).splitlines()

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def noise(self) -> list[str]:
        """The lines that no user should ever see."""
        return [line for line in self.err.splitlines() if any(word in line for word in _NOISE)]


class Run(Protocol):
    async def __call__(
        self, *arguments: str | Path, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> Ended: ...


Start = Callable[..., AbstractAsyncContextManager[Process]]


def _environment(extra: Mapping[str, str] | None) -> dict[str, str]:
    dropped = ("FACEWARP_", "NO_COLOR", "FORCE_COLOR", "TTY_", "COLUMNS", "LINES")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    return kept | {"PYTHONWARNINGS": "always::ResourceWarning,always::RuntimeWarning"} | dict(extra or {})


@pytest.fixture
def environment() -> Callable[[Mapping[str, str] | None], dict[str, str]]:
    """Make the environment of a program that has nothing of the user's settings."""
    return _environment


@pytest.fixture
def program() -> list[str]:
    """What starts the program."""
    return [sys.executable, "-m", "facewarp_async"]


@pytest.fixture
def run(program: Sequence[str], tmp_path: Path) -> Run:
    """Run the program to its end."""

    async def run(*arguments: str | Path, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> Ended:
        command = [*program, *(os.fspath(each) for each in arguments)]
        with anyio.fail_after(seconds(40)):
            ended = await anyio.run_process(command, check=False, env=_environment(env), cwd=cwd or tmp_path)
        return Ended(ended.returncode, ended.stdout, ended.stderr.decode("utf-8", "replace"))

    return run


@pytest.fixture
def start(program: Sequence[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Start the program; what is left of it at the end is killed."""

    @asynccontextmanager
    async def start(
        *arguments: str | Path, env: Mapping[str, str] | None = None, **streams: Any
    ) -> AsyncIterator[Process]:
        command = [*program, *(os.fspath(each) for each in arguments)]
        streams = {"stdin": subprocess.DEVNULL} | streams
        async with await anyio.open_process(command, env=_environment(env), cwd=tmp_path, **streams) as process:
            try:
                yield process
            finally:
                if process.returncode is None:
                    process.kill()

    return start


@pytest.fixture
def settings() -> Callable[[LocalService], dict[str, str]]:
    """Return the environment that makes a service the program's own."""

    def settings(service: LocalService) -> dict[str, str]:
        return {
            "FACEWARP_PROVIDER": "local",
            "FACEWARP_BASE_URL": service.provider.base_url,
            "FACEWARP_API_KEY": service.auth.key,
        }

    return settings


@pytest.fixture
def here(local: LocalService, settings: Callable[[LocalService], dict[str, str]]) -> dict[str, str]:
    """The environment for the quick service of all tests."""
    return settings(local)


async def _read_all(process: Process) -> str:
    assert process.stderr is not None
    with anyio.fail_after(seconds(20)):
        return b"".join([chunk async for chunk in process.stderr]).decode()


@pytest.fixture
def read_errors() -> Callable[[Process], Any]:
    """Read what a program writes to stderr until its end."""
    return _read_all


@pytest.fixture(scope="session")
def killing() -> ModuleType:
    """``killing.py``, which is no test and is shared with the long run."""
    return importlib.import_module("tests.cli.killing")
