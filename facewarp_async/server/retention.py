"""Deleting what is past its time, and what lost its body."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import anyio
from attrs import frozen

from facewarp_async.server.objects import ObjectStore
from facewarp_async.server.state import State

KEEP_S = 7 * 24 * 3600
"""How long uploads, results and tasks are kept, as the vendors keep results."""

_PAUSE_S = 3600.0


@frozen(kw_only=True)
class Retention:
    """Keeps a service's disk from filling up for ever."""

    state: State
    store: ObjectStore
    clock: Callable[[], datetime]

    async def begin(self) -> None:
        """Forget keys whose bodies are gone, as after a power cut, and what is past its time."""
        blobs = {stored.key: stored.blob.name for stored in self.state.objects.values() if stored.blob is not None}
        present = await self.store.present(list(blobs.values()))
        await self.state.forget(keys=[key for key, name in blobs.items() if name not in present])
        await self.sweep()

    async def run(self) -> None:
        """Sweep each hour, until cancelled."""
        while True:
            await anyio.sleep(_PAUSE_S)
            await self.sweep()

    async def sweep(self) -> None:
        """Delete objects and tasks that are past their time. Tasks that have not ended stay."""
        limit = self.clock().timestamp() - KEEP_S
        old = [stored for stored in self.state.objects.values() if stored.created < limit]
        ended = [task.id for task in self.state.tasks.values() if task.created < limit and not task.is_open]
        if old or ended:
            await self.state.forget(keys=[stored.key for stored in old], task_ids=ended)
            await self.store.remove([stored.blob.name for stored in old if stored.blob is not None])
