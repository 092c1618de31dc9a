"""A service for tests, in a thread of its own or on the test's event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import attrs
from anyio.from_thread import start_blocking_portal

from facewarp_async.config import LOCAL_NAME, ApiKey, ClientCredentials, Provider
from facewarp_async.models import TaskKind
from facewarp_async.server import FailureStyle, FaultPlan, Ledger, LocalService, SeenTask
from facewarp_async.testing.runner import Duration, PlannedRunner

_TYPICAL_S = 0.02

T = TypeVar("T")


class FakeService:
    """Speaks the whole protocol, as `LocalService` does, but its tasks take no time and need no engine.

    A task's result is its media, unchanged. ``with FakeService() as service:`` runs it in a thread of its own, for
    tests of any kind. ``async with`` runs it on the running event loop. Either way its methods may be called from any
    thread, and it can be asked what happened after its end too. An instance can be started once.

    Args:
        faults: What goes wrong on purpose; more can be added as it runs.
        task_s: How long each task takes, in seconds, or a function that says so for its kind.
        faces: How many faces a detection finds.
        workers: How many tasks are worked on at once; as good as any number if ``None``.
        requests_per_second: The request limit; ``None`` for none.
        credits: How many tasks may be created; ``None`` for any number.
        failure_style: How a failed task is told: ``"code"``, ``"status"`` or ``"message"``.
        later_statuses: Whether waiting and processing are -1 and -2, as in the vendors' later API.
        upload_expiry_s: How long an upload's URL is valid.
        token_lifetime_s: How long an access token lives.
        max_file_bytes: How large an upload may be to be worked on.
    """

    def __init__(
        self,
        *,
        faults: FaultPlan | None = None,
        task_s: Duration = 0.0,
        faces: int = 2,
        workers: int | None = None,
        requests_per_second: float | None = None,
        credits: int | None = None,
        failure_style: FailureStyle | str = FailureStyle.CODE,
        later_statuses: bool = False,
        upload_expiry_s: int = 1800,
        token_lifetime_s: float = 5909.0,
        max_file_bytes: int = 500 * 2**20,
    ) -> None:
        self._runner = PlannedRunner(duration_s=task_s, faces=faces)
        self._service = LocalService(
            runner=self._runner,
            faults=faults,
            workers=workers,
            requests_per_second=requests_per_second,
            credits=credits,
            failure_style=failure_style,
            later_statuses=later_statuses,
            upload_expiry_s=upload_expiry_s,
            token_lifetime_s=token_lifetime_s,
            max_file_bytes=max_file_bytes,
        )
        self._thread = ExitStack()
        self._here = AsyncExitStack()
        self._loop: asyncio.AbstractEventLoop | None = None

    def __enter__(self) -> Self:
        """Start in a thread."""
        with ExitStack() as starting:
            portal = starting.enter_context(start_blocking_portal("asyncio", name="facewarp-fake-service"))
            starting.enter_context(portal.wrap_async_context_manager(self._service))
            self._loop = portal.call(asyncio.get_running_loop)
            self._thread = starting.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.close()
        self._loop = None

    async def __aenter__(self) -> Self:
        """Start on the running event loop."""
        await self._here.enter_async_context(self._service)
        self._loop = asyncio.get_running_loop()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._here.aclose()
        self._loop = None

    @property
    def base_url(self) -> str:
        """Its address."""
        return self._service.provider.base_url

    @property
    def page_url(self) -> str:
        """The link to the page on which to watch it, for whoever stops a test to look."""
        return self._service.page_url

    @property
    def provider(self) -> Provider:
        """What a client needs to know of it, which will not dawdle: tasks are looked at soon."""
        return attrs.evolve(self._service.provider, typical_image_s=_TYPICAL_S, typical_video_s=_TYPICAL_S)

    @property
    def auth(self) -> ApiKey:
        """The key that it accepts."""
        return self._service.auth

    @property
    def client_credentials(self) -> ClientCredentials:
        """The client id and secret that it gives tokens for."""
        return self._service.client_credentials

    @property
    def environ(self) -> dict[str, str]:
        """The variables that lead a program to it."""
        return {
            "FACEWARP_PROVIDER": LOCAL_NAME,
            "FACEWARP_BASE_URL": self.base_url,
            "FACEWARP_API_KEY": self.auth.key,
        }

    @property
    def faults(self) -> FaultPlan:
        """What goes wrong on purpose: ``service.faults.add(FaultRule(Fault.SERVER_ERROR, PUT, times=1))``."""
        return self._service.faults

    @property
    def ledger(self) -> Ledger:
        """What it was asked and did up to now. It does not change any more: ask again for what came after."""
        return self._service.ledger.copy()

    @property
    def tasks(self) -> list[SeenTask]:
        """The tasks that were created, as they are now, the oldest first."""
        return self._service.tasks

    @property
    def credits(self) -> int | None:
        """How many tasks may still be created; ``None`` for any number."""
        return self._service.credits

    @property
    def task_s(self) -> Duration:
        """How long each task takes that is begun from now on."""
        return self._runner.duration_s

    @task_s.setter
    def task_s(self, value: Duration) -> None:
        self._runner.duration_s = value

    def hold_tasks(self) -> None:
        """Let tasks that are begun from now on take until `release_tasks`."""
        self._runner.hold()

    def release_tasks(self) -> None:
        """Let the tasks that are held end."""
        self._runner.release(self._running_loop())

    def fail_tasks(
        self, code: int = 601, *, message: str = "", times: int | None = None, media: str | Path | None = None
    ) -> None:
        """Let tasks that have not ended yet fail at their end. They are created and paid for all the same.

        Args:
            code: Why, in the protocol's codes: 602 for no face, 604 and 605 for media and faces against the policy.
            message: The same in words; the vendors' own if empty.
            times: How many tasks; ``None`` for all.
            media: Only tasks whose media has the content of this file.
        """
        self._runner.fail(code, message=message, times=times, media=None if media is None else Path(media))

    async def settled(self) -> None:
        """Wait until no task waits or is worked on."""
        await self._elsewhere(self._service.settled)

    def wait_until_settled(self, timeout_s: float = 10.0) -> None:
        """As `settled`, for tests without an event loop.

        Raises:
            TimeoutError: Tasks are still open after so many seconds.
            RuntimeError: It was called on the event loop that the service runs on, which it would stop.
        """
        loop = self._running_loop()
        if _current_loop() is loop:
            raise RuntimeError("this would stop the event loop that the service runs on: await settled() instead")
        settling = asyncio.run_coroutine_threadsafe(self._service.settled(), loop)
        try:
            settling.result(timeout_s)
        except TimeoutError:
            settling.cancel()
            open_tasks = [task.task_id for task in self.tasks if task.ended is None]
            raise TimeoutError(f"after {timeout_s:g} s these tasks are still open: {open_tasks}") from None

    async def forget(self, key: str) -> None:
        """Drop an upload or a result, as after its time is over: its key is unknown from then on (code 702)."""
        await self._elsewhere(lambda: self._service.forget(key))

    async def add_credits(self, number: int) -> None:
        """Allow so many more tasks, where there is a bound."""
        await self._elsewhere(lambda: self._service.add_credits(number))

    def assert_created(self, number: int, *, kind: TaskKind | None = None) -> None:
        """Fail unless so many tasks were created, all in all or of a kind."""
        found = [task for task in self.tasks if kind in {None, task.kind}]
        what = "tasks" if kind is None else f"{kind.name} tasks"
        if len(found) != number:
            raise AssertionError(f"expected {number} {what}, but {len(found)} were created{_list(found)}")

    def assert_nothing_paid_twice(self) -> None:
        """Fail where a task was created that makes what an earlier one makes: of the same contents, in the same way."""
        seen: set[tuple[object, ...]] = set()
        again: list[SeenTask] = []
        for task in self.tasks:
            what = (task.kind, task.hd, task.contents)
            if what in seen:
                again.append(task)
            seen.add(what)
        if again:
            raise AssertionError(f"{len(again)} tasks were paid for again{_list(again)}")

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            raise RuntimeError("the service does not run: use it as `with FakeService() as service:`")
        return self._loop

    async def _elsewhere(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Await something on the service's loop, whichever this is."""
        loop = self._running_loop()
        there: Awaitable[T] = make()
        if _current_loop() is not loop:
            there = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(there, loop))  # type: ignore[arg-type]  # it is one
        return await there


def _current_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _list(tasks: list[SeenTask]) -> str:
    """Return tasks as lines below a sentence."""
    lines = [
        f"{task.task_id}: {task.kind.name} of {task.media!r} with {', '.join(map(repr, task.faces))}" for task in tasks
    ]
    return "".join(f"\n  {line}" for line in lines[:20]) + ("\n  …" if len(lines) > 20 else "")
