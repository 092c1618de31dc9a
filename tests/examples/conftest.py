"""The examples, as modules."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from facewarp_async.server import LocalService

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="session")
def example() -> Callable[[str], ModuleType]:
    """Import an example by its path."""

    def load(path: str) -> ModuleType:
        name = "_example_" + Path(path).stem
        if name not in sys.modules:
            spec = importlib.util.spec_from_file_location(name, EXAMPLES / path)
            assert spec is not None
            assert spec.loader is not None
            sys.modules[name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(sys.modules[name])
        return sys.modules[name]

    return load


@pytest.fixture
def in_environment(monkeypatch: pytest.MonkeyPatch) -> Callable[[LocalService], None]:
    """Make a service the one that the environment names."""

    def use(service: LocalService) -> None:
        monkeypatch.setenv("FACEWARP_PROVIDER", "local")
        monkeypatch.setenv("FACEWARP_BASE_URL", service.provider.base_url)
        monkeypatch.setenv("FACEWARP_API_KEY", service.auth.key)

    return use
