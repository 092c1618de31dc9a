"""What all tests share: the event loop's backend, and a guard against blocking it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from blockbuster import BlockBuster, blockbuster_ctx


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def blockbuster() -> Iterator[BlockBuster]:
    """Fail a test in which the package blocks the event loop."""
    with blockbuster_ctx("facewarp_async") as guard:
        yield guard
