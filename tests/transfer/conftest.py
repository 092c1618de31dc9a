"""A client's transfers, and the loops they run on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from facewarp_async.client import FaceSwapClient
from facewarp_async.config import ApiKey, Provider, Timeouts
from facewarp_async.policy.retry import RetryPolicy
from facewarp_async.transfer import Transfers

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
