"""The local service from start to stop."""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import anyio
import anyio.to_thread
from aiohttp import web
from anyio.abc import TaskGroup

from facewarp_async.config import ApiKey, ClientCredentials, Provider, local_provider
from facewarp_async.errors import ConfigurationError
from facewarp_async.server.api import Api
from facewarp_async.server.authorisation import Authoriser, Caller
from facewarp_async.server.connections import meet_expectation
from facewarp_async.server.credits import Credits
from facewarp_async.server.details import FailureStyle
from facewarp_async.server.faults import FaultPlan
from facewarp_async.server.gate import MAX_JSON_BYTES, Gate
from facewarp_async.server.http_log import http_log
from facewarp_async.server.ledger import Ledger
from facewarp_async.server.limits import SlidingWindow
from facewarp_async.server.objects import ObjectStore
from facewarp_async.server.overview import SeenTask, see_task
from facewarp_async.server.page import Door, Page, SeenRequests
from facewarp_async.server.page.page import load_files
from facewarp_async.server.retention import Retention
from facewarp_async.server.runners import EngineRunner, Runner
from facewarp_async.server.sigv4 import MAX_EXPIRY_S, SigningKey
from facewarp_async.server.state import State
from facewarp_async.server.storage import Storage
from facewarp_async.server.tasks import TaskLimits, TaskQueue
from facewarp_async.wire.media_types import MAX_FILE_BYTES

_SHUTDOWN_S = 0.3


def _utc_now() -> datetime:
    return datetime.now(UTC)


