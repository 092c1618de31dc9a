"""What docs/faults.md says of each fault at each call is what happens."""

from __future__ import annotations

import logging
import re
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import anyio
import pytest
from attrs import evolve, frozen

from facewarp_async.client import FaceSwapClient
from facewarp_async.config import Timeouts
from facewarp_async.errors import FaceWarpError
from facewarp_async.models import ImageSwap
from facewarp_async.pipeline import Completed, Failed, SwapPipeline
from facewarp_async.policy.retry import RetryPolicy
from tests.hostile.scenarios import ATTEMPTS, SCENARIOS, STORAGE, Scenario
from tests.patience import seconds

pytestmark = pytest.mark.anyio

RunCrooked = Callable[..., AbstractAsyncContextManager[Any]]

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"
COUNTS = {"attempts": ATTEMPTS, "twice attempts": 2 * ATTEMPTS}
LONG = Timeouts(connect_s=5, request_s=5, stall_s=5, image_task_s=10, repeat_s=10)


@frozen
class Row:
    """What the page says of a fault at a call."""

    call: str
    fault: str
    calls: str
    error: str
    paid: str


def _rows() -> Iterator[Row]:
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not re.fullmatch(r"`[a-z, -]+: [a-z0-9-]+`", cells[0]):
            continue
        calls, _, fault = cells[0].strip("`").partition(": ")
        _, _, count, error, paid, _ = cells[1:]
        for call in calls.split(", "):
            yield Row(call, fault, count, error.strip("`"), paid)


ROWS = list(_rows()) if PAGE.exists() else []


def test_the_page_and_the_scenarios_name_the_same_faults() -> None:
    named = [(row.call, row.fault) for row in ROWS]
    assert len(named) == len(set(named))
    assert set(named) == set(SCENARIOS)


def _parameters() -> list[Any]:
    return [
        pytest.param(
            row, id=f"{row.call}-{row.fault}", marks=pytest.mark.slow if SCENARIOS[row.call, row.fault].slow else ()
        )
        for row in ROWS
        if (row.call, row.fault) in SCENARIOS
    ]


def _timeouts(row: Row, scenario: Scenario) -> Timeouts:
    timeouts = evolve(LONG, **scenario.timeouts)
    # A task that is lost sight of is waited for until its own time is over.
    # A look that ends by a time-out takes twice SHORT at most.
    image_task_s = seconds({False: 0.08, True: 0.5}[bool(scenario.timeouts)])
    return evolve(timeouts, image_task_s=image_task_s) if row.error == "TaskTimeoutError" else timeouts


@pytest.mark.parametrize("row", _parameters())
async def test_a_fault_ends_as_the_page_says(
    row: Row,
    run_crooked: RunCrooked,
    make_client_of: Callable[..., AbstractAsyncContextManager[FaceSwapClient]],
    make_file: Callable[..., Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.DEBUG, "facewarp_async")
    scenario = SCENARIOS[row.call, row.fault]
    if row.fault == "endless-body":
        _lower_the_bound(monkeypatch)
    retry = RetryPolicy(attempts=scenario.attempts, first_s=0.001, longest_s=0.002)

    async def check(way: Callable[[FaceSwapClient, Path, Path], Awaitable[FaceWarpError | None]]) -> None:
        media = make_file(f"{way.__name__}/media.png", size=8_000_000 if row.fault == "slow-reader" else 1000)
        options = {"lapsed": row.call == "access-url", "at": row.call, "fault": scenario.fault, "data": scenario.data}
        if row.fault == "refused":
            options["refuses"] = row.call
        async with (
            run_crooked(tls=scenario.tls, **options | scenario.options) as service,
            make_client_of(service, timeouts=_timeouts(row, scenario), retry=retry) as client,
        ):
            with anyio.fail_after(20):
                error = await way(client, media, media.parent / "out")
        _check_outcome(row, error)
        _check_service(row, service)
        _check_silence(service, error, caplog.text)
        _check_disk(media.parent, row, service)

    async with anyio.create_task_group() as both:
        both.start_soon(check, _by_client)
        both.start_soon(check, _by_pipeline)


def _lower_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let results be endless sooner."""
    modules = [module for name, module in sys.modules.items() if name.startswith("facewarp_async.transfer")]
    for module in (module for module in modules if hasattr(module, "MAX_RESULT_BYTES")):
        monkeypatch.setattr(module, "MAX_RESULT_BYTES", 1024 * 1024)


async def _by_client(client: FaceSwapClient, media: Path, folder: Path) -> FaceWarpError | None:
    try:
        await client.download(await client.swap_image(media, media), folder / "media.png")
    except FaceWarpError as error:
        return error
    return None


async def _by_pipeline(client: FaceSwapClient, media: Path, folder: Path) -> FaceWarpError | None:
    async with SwapPipeline(client, output_dir=folder) as pipeline:
        (outcome,) = (await pipeline.collect([ImageSwap(media, media)])).outcomes
    if isinstance(outcome, Failed):
        assert outcome.task_id == outcome.error.task_id
        return outcome.error
    assert isinstance(outcome, Completed)
    return None


def _check_outcome(row: Row, error: FaceWarpError | None) -> None:
    assert ("none" if error is None else type(error).__name__) == row.error, error and f"{error!r}: {error}"
    paid = True if error is None else error.paid
    assert {True: "yes", False: "no", None: "perhaps"}[paid] == row.paid


def _check_service(row: Row, service: Any) -> None:
    """Nothing is paid for twice, nothing is asked more often than the page says, no credentials go elsewhere."""
    assert len(service.created) <= 1
    assert service.calls["create"] <= (2 if row.call == "create" else 1) or row.calls == "many"
    if row.paid == "yes":
        assert len(service.created) == 1
    if row.paid == "no":
        assert len(service.created) == 0
    count = service.calls[row.call]
    if row.calls == "many":
        assert count >= (1 if row.error == "TaskTimeoutError" else 2)
    else:
        assert count == (COUNTS[row.calls] if row.calls in COUNTS else int(row.calls))
    for asked in service.asked:
        assert (asked.header("Authorization") is not None) == (asked.call not in {"token", *STORAGE})
        assert asked.header("Cookie") is None
        assert asked.header("X-Evil") is None


def _check_silence(service: Any, error: FaceWarpError | None, log: str) -> None:
    """No secret and nothing that a terminal obeys is in any text."""
    texts = [log]
    if error is not None:
        assert str(error).isprintable()
        assert len(str(error)) < 1500
        texts += [str(error), repr(error), repr(vars(error)), "".join(traceback.format_exception(error))]
    for secret in service.secrets:
        assert not any(secret in text for text in texts)


def _check_disk(folder: Path, row: Row, service: Any) -> None:
    """A result is whole or not there, and nothing else is left."""
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    if row.error != "none":
        assert files == ["media.png"]
    else:
        assert files == ["media.png", "out/media.png"]
        assert (folder / "out" / "media.png").read_bytes() == service.result_bytes
