"""A real program, killed and interrupted for real: it goes on, pays for nothing twice, and leaves nothing behind."""

from __future__ import annotations

import signal
from pathlib import Path
from types import ModuleType

import pytest

from facewarp_async.server import CREATES, GET, Fault, FaultPlan, FaultRule
from tests.patience import seconds

PATIENT = ("--grace-s", "60")
"""A user waits half a second; a machine with much to do may take longer to answer a create that nothing holds up."""

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


async def test_a_batch_that_is_killed_again_and_again_is_done_in_the_end(killing: ModuleType, tmp_path: Path) -> None:
    figures = await killing.kill_batches(tmp_path, [1], jobs=30, longest_s=0.3, most_kills=5)
    print(figures)
    assert figures.losses == []
    assert figures.duplicates == 0
    assert figures.kills > 0
    assert figures.jobs == 30


async def test_what_was_in_doubt_after_kills_is_done_once_the_user_risks_it(
    killing: ModuleType, tmp_path: Path
) -> None:
    """Creates are slow to be answered, and the kill comes when some of them are under way."""
    faults = FaultPlan()
    killed_at = killing.heard(CREATES, faults, number=4)
    faults.add(FaultRule(Fault.SLOW, CREATES, delay_s=60))
    async with killing.open_batch(tmp_path, jobs=12, seed=3, faults=faults) as batch:
        await batch.run(at=killed_at)
        faults.clear()
        code, told, errors, _ = await batch.run()
        await batch.judge(told)
        assert code == 0, errors
        assert batch.figures.losses == []
        assert batch.figures.duplicates == 0
        assert batch.figures.in_doubt >= 4
        _, told, errors, _ = await batch.run("--in-doubt", "recreate")
        await batch.judge(told)
        assert {line["state"] for line in told} == {"done"}, errors
        assert batch.figures.losses == []
        assert batch.figures.duplicates <= 12


async def test_a_signal_ends_a_batch_within_a_second_and_it_goes_on_without_a_doubt(
    killing: ModuleType, tmp_path: Path
) -> None:
    faults = FaultPlan()
    async with killing.open_batch(tmp_path, jobs=30, seed=4, task_s=0.3, faults=faults) as batch:
        for number, call in ((signal.SIGINT, CREATES), (signal.SIGTERM, GET)):
            at = killing.heard(call, faults, number=3)
            code, _, errors, ended_s = await batch.run(*PATIENT, at=at, with_signal=number)
            assert (code, errors) == (130, "")
            assert ended_s < seconds(1)
            assert [path.name for path in batch.out.rglob("*.part")] == []
            assert not (batch.out / "batch.db-wal").exists(), "the journal was closed"
        code, told, errors, _ = await batch.run()
        await batch.judge(told)
        assert (code, errors) == (0, "")
        assert batch.figures.losses == []
        assert (batch.figures.duplicates, batch.figures.in_doubt) == (0, 0)


async def test_a_signal_waits_a_moment_for_creates_that_are_on_their_way(killing: ModuleType, tmp_path: Path) -> None:
    """Answers that come within the grace are written down, and not waited for any longer than that takes."""
    faults = FaultPlan()
    at = killing.heard(CREATES, faults, number=3)
    faults.add(FaultRule(Fault.SLOW, CREATES, delay_s=0.4))
    async with killing.open_batch(tmp_path, jobs=10, seed=5, faults=faults) as batch:
        code, _, errors, ended_s = await batch.run(*PATIENT, at=at, with_signal=signal.SIGINT)
        assert (code, errors) == (130, "")
        assert ended_s < 30
        faults.clear()
        code, told, errors, _ = await batch.run()
        await batch.judge(told)
        assert (code, errors) == (0, "")
        assert (batch.figures.losses, batch.figures.duplicates, batch.figures.in_doubt) == ([], 0, 0)


async def test_a_full_disk_stops_a_batch_and_no_create_leaves_unknown(killing: ModuleType, tmp_path: Path) -> None:
    """Files may grow to 80 kB, which is enough for the results and not for the journal's log."""
    async with killing.open_batch(tmp_path, jobs=25, seed=6) as batch:
        code, told, errors, _ = await batch.run("--max-file-bytes", "80000")
        assert (code, errors) == (0, "")
        assert any("batch.db" in line.get("stopped_by", "") for line in told), told
        code, told, errors, _ = await batch.run()
        await batch.judge(told)
        assert (code, errors) == (0, "")
        assert batch.figures.losses == []
        assert batch.figures.duplicates == 0


async def test_a_second_program_is_refused_while_the_first_one_runs(killing: ModuleType, tmp_path: Path) -> None:
    async with killing.open_batch(tmp_path, jobs=5, seed=7, task_s=2.0) as batch:
        first = await batch.start()
        async with first:
            assert first.stdout is not None
            await first.stdout.receive()
            code, told, errors, _ = await batch.run()
            assert (code, told) == (1, [])
            assert "JournalInUseError" in errors
            assert "is used by another process" in errors
            first.send_signal(signal.SIGKILL)
