"""Giving finished downloads their names."""

from __future__ import annotations

import asyncio
import os
from functools import partial
from pathlib import Path

import anyio
from attrs import define

from facewarp_async.transfer.threads import FileThreads, finish


@define
class _Finished:
    part: Path
    target: Path
    done: asyncio.Future[None]
    error: OSError | None = None


class Publisher:
    """Renames parts to their targets, durably. All that wait for one folder share its visit to the disk.

    Args:
        threads: Do it.
    """

    def __init__(self, threads: FileThreads) -> None:
        self._threads = threads
        self._waiting: dict[Path, list[_Finished]] = {}
        """By folder that is being visited: what has come since, and has to wait for the next visit."""

    async def publish(self, part: Path, target: Path) -> None:
        """Rename a file whose bytes are on the disk. It is not cancelled half-way.

        Raises:
            OSError: It cannot be renamed, or the folder not be written to.
        """
        finished = _Finished(part, target, asyncio.get_running_loop().create_future())
        waiting = self._waiting.get(target.parent)
        if waiting is None:
            self._waiting[target.parent] = []
            self._visit(target.parent, [finished])
        else:
            waiting.append(finished)
        with anyio.CancelScope(shield=True):
            await finish(finished.done)

    def _visit(self, folder: Path, group: list[_Finished]) -> None:
        self._threads.start(lambda: _rename(folder, group)).add_done_callback(partial(self._visited, folder, group))

    def _visited(self, folder: Path, group: list[_Finished], visit: asyncio.Future[None]) -> None:
        failure = visit.exception()
        for finished in group:
            error = finished.error or failure
            if error is None:
                finished.done.set_result(None)
            else:
                finished.done.set_exception(error)
        if waiting := self._waiting.pop(folder):
            self._waiting[folder] = []
            self._visit(folder, waiting)


def _rename(folder: Path, group: list[_Finished]) -> None:
    for finished in group:
        try:
            finished.part.replace(finished.target)
        except OSError as error:
            finished.error = error
    if os.name == "posix":  # elsewhere a folder cannot be opened
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
