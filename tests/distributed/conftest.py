"""The helper module of this folder, which is no test and is shared with the long run, and a cluster for all tests."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture(scope="session")
def clusters() -> ModuleType:
    """``clusters.py``, which runs clusters and accounts."""
    return importlib.import_module("tests.distributed.clusters")


@pytest.fixture(scope="package")
def cluster(clusters: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A scheduler and two workers, which tests may kill; who needs some again asks its ``client`` for them."""
    with clusters.open_cluster(tmp_path_factory.mktemp("dask"), workers=2) as cluster:
        yield cluster
