"""The coordinator's place in a Dask scheduler, which it is put into while that runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distributed.core import Status
from distributed.diagnostics.plugin import SchedulerPlugin

from facewarp_async.distributed.coordinator import Coordinator
from facewarp_async.distributed.link import Comm
from facewarp_async.distributed.values import OP

if TYPE_CHECKING:
    from distributed.scheduler import Scheduler


class CoordinatorPlugin(SchedulerPlugin):
    """Has the scheduler answer this package's connections. It is pickled empty: no batch and no secret is in it."""

    name = OP
    idempotent = True

    async def start(self, scheduler: Scheduler) -> None:
        """Begin to answer."""
        self._scheduler = scheduler
        self._coordinator = Coordinator(self._threads)
        scheduler.handlers[OP] = self._serve

    async def _serve(self, comm: Comm) -> Any:
        await self._coordinator.serve(comm)
        return Status.dont_reply

    def _threads(self) -> int:
        return sum(worker.nthreads for worker in self._scheduler.workers.values())

    def add_worker(self, scheduler: Scheduler, worker: str) -> None:  # noqa: ARG002 - Dask's signature
        """Take note of a worker."""
        self._coordinator.tell_threads()

    def remove_worker(self, scheduler: Scheduler, worker: str, **options: Any) -> None:  # noqa: ARG002 - the same
        """Take note that Dask has given up a worker, or let it go."""
        self._coordinator.give_up(worker)
        self._coordinator.tell_threads()

    async def close(self) -> None:
        """Close all batches with the scheduler."""
        await self._coordinator.close()
