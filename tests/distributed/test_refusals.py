"""Clusters, programs and journals that a batch is not begun with."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import pytest
from distributed import Client

from facewarp_async.distributed import DistributedPipeline, reaching
from facewarp_async.distributed import values as values_module
from facewarp_async.errors import ClusterError, ConfigurationError, JournalInUseError

if TYPE_CHECKING:
    from tests.distributed.conftest import Bench

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


async def test_a_second_batch_with_the_same_journal_is_refused(bench: Bench) -> None:
    async with bench.pipeline() as first:
        with pytest.raises(JournalInUseError, match=r"batch\.db: the journal is used by another"):
            await bench.pipeline().__aenter__()
        assert (await first.collect(bench.swaps(2))).completed == 2
    async with bench.pipeline() as again:
        assert (await again.collect(bench.swaps(2))).completed == 2
    assert len(bench.service.ledger.creations) == 2


@pytest.mark.parametrize("who", ["driver", "worker"])
async def test_another_version_is_refused_with_what_to_do(
    who: str, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scheduler here is in the same process: only what it compares with can be another."""
    if who == "driver":
        monkeypatch.setattr(values_module, "OWN_VERSIONS", ("99.0", values_module.OWN_VERSIONS[1]))
        with pytest.raises(ConfigurationError, match=r"the program .* has facewarp-async .*, the scheduler has 99\.0"):
            await bench.pipeline().__aenter__()
        return
    async with bench.pipeline() as pipeline:
        monkeypatch.setattr(values_module, "OWN_VERSIONS", ("99.0", values_module.OWN_VERSIONS[1]))
        with pytest.raises(ConfigurationError, match=r"the worker at .* has facewarp-async .*, the scheduler has 99"):
            await pipeline.collect(bench.swaps(1))


async def test_a_worker_that_lacks_the_package_is_named(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The workers here are in the same process: only the name that is looked for can be another."""
    monkeypatch.setattr(reaching, "PACKAGE", "what-nobody-has")
    with pytest.raises(ClusterError, match=r"the worker at inproc://.* lacks facewarp-async: install"):
        await bench.pipeline().__aenter__()
    assert not (bench.folder / "batch.db").exists()


async def test_a_dask_client_of_a_program_that_blocks_is_refused(bench: Bench) -> None:
    assert bench.dask.cluster is not None
    make = partial(Client, bench.dask.cluster.scheduler_address, set_as_default=False)
    client = await anyio.to_thread.run_sync(make)
    try:
        with pytest.raises(ConfigurationError, match="make it with asynchronous=True"):
            DistributedPipeline(bench.client, client, journal=bench.folder / "batch.db")
    finally:
        await anyio.to_thread.run_sync(client.close)


async def test_a_relative_journal_is_refused(bench: Bench) -> None:
    with pytest.raises(ConfigurationError, match=r"batch\.db: the journal lies on the scheduler's machine"):
        await bench.pipeline(journal="batch.db").__aenter__()
