"""``facewarp batch`` run again: what was done is kept, what was paid for is fetched, what is in doubt is named."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

import facewarp_async
from facewarp_async.models import TaskKind
from facewarp_async.server import CREATES, Fault, FaultRule, InstantRunner, LocalService
from tests.cli.reading import CREATED, read_until
from tests.patience import seconds

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

MakeFile = Callable[..., Path]
Settings = Callable[[LocalService], dict[str, str]]
BATCH = ["batch", "in", "--face", "me.png", "-o", "out"]
PORTRAITS = Path(facewarp_async.__file__).parent / "engine/data/portraits"
JOURNAL = ".facewarp/batch.db"
"""What --verbose says of a create."""


@pytest.fixture
def media(make_file: MakeFile) -> list[Path]:
    make_file("me.png")
    return [make_file(f"in/{number}.png") for number in range(5)]


class Held:
    """A runner's duration: the first few tasks are made at once, the others never; an event for the first of those."""

    def __init__(self, quick: int = 0) -> None:
        self.begun = anyio.Event()
        self._quick = quick

    def __call__(self, _kind: TaskKind) -> float:
        self._quick -= 1
        if self._quick >= 0:
            return 0.0
        self.begun.set()
        return 600.0


def results(out: Path) -> list[str]:
    """List what lies in an output folder and is not hidden."""
    names = (path.relative_to(out) for path in out.rglob("*") if path.is_file())
    return sorted(str(name) for name in names if not str(name).startswith("."))


async def test_what_is_done_is_kept_and_counted_as_done(
    run: Any, here: dict[str, str], local: LocalService, media: list[Path], tmp_path: Path
) -> None:
    first = await run(*BATCH, env=here)
    written = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.png")}
    calls = local.ledger.calls.total()
    again = await run(*BATCH, "--json", env=here)
    assert (first.code, again.code, again.noise) == (0, 0, [])
    assert "finished: 5 done, 0 failed" in first.err
    assert "finished: 5 done (5 done before), 0 failed, 0 skipped, " in again.err
    assert [record["resumed"] for record in again.records] == [True] * 5
    assert [record["path"] for record in again.records] == first.lines
    assert local.ledger.calls.total() == calls, "nothing was asked for"
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.png")} == written
    assert results(tmp_path / "out") == [path.name for path in media]


async def test_what_failed_or_is_in_doubt_is_told_again_and_tried_again_only_when_asked_for(
    run: Any, here: dict[str, str], local: LocalService, media: list[Path]
) -> None:
    local.faults.add(FaultRule(Fault.TASK_FAILS, CREATES, code=602, nth=2))
    local.faults.add(FaultRule(Fault.RESET_AFTER, CREATES, nth={1, 3}))
    first = await run(*BATCH, env=here)
    failed = [line for line in first.err.splitlines() if line.startswith("failed: ")]
    doubted = sorted(line.split(": ")[1] for line in first.err.splitlines() if line.startswith("in doubt: in/"))
    assert (first.code, len(failed), len(doubted), len(local.ledger.creations)) == (1, 1, 2, 5)
    assert "--retry-failed" not in first.err
    local.faults.clear()

    again = await run(*BATCH, env=here)
    lines = again.err.splitlines()
    assert [line for line in lines if line.startswith("failed: ")] == failed
    heading = lines.index(
        "in doubt: tasks may have been created and paid for, and were not created again, for 2 files:"
    )
    assert sorted(line.strip() for line in lines[heading + 1 : heading + 3]) == doubted
    assert "--in-doubt recreate" in lines[heading + 3]
    assert "1 failed in an earlier run and were not tried again; --retry-failed does so" in again.err
    assert "2 done (2 done before), 3 failed (1 before, 2 in doubt)" in again.err
    assert (again.code, len(local.ledger.creations)) == (1, 5)

    last = await run(*BATCH, "--in-doubt", "recreate", "--retry-failed", env=here)
    assert "5 done (2 done before), 0 failed" in last.err
    assert (last.code, len(local.ledger.creations)) == (0, 8)


