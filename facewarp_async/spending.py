"""A client that creates no more tasks than the user allows."""

from __future__ import annotations

from typing import Any, Protocol

import anyio
from attrs import evolve

from facewarp_async.client import ClientSettings, FaceSwapClient
from facewarp_async.errors import CreditsExhaustedError
from facewarp_async.session import Sending
from facewarp_async.wire.requests import ApiRequest


class SpendingLimitError(CreditsExhaustedError):
    """As many tasks were created as the user allows. As without credits, what was paid for is still fetched."""

    advice = ""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.code: int | None = None  # the service did not say it


class Spending(Protocol):
    """Counts the tasks that are created: a `SpendingLimit`, or one that lives in another process."""

    async def begin(self) -> None:
        """Have leave to create one task more. Cancelling gives it up.

        Raises:
            SpendingLimitError: As many were created as are allowed.
        """
        ...

    def end(self, *, may_be_created: bool) -> None:
        """Say whether the task may have been created; else another may be in its place."""
        ...


class SpendingLimit:
    """A limit of the tasks that may be created. One that is in doubt counts as created.

    Args:
        most: The limit.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._left = most
        self._undecided = 0
        self._decided = anyio.Event()

    async def begin(self) -> None:
        """Have leave to create one task more, once it is clear whether it is left.

        Raises:
            SpendingLimitError: As many were created as are allowed.
        """
        while self._left == 0:
            # The error stops the batch, and what is not on its way then: it has to wait for those that may be created.
            if not self._undecided:
                raise SpendingLimitError(f"--max-credits {self._most} allows no more tasks in this run")
            await self._decided.wait()
        self._left -= 1
        self._undecided += 1

    def end(self, *, may_be_created: bool) -> None:
        """Say whether the task may have been created; else another may be in its place."""
        self._left += not may_be_created
        self._undecided -= 1
        self._decided.set()
        self._decided = anyio.Event()


class CappedClient(FaceSwapClient):
    """As `FaceSwapClient`, with a limit of the tasks that may be created.

    Args:
        most_tasks: The limit; ``None`` for none.
        spending: Counts them; a `SpendingLimit` of the client's own if ``None``.
        arguments: As for `FaceSwapClient`.
        options: As for `FaceSwapClient`.
    """

    def __init__(
        self, *arguments: Any, most_tasks: int | None = None, spending: Spending | None = None, **options: Any
    ) -> None:
        super().__init__(*arguments, **options)
        self.settings: ClientSettings = evolve(self.settings, most_tasks=most_tasks)
        self._spending = None if most_tasks is None else spending or SpendingLimit(most_tasks)

    async def _create_task(self, request: ApiRequest, *, sending: Sending | None = None) -> int:
        """Create a task.

        Raises:
            SpendingLimitError: As many were created as are allowed.
        """
        if self._spending is None:
            return await super()._create_task(request, sending=sending)
        await self._spending.begin()
        watch = _Watch(sending)
        try:
            task_id = await super()._create_task(request, sending=watch)
        except BaseException:
            self._spending.end(may_be_created=watch.may_be_created)
            raise
        self._spending.end(may_be_created=True)
        return task_id


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
