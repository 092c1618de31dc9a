"""A batch on the workers of a Dask cluster, for ``facewarp batch --dask``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from facewarp_async.cli.exits import UsageError
from facewarp_async.cli.provider import Embedded, Remote
from facewarp_async.cli.report import passing_journal
from facewarp_async.cli.resuming import journal_path
from facewarp_async.errors import ClusterError, JournalError, MissingExtraError

if TYPE_CHECKING:
    from distributed import Client

_CLOSING_S = 2.0


def check_cluster(service: Remote | Embedded, *, state: Path | None) -> None:
    """See that a batch may run on a cluster as it was asked for.

    Raises:
        UsageError: The service is one inside this command, which other machines do not reach; or it is not to be
            remembered, which is what keeps several machines from paying twice.
    """
    if isinstance(service, Embedded):
        raise UsageError(
            "--dask: other machines do not reach a service inside this command: set credentials, or name one that "
            "facewarp serve has started with --base-url"
        )
    if state is None:
        raise UsageError("--dask: without a journal several machines would pay twice: leave --no-journal out")


@asynccontextmanager
async def open_cluster(address: str) -> AsyncIterator[Client]:
    """Connect to a scheduler, by the certificates that Dask's settings name.

    Raises:
        MissingExtraError: Dask distributed is not installed.
        UsageError: Dask's settings do not suit the address.
        ClusterError: There is no scheduler at the address.
    """
    try:
        from distributed import Client  # noqa: PLC0415 - it is slow to import, and an extra
    except ModuleNotFoundError as error:
        raise MissingExtraError("--dask takes Dask distributed: pip install 'facewarp-async[cli,dask]'") from error
    await anyio.to_thread.run_sync(_check_security, address)
    try:
        client = await Client(address, asynchronous=True, timeout=10)  # type: ignore[no-untyped-call]  # Dask's
    except (OSError, ValueError, TimeoutError) as error:
        raise ClusterError(f"--dask {address}: no scheduler answers there: {error}") from error
    try:
        yield client
    finally:
        with anyio.move_on_after(_CLOSING_S, shield=True):  # else Dask complains of it when interrupted
            await client.close()


@asynccontextmanager
async def copied_state(address: str, state: Path) -> AsyncIterator[Path]:
    """Give a folder with a copy of what the scheduler's machine remembers in a folder, if it does.

    Raises:
        UsageError: The journal cannot be used.
        ClusterError: There is no scheduler at the address.
    """
    async with passing_journal() as copy, open_cluster(address) as cluster:
        from facewarp_async.distributed import copy_journal  # noqa: PLC0415 - an extra

        try:
            await copy_journal(cluster, journal_path(state).absolute(), copy)
        except JournalError as error:
            raise UsageError(str(error)) from error
        yield copy.parent


def _check_security(address: str) -> None:
    """See that Dask's settings have what a scheduler at this address asks for: its client would only crash."""
    from distributed import Security  # noqa: PLC0415 - as above

    settings = "Dask's settings distributed.comm.tls.ca-file, .client.cert and .client.key"
    try:
        security = Security()  # type: ignore[no-untyped-call]  # Dask's
        context = security.get_connection_args("client")["ssl_context"]  # type: ignore[no-untyped-call]  # the same
    except (OSError, ValueError) as error:
        raise UsageError(f"--dask {address}: {settings} cannot be used: {error}") from error
    if context is None and address.startswith("tls://"):
        raise UsageError(
            f"--dask {address}: takes certificates: name their files by {settings}, or in the environment by "
            "DASK_DISTRIBUTED__COMM__TLS__CA_FILE, …__CLIENT__CERT and …__CLIENT__KEY"
        )
    if security.require_encryption and not address.startswith("tls://"):
        raise UsageError(f"--dask {address}: Dask's settings ask for encryption: expected an address with tls://")
