"""The two HTTP sessions of a client: one for the API, one bare for the storage, opened on first use and closed once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import aiohttp
import anyio

from facewarp_async.config import Credentials, Provider, Timeouts
from facewarp_async.errors import ConfigurationError
from facewarp_async.models import TaskKind
from facewarp_async.policy.polling import PollPolicy, TimeLeft
from facewarp_async.policy.retry import RetryPolicy
from facewarp_async.session import ApiSession, Pace
from facewarp_async.session.learnt import LearntFile
from facewarp_async.transfer import READ_BUFFER_BYTES, Transfers


class Connection:
    """Opens what a client needs when it is first needed, because aiohttp's sessions belong to one event loop.

    Args:
        provider: Where API calls go.
        credentials: Who asks.
        http: A session of the caller's for the API calls, which stays the caller's to close; its connector serves the
            storage too, but none of its headers or cookies do.
        timeouts: How long to wait.
        retry: How often to repeat.
        polling: When tasks are looked at.
        learnt: Where what the policy learns is kept; ``None``: nowhere.
        pacer: What API calls wait at; one of its own if ``None``.
    """

    def __init__(
        self,
        provider: Provider,
        credentials: Credentials,
        *,
        http: aiohttp.ClientSession | None,
        timeouts: Timeouts,
        retry: RetryPolicy,
        polling: PollPolicy,
        learnt: LearntFile | None = None,
        pacer: Pace | None = None,
    ) -> None:
        self._provider = provider
        self._credentials = credentials
        self._given_http = http
        self._timeouts = timeouts
        self._retry = retry
        self._polling = polling
        self._learnt = learnt
        self._pacer = pacer
        self._own: list[aiohttp.ClientSession] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._api: ApiSession | None = None
        self._transfers: Transfers | None = None
        self._closed = False

    @property
    def api(self) -> ApiSession:
        """The session of the API calls.

        Raises:
            ConfigurationError: The client is closed, or belongs to another event loop.
        """
        self._open()
        assert self._api is not None
        return self._api

    @property
    def transfers(self) -> Transfers:
        """The transfers of files.

        Raises:
            ConfigurationError: As `api`.
        """
        self._open()
        assert self._transfers is not None
        return self._transfers

    @property
    def calls_made(self) -> dict[str, int]:
        """How many API calls have left, by their paths; also on a client that is closed, or was never used."""
        return {} if self._api is None else dict(self._api.calls_made)

    def _open(self) -> None:
        if self._closed:
            raise ConfigurationError("the client is closed: make a new one")
        loop = asyncio.get_running_loop()
        if self._loop is not None:
            if self._loop is not loop:
                raise ConfigurationError(
                    "a client belongs to the event loop that it was first used on: make one for each"
                )
            return
        http = self._given_http
        if http is not None and http.closed:
            raise ConfigurationError("the session that was given to the client is closed")
        if http is None:
            # The callers' limits are enough: waiting for a connection here would count as waiting for an answer.
            http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar())
            self._own.append(http)
            connector: aiohttp.BaseConnector | None = aiohttp.TCPConnector(limit=0)
        else:
            connector = http.connector
        storage = aiohttp.ClientSession(
            connector=connector,
            connector_owner=self._given_http is None,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            read_bufsize=READ_BUFFER_BYTES,
        )
        self._own.append(storage)
        self._api = ApiSession(
            http,
            self._provider,
            self._credentials,
            timeouts=self._timeouts,
            retry=self._retry,
            polling=self._polling,
            pacer=self._pacer,
        )
        self._transfers = Transfers(
            storage, timeouts=self._timeouts, retry=self._retry, allow_plain=self._provider.plain_storage
        )
        self._loop = loop

    async def recall(self) -> None:
        """Have the policy know what earlier runs have learnt. Only the first call does anything."""
        if self._learnt is not None:
            await self._learnt.recall()

    def work_left(self, upcoming: Mapping[TaskKind, int], over_s: float) -> TimeLeft | None:
        """Return in how many seconds the last task will probably be done; ``None`` where that is not known here."""
        if self._pacer is not None:
            return None
        return self._polling.work_left(asyncio.get_running_loop().time(), upcoming, over_s)

    async def close(self) -> None:
        """Close what was opened here, and keep what was learnt. May be called twice, and on a client never used."""
        self._closed = True
        with anyio.CancelScope(shield=True):  # a cancelled user leaves no session open either
            while self._own:
                await self._own.pop().close()
            if self._learnt is not None:
                await self._learnt.keep()
        if self._transfers is not None:
            self._transfers.close()
