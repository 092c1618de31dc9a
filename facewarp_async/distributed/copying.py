"""A copy of a journal that lies on the scheduler's machine, for a driver to read."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import BinaryIO

import anyio.to_thread

from facewarp_async.distributed.link import Value
from facewarp_async.errors import ClusterError, JournalError
from facewarp_async.journal.opening import open_database

_PIECE_BYTES = 1024 * 1024


class CopySession:
    """A journal that is read by a driver, piece by piece; its copy goes with the connection.

    Args:
        copy: Open.
    """

    def __init__(self, copy: BinaryIO) -> None:
        self._copy = copy

    @classmethod
    async def open(cls, journal: Path) -> CopySession | None:
        """Copy a journal that is whole, and that nobody works with; ``None``: there is none.

        Raises:
            JournalInUseError: A batch works with it.
            JournalError: It cannot be copied; other classes of it as `Journal` says.
        """
        copy = await anyio.to_thread.run_sync(_copy, journal)
        return None if copy is None else cls(copy)

    async def answer(self, op: str, _arguments: tuple[Value, ...]) -> Value:
        """Answer a call."""
        if op != "read":
            raise ClusterError(f"unknown call {op}")
        return await anyio.to_thread.run_sync(self._copy.read, _PIECE_BYTES)

    def note(self, op: str, arguments: tuple[Value, ...]) -> None:
        """Take a note: the driver makes none."""

    def close(self) -> None:
        """Let go of the copy."""
        self._copy.close()


def _copy(journal: Path) -> BinaryIO | None:
    if not journal.exists():
        return None
    try:
        # Beside the journal, where there is room for one, and nobody reads it who may not read that.
        with tempfile.TemporaryDirectory(dir=journal.parent, prefix=f".{journal.name}-") as folder:
            copy = Path(folder) / "copy"
            with open_database(journal) as connection:
                connection.execute("VACUUM INTO ?", (str(copy),))
            return copy.open("rb")  # which outlives its name
    except OSError as error:
        raise JournalError(f"{journal}: cannot be copied: {error.strerror}") from error
