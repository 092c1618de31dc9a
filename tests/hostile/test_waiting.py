"""No single answer stops a client for longer than its own time-outs say."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import anyio
import pytest

from facewarp_async.client import FaceSwapClient
from facewarp_async.config import Timeouts
from facewarp_async.errors import RateLimitedError

pytestmark = pytest.mark.anyio


async def test_a_retry_after_of_a_day_closes_the_gate_for_no_longer_than_repetitions_may_take(
    run_crooked: Callable[..., AbstractAsyncContextManager[Any]],
    make_client_of: Callable[..., AbstractAsyncContextManager[FaceSwapClient]],
) -> None:
    async def fault(service: Any, _asked: Any, _writer: Any) -> bytes:
        return bytes(service.reply(status="429 No", headers="Retry-After: 86400\r\n"))

    async with (
        run_crooked(at="upload-url", fault=fault, times=1) as service,
        make_client_of(service, timeouts=Timeouts(repeat_s=0.1)) as client,
    ):
        with pytest.raises(RateLimitedError) as caught:
            await client.request_upload("a.png")
        assert caught.value.retry_after_s == 3600
        with anyio.fail_after(10):
            assert (await client.request_upload("a.png")).key
