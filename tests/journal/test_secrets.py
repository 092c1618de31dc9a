"""Nothing that a failing batch writes down or says holds a key, a token, or what signs a URL."""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import anyio
import anyio.to_thread
import pytest

from facewarp_async.config import Limits, Timeouts
from facewarp_async.models import DetectFaces, MultiFaceSwap
from facewarp_async.server import API, CREATES, EVERYWHERE, GET, PUT, Fault, FaultRule
from facewarp_async.session.exchange import exchange

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

World = Any  # tests/journal/conftest.py
StartWorld = Callable[..., AbstractAsyncContextManager[World]]

SIGNATURE = re.compile(rb"X-Amz-Signature=([0-9a-f]{64})")
ENDINGS = {
    "put refused": FaultRule(Fault.EXPIRED_URL, PUT),
    "get refused": FaultRule(Fault.EXPIRED_URL, GET),
    "cut": FaultRule((Fault.CUT_PUT, Fault.CUT_GET), {PUT, GET}),
    "lost": FaultRule(Fault.RESET_AFTER, CREATES),
    "gateway": FaultRule(Fault.BAD_GATEWAY, API),
    "half": FaultRule(Fault.HALF_DOCUMENT, EVERYWHERE),
    "redirect": FaultRule(Fault.REDIRECT, EVERYWHERE, location="http://127.0.0.1:9/?X-Amz-Signature=" + "ab" * 32),
    "401": FaultRule(Fault.EXPIRED_TOKEN, CREATES),
    "none": FaultRule(Fault.SLOW, PUT, delay_s=0),
}


@pytest.mark.parametrize("rule", ENDINGS.values(), ids=ENDINGS)
async def test_nothing_written_or_said_holds_a_secret(
    start_world: StartWorld,
    make_client: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    rule: FaultRule,
) -> None:
    caplog.set_level(logging.DEBUG)
    signatures: set[bytes] = set()

    async def listen(*arguments: Any, **options: Any) -> Any:
        answer = await exchange(*arguments, **options)
        signatures.update(SIGNATURE.findall(answer.body.replace(b"\\u0026", b"&")))
        return answer

    monkeypatch.setattr("facewarp_async.session.api.exchange", listen)
    timeouts = Timeouts(request_s=2, repeat_s=0.2, image_task_s=2)
    async with (
        start_world() as world,
        make_client(world.service.provider, world.service.client_credentials, timeouts=timeouts) as client,
        make_client(world.service.provider, world.service.auth, timeouts=timeouts) as keyed,
    ):
        world.service.faults.add(rule)
        jobs = [*world.jobs(2), MultiFaceSwap(world.media("m"), {0: world.face}), DetectFaces(world.media("d"))]
        said: list[str] = []
        for caller in (client, keyed):
            async with world.pipeline(client=caller, limits=Limits(in_flight=4)) as pipeline:
                report = await pipeline.collect(jobs)
                said.append(repr(report))
                files = await anyio.to_thread.run_sync(lambda: [p.read_bytes() for p in world.out.glob("batch.db*")])
            for outcome in report.outcomes:
                error = getattr(outcome, "error", None)
                if error is not None:
                    said += [str(error), repr(error), "".join(traceback.format_exception(error))]
        token = client._connection.api._tokens._value
        secrets = {world.service.auth.key, world.service.client_credentials.client_secret, token} - {""}
    said.append(caplog.text)
    assert caplog.records, "the package logs at this level"
    everything = b"\n".join([*files, *(text.encode(errors="surrogateescape") for text in said)])
    assert len(everything) > 10_000
    for secret in [*(secret.encode() for secret in secrets), *signatures, b"ab" * 32]:
        assert secret not in everything, everything[max(0, everything.index(secret) - 300) :][:400]
    if rule.faults != (Fault.BAD_GATEWAY,) and Fault.HALF_DOCUMENT not in rule.faults:
        assert rule.faults == (Fault.REDIRECT,) or len(signatures) > 0
