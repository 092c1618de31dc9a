"""The faults that the local service can play end as docs/faults.md says, and its ledger shows nothing paid twice."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from facewarp_async.client import FaceSwapClient
from facewarp_async.config import Timeouts
from facewarp_async.errors import FaceWarpError
from facewarp_async.models import ImageSwap, TaskKind
from facewarp_async.pipeline import Completed, Failed, SwapPipeline
from facewarp_async.policy.retry import RetryPolicy
from facewarp_async.testing import GET, PUT, FakeService, Fault, FaultRule
from facewarp_async.wire.requests import CREATE_PATHS, TASK_PATH
from tests.patience import seconds

pytestmark = pytest.mark.anyio

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"
PATHS = {
    "create": CREATE_PATHS[TaskKind.IMAGE_SWAP],
    "detail": TASK_PATH,
    "put": PUT,
    "get": GET,
}
FAULTS: dict[str, tuple[Fault, dict[str, Any]]] = {
    "reset-before": (Fault.RESET_BEFORE, {}),
    "reset-after": (Fault.RESET_AFTER, {}),
    "half-document": (Fault.HALF_DOCUMENT, {}),
    "500": (Fault.SERVER_ERROR, {"acts": True}),
    "502-page": (Fault.BAD_GATEWAY, {"acts": True}),
    "redirect-elsewhere": (Fault.REDIRECT, {"location": "http://127.0.0.1:9/"}),
    "redirect-same-host": (Fault.REDIRECT, {}),
    "401-once": (Fault.EXPIRED_TOKEN, {"nth": 1}),
    "401-for-ever": (Fault.EXPIRED_TOKEN, {}),
    "400": (Fault.REFUSED, {"code": 400}),
    "601": (Fault.REFUSED, {"code": 601}),
    "701": (Fault.REFUSED, {"code": 701}),
    "702": (Fault.REFUSED, {"code": 702}),
    "801": (Fault.REFUSED, {"code": 801}),
    "999": (Fault.REFUSED, {"code": 999}),
    "no-result": (Fault.EMPTY_RESULT, {}),
    "expired-once": (Fault.EXPIRED_URL, {"nth": 1}),
    "403-for-ever": (Fault.EXPIRED_URL, {}),
}


def _rows() -> Iterator[Any]:
    pattern = re.compile(r"\| `([a-z, -]+): ([a-z0-9-]+)` \|.*\| (?:none|`(\w+)`) \| (yes|no|perhaps) \|[^|]*\|")
    for calls, fault, error, paid in pattern.findall(PAGE.read_text()):
        for call in sorted(set(calls.split(", ")) & PATHS.keys()) if fault in FAULTS else ():
            storage_has_its_own = call in {PUT, GET} and fault.startswith("redirect")
            if not storage_has_its_own:
                yield pytest.param(call, fault, error, paid, id=f"{call}-{fault}")


@pytest.mark.parametrize(("call", "fault", "error", "paid"), list(_rows()))
async def test_a_played_fault_ends_as_the_page_says(
    facewarp_service: FakeService,
    make_client: Callable[..., FaceSwapClient],
    make_file: Callable[..., Path],
    tmp_path: Path,
    call: str,
    fault: str,
    error: str,
    paid: str,
) -> None:
    kind, options = FAULTS[fault]
    facewarp_service.faults.add(FaultRule(kind, PATHS[call], **options))
    timeouts = Timeouts(request_s=5, stall_s=5, image_task_s=seconds(0.1) if error == "TaskTimeoutError" else 10)
    retry = RetryPolicy(attempts=2, first_s=0.001, longest_s=0.002)
    job = ImageSwap(make_file("media.png"), make_file("face.png"))
    async with (
        make_client(
            facewarp_service.provider, facewarp_service.client_credentials, timeouts=timeouts, retry=retry
        ) as client,
        SwapPipeline(client, output_dir=tmp_path / "out") as pipeline,
    ):
        (outcome,) = (await pipeline.collect([job])).outcomes
    _check(outcome, error, paid)
    assert len(facewarp_service.ledger.creations) <= 1
    if paid != "perhaps":
        assert len(facewarp_service.ledger.creations) == (paid == "yes")
    facewarp_service.assert_nothing_paid_twice()
    assert not _parts(tmp_path)


def _parts(folder: Path) -> list[Path]:
    return list(folder.rglob("*.part"))


def _check(outcome: Any, error: str, paid: str) -> None:
    if not error:
        assert isinstance(outcome, Completed)
        return
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, FaceWarpError)
    assert type(outcome.error).__name__ == error
    assert {True: "yes", False: "no", None: "perhaps"}[outcome.error.paid] == paid
