"""``facewarp batch``: which files, how many tasks, and what it would do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from facewarp_async.server import CREATES, Fault, FaultRule, LocalService

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

MakeFile = Callable[..., Path]
BATCH = ["batch", "in", "--face", "me.png", "-o", "out"]


@pytest.fixture
def media(make_file: MakeFile) -> list[Path]:
    make_file("me.png")
    return [make_file(f"in/{number}.png") for number in range(6)]


async def test_patterns_and_depth_choose_the_files(run: Any, here: dict[str, str], make_file: MakeFile) -> None:
    for name in ("a.png", "b.jpg", "c.png", "deep/d.png", "raw/e.png"):
        make_file(f"in/{name}")
    make_file("in/me.png")
    command = ["batch", "--include", "*.png", "--exclude", "raw", "--exclude", "c.*", "in", "--face", "in/me.png"]
    ended = await run(*command, "-o", "out", env=here)
    assert (ended.code, ended.lines) == (0, ["out/a.png", "out/deep/d.png"])
    shallow = await run(*command, "-o", "shallow", "--no-recursive", env=here)
    assert (shallow.code, shallow.lines) == (0, ["shallow/a.png"])


async def test_a_manifest_names_media_faces_and_results(
    run: Any, here: dict[str, str], local: LocalService, make_file: MakeFile, tmp_path: Path
) -> None:
    for name in ("a.png", "clip.mp4", "group.png", "me.png", "you.png"):
        make_file(f"lists/{name}")
    (tmp_path / "lists/jobs.csv").write_text(
        "media,face,faces,name\na.png,,,first/picture\nclip.mp4,you.png,,\ngroup.png,,0=me.png;1=you.png,\n"
    )
    command = ["batch", "--manifest", "lists/jobs.csv", "--face", "lists/me.png", "-o", "out"]
    ended = await run(*command, env=here)
    assert (ended.code, ended.noise) == (0, [])
    assert ended.lines == ["out/first/picture.png", "out/clip.mp4", "out/group.png"]
    assert len(local.ledger.creations) == 4
    again = await run(*command, env=here)
    assert "3 done (3 done before)" in again.err
    assert len(local.ledger.creations) == 4


async def test_no_more_tasks_are_created_than_the_user_allows_and_the_next_run_goes_on(
    run: Any, here: dict[str, str], local: LocalService, media: list[Path]
) -> None:
    local.faults.add(FaultRule(Fault.REFUSED, CREATES, code=601, nth=1))  # costs nothing, and counts as nothing
    first = await run(*BATCH, "--max-credits", "3", "--json", env=here)
    assert (first.code, first.noise, len(local.ledger.creations)) == (3, [], 3)
    statuses = [record["status"] for record in first.records]
    assert (statuses.count("completed"), statuses.count("failed"), statuses.count("skipped")) == (3, 1, 2)
    assert "stopped: 3 done, 1 failed, 2 skipped" in first.err
    assert "run the same command again to go on" in first.err
    assert "--max-credits 3 allows no more tasks in this run" in first.err.splitlines()[-1]
    local.faults.clear()
    second = await run(*BATCH, "--max-credits", "3", "--retry-failed", env=here)
    assert (second.code, len(local.ledger.creations)) == (0, 6)
    assert "6 done (3 done before), 0 failed" in second.err


async def test_a_plan_knows_what_earlier_runs_did(
    run: Any, here: dict[str, str], local: LocalService, media: list[Path]
) -> None:
    local.faults.add(FaultRule(Fault.RESET_AFTER, CREATES, nth=2))
    local.faults.add(FaultRule(Fault.TASK_FAILS, CREATES, nth=1))
    await run(*BATCH, "--max-credits", "4", env=here)
    calls = local.ledger.calls.total()
    ended = await run(*BATCH, "--dry-run", "--json", env=here)
    [plan] = ended.records
    assert (ended.code, ended.noise) == (0, [])
    found = {name: plan[name] for name in ("files", "tasks", "done_before", "failed_before", "in_doubt", "seconds")}
    assert found == {"files": 6, "tasks": 2, "done_before": 2, "failed_before": 1, "in_doubt": 1, "seconds": None}
    risked = await run(
        *BATCH, "--dry-run", "--in-doubt", "recreate", "--retry-failed", "--max-credits", "1", "--rps", "1", env=here
    )
    assert "to create and pay for: 1 task of 4: --max-credits" in risked.lines
    assert "  2 done before" in risked.lines
    assert local.ledger.calls.total() == calls
