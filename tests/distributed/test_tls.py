"""A cluster whose processes know each other by certificates: nothing of a batch goes in the clear."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import dask
import pytest

from facewarp_async.cli.cluster import open_cluster
from facewarp_async.cli.exits import UsageError

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


@pytest.fixture(scope="module")
def safe_cluster(clusters: ModuleType, certificates: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with clusters.open_cluster(tmp_path_factory.mktemp("dask"), workers=2, certificates=certificates) as cluster:
        yield cluster


async def test_a_batch_goes_over_tls_with_the_certificates_of_its_dask_client(
    clusters: ModuleType, safe_cluster: Any, tmp_path: Path
) -> None:
    """The scheduler listens for nothing else; so the links of the driver and of the workers are encrypted too."""
    async with (
        clusters.open_account(tmp_path, jobs=12, rate=40) as account,
        safe_cluster.client(2) as dask,
        account.pipeline(dask) as pipeline,
    ):
        outcomes = [outcome async for outcome in pipeline.stream(account.jobs())]
        assert await account.wrongs(outcomes) == []


async def test_the_command_takes_certificates_from_dasks_settings(
    clusters: ModuleType, certificates: Any, safe_cluster: Any, tmp_path: Path
) -> None:
    given = {"CA_FILE": certificates.authority, "CLIENT__CERT": certificates.own, "CLIENT__KEY": certificates.own}
    environ = {f"DASK_DISTRIBUTED__COMM__TLS__{name}": str(path) for name, path in given.items()}
    async with clusters.open_account(tmp_path, jobs=3) as account, safe_cluster.client(1):
        command = [
            sys.executable, "-m", "facewarp_async", "batch", "media", "--face", "media/face/face.png", "--out", "out",
            "--no-recursive", "--rps", "0", "--base-url", account.service.provider.base_url,
            "--dask", safe_cluster.address,
        ]  # fmt: skip
        environ |= {"FACEWARP_API_KEY": account.service.auth.key, "HOME": str(tmp_path)}
        done = await anyio.run_process(command, check=False, cwd=tmp_path, env=os.environ | environ)
        assert done.returncode == 0, done.stderr.decode()
        assert done.stdout.decode().split() == [f"out/{number:04}.png" for number in range(3)]
        assert account.runner.media.total() == 3


@pytest.mark.usefixtures("clusters")  # imports Dask, which blocks
@pytest.mark.parametrize(
    ("settings", "scheme", "why"),
    [
        ({}, "tls", "DASK_DISTRIBUTED__COMM__TLS__CA_FILE"),
        (
            {"tls.ca-file": "none.pem", "tls.client.cert": "none.pem"},
            "tls",
            r"cannot be used: .*No such file",
        ),
        ({"require-encryption": True}, "tcp", "expected an address with tls://"),
    ],
)
async def test_settings_that_do_not_suit_the_address_are_told(
    settings: dict[str, object], scheme: str, why: str
) -> None:
    given = {f"distributed.comm.{name}": value for name, value in settings.items()}
    with dask.config.set(given), pytest.raises(UsageError, match=why):
        await open_cluster(f"{scheme}://127.0.0.1:9").__aenter__()
