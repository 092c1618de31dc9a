"""A client's transfers, and the loops they run on."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from facewarp_async.client import FaceSwapClient
from facewarp_async.config import ApiKey, Provider, Timeouts
from facewarp_async.policy.retry import RetryPolicy
from facewarp_async.transfer import Transfers
from tests.heads import PNG
from tests.transfer.storages import MB

MakeClient = Callable[..., FaceSwapClient]

QUICK = RetryPolicy(first_s=0.005, longest_s=0.02)
LIMITS = Timeouts(connect_s=5, stall_s=5)


@pytest.fixture
async def connect(make_client: MakeClient) -> AsyncIterator[Callable[..., Transfers]]:
    """Make the transfers of a client, with the session that it would open for them."""
    clients: list[FaceSwapClient] = []

    def make(*, timeouts: Timeouts = LIMITS, retry: RetryPolicy = QUICK, http: Any = None) -> Transfers:
        provider = Provider("peer", "http://127.0.0.1:1")
        clients.append(make_client(provider, ApiKey("the-api-key"), http=http, timeouts=timeouts, retry=retry))
        return clients[-1]._connection.transfers

    yield make
    for client in clients:
        await client.aclose()


def _uvloop() -> asyncio.AbstractEventLoop:
    module: Any = pytest.importorskip("uvloop")
    loop: asyncio.AbstractEventLoop = module.new_event_loop()
    return loop


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Iterator[Callable[[Any], Any]]:
    """Run a coroutine on each of the loops that users have."""
    with asyncio.Runner(loop_factory=_uvloop if request.param == "uvloop" else None) as runner:
        yield runner.run


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A file in which no two stretches are alike."""
    path = tmp_path / "large.png"
    path.write_bytes(PNG + os.urandom(12 * MB + 17))
    return path
