"""The helper modules of this folder, which are no tests and are shared with the long run."""

from __future__ import annotations

import importlib
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def killing() -> ModuleType:
    """``killing.py``, which kills batches."""
    return importlib.import_module("tests.crash.killing")