async def test_an_interrupted_batch_says_how_to_go_on_and_does(
    run: Any, start: Any, settings: Settings, media: list[Path], read_errors: Any, tmp_path: Path
) -> None:
    """The service comes back with its data, and works on what it was told to do."""
    held = Held(quick=2)
    async with LocalService(runner=InstantRunner(duration_s=held), data_dir=tmp_path / "service") as service:
        environ = settings(service) | {"FACEWARP_PROVIDER": "mine"}
        port = int(service.provider.base_url.rpartition(":")[2])
        async with start(*BATCH, "--rps", "0", env=environ) as process:
            with anyio.fail_after(seconds(20)):
                await held.begun.wait()
            process.send_signal(signal.SIGINT)
            errors = await read_errors(process)
            assert await process.wait() == 130
        assert "run the same command again to go on; " in errors.splitlines()[-1]
        assert "paid for and not fetched yet" in errors.splitlines()[-1]
    async with LocalService(runner=InstantRunner(), data_dir=tmp_path / "service", port=port) as service:
        ended = await run(*BATCH, "--rps", "0", env=environ)
        assert (ended.code, ended.noise) == (0, [])
        assert "finished: 5 done" in ended.err
        assert len(service._state.tasks) == 5
    assert results(tmp_path / "out") == [path.name for path in media]


async def test_without_a_journal_an_interrupted_batch_names_what_was_paid_for(
    start: Any, settings: Settings, media: list[Path], read_errors: Any, tmp_path: Path
) -> None:
    async with LocalService(runner=InstantRunner(duration_s=600)) as service:
        environ = settings(service) | {"FACEWARP_PROVIDER": "mine"}
        command = [*BATCH, "--no-journal", "--in-flight", "1", "--rps", "0", "--verbose"]
        async with start(*command, env=environ, stderr=subprocess.PIPE) as process:
            await read_until(process, CREATED)
            process.send_signal(signal.SIGTERM)
            errors = await read_errors(process)
            assert await process.wait() == 130
        [creation] = service.ledger.creations
    assert not (tmp_path / "out/.facewarp").exists()
    assert "paid for and not fetched; facewarp task ID -o FILE fetches each" in errors
    assert errors.splitlines()[-1].startswith(f"  task {creation.task_id}: in/")
    assert "run the same command again" not in errors


async def test_a_journal_that_another_process_works_with_is_a_usage_error(
    run: Any, start: Any, settings: Settings, media: list[Path]
) -> None:
    held = Held()
    async with (
        LocalService(runner=InstantRunner(duration_s=held)) as service,
        start(*BATCH, env=settings(service), stderr=subprocess.DEVNULL),
    ):
        with anyio.fail_after(seconds(20)):
            await held.begun.wait()
        ended = await run(*BATCH, env=settings(service))
    assert (ended.code, ended.out, ended.noise) == (2, b"", [])
    assert f"facewarp: out/{JOURNAL}: the journal is used by another process" in ended.err
    assert "interrupted" not in ended.err


async def test_the_service_inside_the_command_remembers_its_tasks_after_a_kill(
    run: Any, start: Any, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    for number in range(4):  # what follows a picture's end makes its content another
        (tmp_path / f"in/{number}.jpg").write_bytes((PORTRAITS / "hopper.jpg").read_bytes() + bytes([number]))
    command = ["batch", "in", "--face", PORTRAITS / "collins.png", "-o", "out"]
    async with start(*command, stdout=subprocess.PIPE) as process:
        with anyio.fail_after(seconds(30)):
            await process.stdout.receive()
        process.kill()
    ended = await run(*command)
    assert (ended.code, ended.noise) == (0, [])
    assert ended.lines == [f"out/{number}.jpg" for number in range(4)]
    again = await run(*command)
    assert "finished: 4 done (4 done before)" in again.err
    assert results(tmp_path / "out") == [f"{number}.jpg" for number in range(4)]


async def test_the_service_inside_the_command_serves_one_command_at_a_time(
    run: Any, media: list[Path], tmp_path: Path
) -> None:
    async with LocalService(runner=InstantRunner(), data_dir=tmp_path / "out/.facewarp/service"):
        ended = await run(*BATCH)
    assert (ended.code, ended.out, ended.noise) == (2, b"", [])
    assert "another service uses it; wait until that has ended, or name another" in ended.err
