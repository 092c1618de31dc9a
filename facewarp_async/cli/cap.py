"""A client that creates no more tasks than the user allows."""

from __future__ import annotations

from typing import Any

import anyio

from facewarp_async.cli.exits import SpendingLimitError
from facewarp_async.client import FaceSwapClient
from facewarp_async.session import Sending
from facewarp_async.wire.requests import ApiRequest


class CappedClient(FaceSwapClient):
    """As `FaceSwapClient`, with a limit of the tasks that may be created. One that is in doubt counts as created.

    Args:
        most_tasks: The limit; ``None`` for none.
        arguments: As for `FaceSwapClient`.
        options: As for `FaceSwapClient`.
    """

    def __init__(self, *arguments: Any, most_tasks: int | None = None, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._most = most_tasks
        self._left = most_tasks
        self._undecided = 0
        self._decided = anyio.Event()

    async def _create_task(self, request: ApiRequest, *, sending: Sending | None = None) -> int:
        """Create a task.

        Raises:
            SpendingLimitError: As many were created as are allowed.
        """
        if self._left is None:
            return await super()._create_task(request, sending=sending)
        while self._left == 0:
            # The error stops the batch, and what is not on its way then: it has to wait for those that may be created.
            if not self._undecided:
                raise SpendingLimitError(f"--max-credits {self._most} allows no more tasks in this run")
            await self._decided.wait()
        self._left -= 1
        self._undecided += 1
        watch = _Watch(sending)
        try:
            return await super()._create_task(request, sending=watch)
        except BaseException:
            self._left += not watch.may_be_created
            raise
        finally:
            self._undecided -= 1
            self._decided.set()
            self._decided = anyio.Event()


class _Watch:
    """Notes whether a create may have had an effect, and passes on what it is told."""

    def __init__(self, sending: Sending | None) -> None:
        self._sending = sending
        self.may_be_created = False

    async def leaves(self) -> None:
        if self._sending is not None:
            await self._sending.leaves()
        self.may_be_created = True

    async def refused(self) -> None:
        self.may_be_created = False
        if self._sending is not None:
            await self._sending.refused()
