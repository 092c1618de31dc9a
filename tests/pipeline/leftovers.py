"""What a batch may leave behind: nothing."""

from __future__ import annotations

import asyncio
import gc
import os
from typing import TYPE_CHECKING

import anyio

from tests.patience import seconds

if TYPE_CHECKING:
    from tests.pipeline.conftest import Bench


def tasks_in(*parts: str) -> list[str]:
    """Name the tasks in the loop whose code is in one of these places, the service's aside."""
    left = []
    for task in asyncio.all_tasks():
        code = getattr(task.get_coro(), "cr_code", None)
        path = "" if code is None else str(code.co_filename).replace(os.sep, "/")
        if any(part in path for part in parts) and "/server/" not in path:
            left.append(repr(task))
    return left


async def check_left(bench: Bench) -> None:
    """Nothing of the batch is left, and the client works."""
    assert tasks_in("/facewarp_async/") == []
    with anyio.fail_after(seconds(0.5)):
        while tasks_in("/aiohttp/client"):  # noqa: ASYNC110 - aiohttp cancels its writers and does not wait for them
            await anyio.sleep(0.001)
    gc.collect()
    files = [name for _, _, names in os.walk(bench.out) for name in names]
    assert [name for name in files if name.endswith(".part")] == []
    await bench.check_works()
