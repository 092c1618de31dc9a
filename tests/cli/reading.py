"""What a program writes to stderr, read while it runs."""

from __future__ import annotations

import anyio
from anyio.abc import Process

from facewarp_async.models import TaskKind
from facewarp_async.wire.requests import CREATE_PATHS
from tests.patience import seconds

CREATED = f"{CREATE_PATHS[TaskKind.IMAGE_SWAP]} -> HTTP 200".encode()


async def read_until(process: Process, text: bytes) -> None:
    assert process.stderr is not None
    with anyio.fail_after(seconds(20)):
        async for chunk in process.stderr:
            if text in chunk:
                break
