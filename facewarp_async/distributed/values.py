"""What travels between the driver, the coordinator and the workers."""

from __future__ import annotations

import platform
from importlib.metadata import version

from attrs import frozen

from facewarp_async.client import ClientSettings
from facewarp_async.config import Limits
from facewarp_async.errors import ConfigurationError
from facewarp_async.journal import InDoubtChoice
from facewarp_async.models import Job
from facewarp_async.urls import Location

OP = "facewarp-async"
"""What a connection to the coordinator begins with, among Dask's own operations; and the plugin's name."""

PACKAGE = "facewarp-async"
"""What is installed on all machines."""

Versions = tuple[str, str]


OWN_VERSIONS: Versions = (version(PACKAGE), platform.python_version())
"""The version of this package and of Python."""


def check_versions(theirs: Versions, *, who: str) -> None:
    """See that another process speaks the same language.

    Raises:
        ConfigurationError: It has another version of the package, or another minor version of Python.
    """
    for name, own, other in (
        (PACKAGE, OWN_VERSIONS[0], theirs[0]),
        ("Python", _minor(OWN_VERSIONS[1]), _minor(theirs[1])),
    ):
        if own != other:
            raise ConfigurationError(
                f"{who} has {name} {other}, the scheduler has {own}: install the same on the scheduler, on all workers "
                "and where the batch is started, and start them again"
            )


def _minor(python: str) -> str:
    return python.rpartition(".")[0]


@frozen(kw_only=True)
class RunSettings:
    """What a batch is run with, on whatever machine. It holds the credentials, and travels over links only.

    Attributes:
        client: What each worker's client is made of.
        limits: Uploads and downloads of each worker, tasks in flight of all together.
        output_dir: Where results go, as all workers see it.
        journal: The journal's file on the scheduler's machine.
        in_doubt: What to do about creates that were lost sight of.
        retry_failed: Whether jobs that had failed for good are tried again.
        tells_stages: Whether the driver wants to know of stages that begin.
    """

    client: ClientSettings
    limits: Limits
    output_dir: Location | None
    journal: str
    in_doubt: InDoubtChoice
    retry_failed: bool
    tells_stages: bool

    @property
    def realm(self) -> str:
        """Whose task ids and keys the journal's are."""
        provider = self.client.provider
        return provider.realm or provider.base_url


@frozen
class NumberedJob:
    """A job with its place in the batch, from 0, and the name that is its own below the output folder."""

    index: int
    name: str
    job: Job
