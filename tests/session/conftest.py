"""A port where nobody listens."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest


@pytest.fixture
def unused_port() -> Iterator[int]:
    """A port that is taken and refuses connections."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture
def full_backlog() -> Iterator[str]:
    """The base URL of a server that is too busy to take a connection: packets to it go unanswered."""
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen(0)
        waiting = []
        for _ in range(4):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(busy.getsockname())
            waiting.append(one)
        yield f"http://127.0.0.1:{busy.getsockname()[1]}"
        for one in waiting:
            one.close()
