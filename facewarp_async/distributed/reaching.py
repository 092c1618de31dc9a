"""The way to the coordinator, from where batches are started."""

from __future__ import annotations

import asyncio
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import anyio
from distributed import Client

from facewarp_async.distributed.link import Link, Other, Value, open_link
from facewarp_async.distributed.plugin import CoordinatorPlugin
from facewarp_async.distributed.values import OP, OWN_VERSIONS, PACKAGE
from facewarp_async.distributed.worker import COORDINATOR
from facewarp_async.errors import ClusterError, OutputError

_ASKED_S = 5.0
"""How long workers may take to say what they have."""


async def reach(dask_client: Client, other: Other) -> Link:
    """Put the coordinator into the scheduler, if it is not there yet, and connect to it.

    Args:
        dask_client: Leads to the cluster.
        other: Takes what the coordinator says.

    Raises:
        ClusterError: The cluster cannot be reached, or its scheduler lacks the package.
    """
    try:
        await dask_client.register_plugin(CoordinatorPlugin())
    except ModuleNotFoundError as error:
        raise ClusterError(
            f"the scheduler lacks {error.name}: install facewarp-async[dask] there, the same version as here"
        ) from error
    except (OSError, TimeoutError) as error:
        raise ClusterError(f"the scheduler cannot be reached: {error}") from error
    if dask_client.scheduler is None:
        raise ClusterError("the Dask client is closed")
    address = str(dask_client.scheduler.address)
    return await open_link(address, {"op": OP}, other, name=COORDINATOR, options=dask_client.connection_args)


async def check_workers(dask_client: Client) -> None:
    """See that no worker lacks the package: Dask would have it die of the first shard, and whoever waits would wait on.

    Those that do not answer soon, and those that come later, are not looked at: their jobs go to others.

    Raises:
        ClusterError: One lacks it.
    """
    with anyio.move_on_after(_ASKED_S):
        found = await dask_client.run(version, PACKAGE, on_error="return")
        lacking = [worker for worker, told in found.items() if isinstance(told, PackageNotFoundError)]
        if lacking:
            raise ClusterError(
                f"the worker at {lacking[0]} lacks facewarp-async: install facewarp-async[dask] there, the same "
                "version as here, and start it again"
            )


async def copy_journal(dask_client: Client, journal: str | Path, target: Path) -> bool:
    """Copy a batch's journal from the scheduler's machine to a file here, once no batch works with it.

    Args:
        dask_client: Leads to the cluster.
        journal: The journal's absolute path there.
        target: The file; it is overwritten.

    Returns:
        Whether there is such a journal.

    Raises:
        JournalInUseError: A batch works with it.
        JournalError: It cannot be copied; other classes of it as for a pipeline.
        ClusterError: The cluster cannot be reached, or was lost.
        OutputError: The file cannot be written.
    """
    link = await reach(dask_client, _Listener())
    reading = asyncio.create_task(link.run())
    try:
        is_there: bool = await link.call("copy", OWN_VERSIONS, str(journal))
        if is_there:
            async with await anyio.open_file(target, "wb") as file:
                while piece := await link.call("read"):
                    await file.write(piece)
    except OSError as error:
        raise OutputError(f"{target}: cannot be written: {error.strerror}") from error
    finally:
        link.close()
        with anyio.CancelScope(shield=True):
            await reading
    return is_there


class _Listener:
    """Whom the coordinator has nothing to say to."""

    async def answer(self, op: str, _arguments: tuple[Value, ...]) -> Value:
        raise ClusterError(f"unknown call {op}")

    def note(self, op: str, _arguments: tuple[Value, ...]) -> None:
        pass