class LocalService:
    """A service on this machine that speaks the protocol and really swaps faces.

    ``async with LocalService() as service:`` starts it and stops it again; what its tasks were doing is then killed.
    An instance can be started once.

    Args:
        data_dir: Where objects and tasks are kept; they survive a restart, and open tasks are worked on again.
            ``None``: a temporary folder that is removed at the end.
        port: The TCP port; 0 for a free one.
        host: What to bind to, loopback unless told otherwise.
        api_key: The key that is accepted; made up if ``None`` and kept in the data directory.
        client_id: The client that may ask for tokens; likewise.
        client_secret: Its secret; likewise.
        requests_per_second: The request limit of each credential, over any second; ``None`` for none.
        credits: How many tasks may be created, unless the data directory knows how many are left; ``None`` for any.
        workers: How many tasks are worked on at once; what the runner says if ``None``.
        runner: Who does the work of tasks; the engine in worker processes if ``None``.
        faults: What goes wrong on purpose.
        token_lifetime_s: How long an access token lives.
        upload_expiry_s: How long an upload's URL is valid.
        max_file_bytes: How large an upload may be to be worked on (code 704).
        failure_style: How a failed task is told: ``"code"``, ``"status"`` or ``"message"``.
        later_statuses: Whether waiting and processing are -1 and -2, as in the vendors' later API.
        image_timeout_s: After how long the work on an image is given up.
        video_timeout_s: The same for a video.
        stall_s: For how long the body of a request may stand still.
        keep_free_bytes: How much of the data directory's disk uploads leave free; one that would not is refused.
        clock: The time, with its zone, for expiries and names.
    """

    def __init__(
        self,
        *,
        data_dir: str | Path | None = None,
        port: int = 0,
        host: str = "127.0.0.1",
        api_key: str | None = None,
        client_id: str | None = None,
        client_secret: str | None = None,
        requests_per_second: float | None = None,
        credits: int | None = None,
        workers: int | None = None,
        runner: Runner | None = None,
        faults: FaultPlan | None = None,
        token_lifetime_s: float = 5909.0,
        upload_expiry_s: int = 1800,
        max_file_bytes: int = MAX_FILE_BYTES,
        failure_style: FailureStyle | str = FailureStyle.CODE,
        later_statuses: bool = False,
        image_timeout_s: float = 300.0,
        video_timeout_s: float = 3600.0,
        stall_s: float = 20.0,
        keep_free_bytes: int = 256 * 1024**2,
        clock: Callable[[], datetime] = _utc_now,
    ) -> None:
        if not 0 < upload_expiry_s <= MAX_EXPIRY_S:
            raise ConfigurationError(f"upload_expiry_s must be between 1 and {MAX_EXPIRY_S} seconds")
        if workers is not None and workers < 1:
            raise ConfigurationError("workers must be at least 1")
        self.ledger: Ledger = Ledger()
        self.faults: FaultPlan = faults or FaultPlan()
        self._runner = runner or EngineRunner()
        self._data_dir = None if data_dir is None else Path(data_dir)
        self._host, self._port = host, port
        self._given = {"api_key": api_key, "client_id": client_id, "client_secret": client_secret}
        self._requests_per_second = requests_per_second
        self._credits = Credits(credits)
        self._limits = TaskLimits(
            parallel=workers or self._runner.parallel, image_s=image_timeout_s, video_s=video_timeout_s
        )
        self._token_lifetime_s, self._upload_expiry_s = token_lifetime_s, upload_expiry_s
        self._max_file_bytes, self._stall_s = max_file_bytes, stall_s
        self._keep_free_bytes = keep_free_bytes
        self._failure_style, self._later_statuses = FailureStyle(failure_style), later_statuses
        self._clock = clock
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Start.

        Raises:
            ConfigurationError: The data directory is used by another service, or the port cannot be had.
            MissingExtraError: The engine is to do the work, and the extra ``local`` is not installed.
        """
        try:
            await self._start()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop: refuse new connections, cut those that linger, kill the workers."""
        await self._stop()

    async def _stop(self) -> None:
        # Each part shields its own end: a scope round them all would have to be left before the task group inside.
        await self._stack.aclose()

    async def _start(self) -> None:
        enter = self._stack.enter_async_context
        folder = await enter(_folder(self._data_dir))
        self._state = await State.open(folder)
        self._stack.push_async_callback(self._state.close)
        settings = await self._settings()
        await self._restore_credits()
        store = await self._open_store(folder)
        retention = Retention(state=self._state, store=store, clock=self._clock)
        await retention.begin()
        await enter(self._runner.open())
        self._tasks = TaskQueue(
            state=self._state,
            store=store,
            runner=self._runner,
            limits=self._limits,
            clock=self._clock,
            account=settings["account"],
        )
        self._gate = self._build_gate(settings, store)
        group = await enter(_background())
        group.start_soon(self._tasks.run)
        group.start_soon(retention.run)
        await enter(self._listen())

    async def _settings(self) -> dict[str, str]:
        settings = {}
        for name in (*self._given, "access_key", "signing_secret", "token_secret"):
            settings[name] = self._given.get(name) or await self._state.setting(name)
        settings["page_token"] = await self._state.setting("page_token", partial(secrets.token_hex, 16))
        self._realm = await self._state.setting("realm")
        settings["account"] = await self._state.setting("account", lambda: "3620")
        settings["version"] = await anyio.to_thread.run_sync(version, "facewarp-async")
        await anyio.to_thread.run_sync(load_files)
        self.auth: ApiKey = ApiKey(settings["api_key"])
        self.client_credentials: ClientCredentials = ClientCredentials(settings["client_id"], settings["client_secret"])
        return settings

    async def _restore_credits(self) -> None:
        if self._credits.left is not None:
            self._credits.left = int(await self._state.setting("credits", lambda: str(self._credits.left)))

    async def _open_store(self, folder: Path) -> ObjectStore:
        known = {stored.blob.name for stored in self._state.objects.values() if stored.blob is not None}
        return await ObjectStore.open(folder, known=known, keep_free_bytes=self._keep_free_bytes)

    def _build_gate(self, settings: dict[str, str], store: ObjectStore) -> Gate:
        storage = Storage(
            state=self._state,
            store=store,
            key=SigningKey(access_key=settings["access_key"][:32], secret=settings["signing_secret"]),
            clock=self._clock,
            ledger=self.ledger,
            stall_s=self._stall_s,
        )
        api = Api(
            state=self._state,
            storage=storage,
            tasks=self._tasks,
            credits=self._credits,
            ledger=self.ledger,
            clock=self._clock,
            account=settings["account"],
            upload_expiry_s=self._upload_expiry_s,
            max_file_bytes=self._max_file_bytes,
            failure_style=self._failure_style,
            later_statuses=self._later_statuses,
        )
        authoriser = Authoriser(self.auth, self.client_credentials, settings["token_secret"], self._token_lifetime_s)
        about = {"name": "facewarp-async local service", "version": settings["version"]}
        self._door = Door(settings["page_token"], self._host)
        hidden = (settings["api_key"], settings["client_secret"], settings["page_token"])
        page = Page(
            door=self._door,
            state=self._state,
            storage=storage,
            seen=SeenRequests(secrets=hidden),
            credits=self._credits,
            requests_per_second=self._requests_per_second,
            clock=self._clock,
            about=about,
        )
        return Gate(
            api=api,
            storage=storage,
            page=page,
            authoriser=authoriser,
            windows={caller: SlidingWindow(self._requests_per_second) for caller in Caller},
            faults=self.faults,
            ledger=self.ledger,
            clock=self._clock,
            about=about,
            stall_s=self._stall_s,
            secrets=hidden,
        )

    @asynccontextmanager
    async def _listen(self) -> AsyncIterator[None]:
        # Bodies are stored as they come: nothing is unpacked on the way. And nothing is routed: the gate sees it all.
        server = web.Server(
            self._answer, request_factory=_make_request, access_log=None, logger=http_log, auto_decompress=False
        )
        runner = web.ServerRunner(server, shutdown_timeout=_SHUTDOWN_S)
        try:
            await runner.setup()
            try:
                await web.TCPSite(runner, self._host, self._port, reuse_address=True).start()
            except OSError as error:
                reason = os.strerror(error.errno) if error.errno and error.errno in errno.errorcode else error
                hint = ": choose another port, or 0 for a free one" if error.errno == errno.EADDRINUSE else ""
                raise ConfigurationError(f"cannot listen on {self._host} port {self._port}: {reason}{hint}") from error
            self.provider: Provider = self._make_provider(runner.addresses[0][1])
            yield
        finally:
            with anyio.CancelScope(shield=True):
                await runner.cleanup()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if "Expect" in request.headers:
            await meet_expectation(request)
        return await self._gate.handle(request)

    def _make_provider(self, port: int) -> Provider:
        # What is bound to all addresses is reached over loopback too.
        host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(self._host, self._host)  # noqa: S104 - no bind
        base_url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        return local_provider(base_url, requests_per_second=self._requests_per_second, realm=self._realm)

    @property
    def page_url(self) -> str:
        """The link to the page on which to watch its tasks and requests. It holds a token: whoever has it gets in."""
        return f"{self.provider.base_url}/?token={self._door.token}"

    @property
    def tasks(self) -> list[SeenTask]:
        """The tasks that it knows, as they are now, the oldest first. May be asked from another thread."""
        objects = self._state.objects
        return [see_task(task, objects) for task in list(self._state.tasks.values())]

    @property
    def credits(self) -> int | None:
        """How many tasks may still be created; ``None`` for any number."""
        return self._credits.left

    async def add_credits(self, number: int) -> None:
        """Allow so many more tasks, where there is a bound; kept in the data directory."""
        if self._credits.left is not None:
            self._credits.left += number
            await self._state.set("credits", str(self._credits.left))

    async def settled(self) -> None:
        """Wait until no task waits or is worked on."""
        await self._tasks.settled()

    async def forget(self, key: str) -> None:
        """Drop an upload or a result, as after its time is over: its key is unknown from then on (code 702)."""
        await self._gate.storage.forget(key)


def _make_request(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
    loop = asyncio.get_running_loop()
    return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=MAX_JSON_BYTES)


@asynccontextmanager
async def _background() -> AsyncIterator[TaskGroup]:
    async with anyio.create_task_group() as group:
        try:
            yield group
        finally:
            group.cancel_scope.cancel()


@asynccontextmanager
async def _folder(given: Path | None) -> AsyncIterator[Path]:
    if given is not None:
        # It holds the secrets that URLs and tokens are signed with.
        await anyio.to_thread.run_sync(partial(given.mkdir, mode=0o700, parents=True, exist_ok=True))
        yield given
        return
    made = Path(await anyio.to_thread.run_sync(partial(tempfile.mkdtemp, prefix="facewarp-")))
    try:
        yield made
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(partial(shutil.rmtree, made, ignore_errors=True))
