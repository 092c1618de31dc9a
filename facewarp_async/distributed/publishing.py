"""Results in a folder that several machines write to: each attempt under a name of its own until it may publish."""

from __future__ import annotations

import os
from pathlib import Path

from facewarp_async.errors import OutputError

_LEFTOVERS = 3
"""Of how many attempts at a job leftovers are looked for: a killed worker tidies nothing up."""


def own_name(target: Path, ordinal: int) -> Path:
    """Return the file that the so-manieth attempt at a job writes to."""
    return target.with_name(f".{target.name}.{ordinal}")


def publish(own: Path, target: Path, ordinal: int) -> None:
    """Give a result its name, durably, and take away what earlier attempts have left.

    Raises:
        OutputError: The folder cannot be written.
    """
    try:
        own.replace(target)
        descriptor = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        for other in range(1, max(ordinal, _LEFTOVERS) + 1):
            left = own_name(target, other)
            left.unlink(missing_ok=True)
            left.with_name(f"{left.name}.part").unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{target}: cannot be written: {error.strerror}") from error
