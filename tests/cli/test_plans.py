"""``facewarp batch --dry-run`` after runs of its journal."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest

from facewarp_async.cli.app import run_program
from facewarp_async.client import FaceSwapClient
from facewarp_async.models import ImageSwap
from facewarp_async.pipeline import SwapPipeline
from facewarp_async.policy.polling import FixedPolling
from facewarp_async.server import InstantRunner, LocalService

pytestmark = pytest.mark.slow

MakeFile = Callable[..., Path]
STATE = Path("out/.facewarp")
PLAN = ["batch", "in", "--face", "me.png", "-o", "out", "--dry-run"]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


async def _run(names: list[str]) -> None:
    """Run jobs as ``facewarp batch`` does with the service inside it."""
    async with (
        LocalService(runner=InstantRunner(), data_dir=STATE / "service") as service,
        FaceSwapClient(service.provider, service.auth, poll_policy=FixedPolling(image_s=0.01)) as client,
        SwapPipeline(client, output_dir="out", journal=STATE / "batch.db") as pipeline,
    ):
        report = await pipeline.collect(ImageSwap(f"in/{name}.png", "me.png") for name in names)
    assert report.completed == len(names)


def _plan(capfd: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert run_program([*PLAN, "--json"]) == 0
    plan: dict[str, Any] = json.loads(capfd.readouterr().out)
    return plan


def test_what_the_service_of_this_machine_did_before_is_known(
    make_file: MakeFile, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("0", "1", "2"):
        make_file(f"in/{name}.png")
    make_file("me.png")
    anyio.run(_run, ["0", "1"])
    plan = _plan(capfd)
    assert {name: plan[name] for name in ("files", "tasks", "done_before", "uploads")} == {
        "files": 3,
        "tasks": 1,
        "done_before": 2,
        "uploads": 1,  # the face is there already
    }


def test_a_journal_of_another_service_says_nothing_of_one_that_was_not_there_yet(
    make_file: MakeFile, capfd: pytest.CaptureFixture[str]
) -> None:
    make_file("in/0.png"), make_file("me.png")
    anyio.run(_run, ["0"])
    (STATE / "service/service.db").unlink()
    plan = _plan(capfd)
    assert (plan["tasks"], plan["done_before"], plan["uploads"]) == (1, 0, 2)


@pytest.mark.parametrize("column", ["state", "kind", "result"])
def test_a_journal_whose_contents_are_damaged_ends_the_plan_and_no_file_is_blamed(
    column: str, make_file: MakeFile, capfd: pytest.CaptureFixture[str]
) -> None:
    make_file("in/0.png"), make_file("me.png")
    anyio.run(_run, ["0"])
    with closing(sqlite3.connect(STATE / "batch.db")) as connection:
        connection.execute(f"UPDATE jobs SET {column} = 'damaged'")
        connection.commit()
    assert run_program(PLAN) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert "facewarp: out/.facewarp/batch.db: what it holds of a job cannot be read: " in err
    assert "cannot be used" not in err
