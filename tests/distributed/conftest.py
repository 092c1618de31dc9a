"""Clusters: one of processes for all tests, by a module that the long run shares, and one within a test's process."""

from __future__ import annotations

import importlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import trustme
from attrs import define
from distributed import Client, LocalCluster

from facewarp_async.client import FaceSwapClient
from facewarp_async.distributed import DistributedPipeline
from facewarp_async.models import ImageSwap, Job
from facewarp_async.policy.polling import FixedPolling
from facewarp_async.server import InstantRunner, LocalService
from tests.heads import PNG


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
    if _breaks_others(folder / "own.pem"):
        pytest.skip(f"{ssl.OPENSSL_VERSION} with this Python: a broken connection breaks others (cpython#148594)")
    return clusters.Certificates(folder / "ca.pem", folder / "own.pem")


def _breaks_others(certificate: Path) -> bool:
    """Tell whether this Python takes the error of one TLS connection for another's, so that Dask's break at random."""
    with ExitStack() as stack:
        ours, others = zip(*(_tls_pair(certificate, stack) for _ in range(2)), strict=True)
        for half in (ours[0], others[0]):
            socket.socket.shutdown(half, socket.SHUT_WR)  # the alert to what breaks off cannot be sent then
        with suppress(OSError):
            ours[0].recv(1)
        try:
            ours[1].recv(1)
        except ssl.SSLWantReadError:
            return False
        except OSError:
            return True
    raise AssertionError("nothing was sent")


def _tls_pair(certificate: Path, stack: ExitStack) -> tuple[ssl.SSLSocket, ssl.SSLSocket]:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate)
    client = ssl.create_default_context()
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    near, far = socket.socketpair()
    with ThreadPoolExecutor(1) as pool:
        shaken = pool.submit(client.wrap_socket, far)
        ours = stack.enter_context(server.wrap_socket(near, server_side=True))
        other = stack.enter_context(shaken.result())
    other.sendall(b"x")
    assert ours.recv(1) == b"x"
    ours.setblocking(False)
    return ours, other


@pytest.fixture(scope="package")
def cluster(clusters: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A scheduler and two workers, which tests may kill; who needs some again asks its ``client`` for them."""
    with clusters.open_cluster(tmp_path_factory.mktemp("dask"), workers=2) as cluster:
        yield cluster


@define
class Bench:
    """A service, a client of it, and a cluster of two workers."""

    folder: Path
    service: LocalService
    client: FaceSwapClient
    dask: Client

    def swaps(self, number: int) -> list[Job]:
        """Make jobs for pictures of their own with the same face."""
        return [ImageSwap(self.picture(str(index)), self.picture("face")) for index in range(number)]

    def picture(self, label: str) -> Path:
        path = self.folder / "in" / f"{label}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(PNG + label.encode())
        return path

    def pipeline(self, **options: Any) -> DistributedPipeline:
        options.setdefault("shard_size", 3)
        options.setdefault("journal", self.folder / "batch.db")
        return DistributedPipeline(
            options.pop("client", self.client), self.dask, output_dir=self.folder / "out", **options
        )


Serve = Callable[..., Any]


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    """Start a service with options, and a cluster."""

    @asynccontextmanager
    async def start(**options: Any) -> AsyncIterator[Bench]:
        async with (
            LocalService(runner=InstantRunner(), **options) as service,
            LocalCluster(  # type: ignore[no-untyped-call]  # Dask's
                n_workers=2, threads_per_worker=2, processes=False, asynchronous=True, dashboard_address=":0"
            ) as cluster,
            Client(cluster, asynchronous=True) as dask,  # type: ignore[no-untyped-call]  # the same
            FaceSwapClient(
                service.provider, service.auth, poll_policy=FixedPolling(image_s=0.02, longest_s=0.05)
            ) as client,
        ):
            yield Bench(tmp_path, service, client, dask)

    return start


@pytest.fixture
async def bench(serve: Serve) -> AsyncIterator[Bench]:
    async with serve() as bench:
        yield bench
