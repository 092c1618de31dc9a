"""The helper module of this folder, which is no test and is shared with the long run, and a cluster for all tests."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import trustme


@pytest.fixture(scope="session")
def clusters() -> ModuleType:
    """``clusters.py``, which runs clusters and accounts."""
    return importlib.import_module("tests.distributed.clusters")


@pytest.fixture(scope="session")
def certificates(clusters: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Certificates of an authority of the tests' own."""
    folder, authority = tmp_path_factory.mktemp("certificates"), trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(folder / "own.pem")
    return clusters.Certificates(folder / "ca.pem", folder / "own.pem")


@pytest.fixture(scope="package")
def cluster(clusters: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A scheduler and two workers, which tests may kill; who needs some again asks its ``client`` for them."""
    with clusters.open_cluster(tmp_path_factory.mktemp("dask"), workers=2) as cluster:
        yield cluster
