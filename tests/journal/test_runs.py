"""What a report is made of: runs with their calls and endings, and of each job its name, steps and last error."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio.to_thread
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facewarp_async.errors import (
    ConnectError,
    CreditsExhaustedError,
    InDoubtError,
    MissingFileError,
    NoFaceError,
    Stage,
)
from facewarp_async.journal import Ending, JobRecord, JobState, Journal, RunRecord, parse_steps
from facewarp_async.journal.opening import open_database
from facewarp_async.journal.schema import MIGRATIONS
from facewarp_async.models import ImageSwap, TaskKind
from facewarp_async.pipeline.run_notes import RunNotes
from facewarp_async.server import GET, PUT, Fault, FaultRule, Work, WorkError
from facewarp_async.wire.requests import CREATE_PATHS, TASK_PATH, UPLOAD_URL_PATH

pytestmark = pytest.mark.anyio

World = Any  # tests/journal/conftest.py
StartWorld = Callable[..., AbstractAsyncContextManager[World]]

SWAP = CREATE_PATHS[TaskKind.IMAGE_SWAP]
floats = st.floats(allow_nan=False, allow_infinity=False)


async def runs(world: World) -> list[RunRecord]:
    async with Journal(world.journal, realm="any") as journal:
        return await journal.runs()


def steps(record: JobRecord) -> str:
    return "".join(each.step for each in parse_steps(record.steps))


@given(
    st.builds(
        RunRecord,
        provider=st.text(),
        began_at=floats,
        seen_at=floats,
        calls=st.dictionaries(st.text(), st.integers(0, 2**53)),
        ending=st.none() | st.sampled_from(Ending),
        reason=st.text(),
    )
)
def test_a_run_is_read_as_it_was_written(run: RunRecord) -> None:
    assert RunRecord.from_row(run.to_row()) == run


async def test_a_run_knows_its_calls_and_that_it_was_finished(world: World) -> None:
    before = time.time()
    await world.run(world.jobs(3))
    (run,) = await runs(world)
    assert dict(run.calls) == {path: number for path, number in world.service.ledger.calls.items() if "v1" in path}
    assert run.calls[SWAP] == 3
    assert run.calls[UPLOAD_URL_PATH] == 4
    assert run.calls[TASK_PATH] >= 3
    assert (run.provider, run.ending, run.reason) == (world.client.provider.name, Ending.FINISHED, "")
    assert before <= run.began_at <= run.seen_at <= time.time()


async def test_each_run_counts_its_own_calls(world: World) -> None:
    await world.run(world.jobs(2))
    await world.run(world.jobs(2))
    first, second = await runs(world)
    assert (first.calls[SWAP], dict(second.calls)) == (2, {})


async def test_a_run_is_interrupted_though_one_of_its_batches_was_done(world: World) -> None:
    async with world.pipeline() as pipeline:
        await pipeline.collect(world.jobs(1))
        pipeline.stream(world.jobs(2))
    (run,) = await runs(world)
    assert run.ending is Ending.INTERRUPTED, "nobody has waited for the other one"


async def test_while_jobs_are_written_down_a_run_is_looked_at_once_a_second(
    path: Path, make_record: Callable[..., JobRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    now, looks = 100.0, 0

    def look() -> RunRecord:
        nonlocal looks
        looks += 1
        return RunRecord(provider="p", began_at=1.0, seen_at=float(looks))

    clock = SimpleNamespace(monotonic=lambda: now, time=time.time)
    monkeypatch.setattr("facewarp_async.journal.journal.time", clock)
    async with Journal(path, realm="r") as journal:
        journal.begin_run(look)
        seen = []
        for at in (100.0, 100.9, 101.0, 101.5, 101.9, 102.0, 110.0, 110.9):
            now = at
            await journal.write(make_record())
            seen.append(looks)
        assert seen == [1, 1, 2, 2, 2, 3, 4, 4]
        assert [run.seen_at for run in await journal.runs()] == [4.0], "what a crash would leave"


async def test_a_run_that_has_ended_is_looked_at_no_more(path: Path, make_record: Callable[..., JobRecord]) -> None:
    looks = 0

    def look() -> RunRecord:
        nonlocal looks
        looks += 1
        return RunRecord(provider="p", began_at=1.0, seen_at=float(looks))

    async with Journal(path, realm="r") as journal:
        journal.begin_run(look)
        journal.end_run()
        await journal.write(make_record())
        journal.end_run()
        assert [run.seen_at for run in await journal.runs()] == [2.0]
    assert looks == 2


async def test_a_reason_that_names_a_file_of_any_bytes_is_written_down(path: Path) -> None:
    async with Journal(path, realm="r") as journal:
        journal.begin_run(lambda: RunRecord(provider="p", began_at=1.0, seen_at=2.0, reason="a\udcff.png: disk full"))
        (run,) = await journal.runs()
    assert run.reason == "a\\udcff.png: disk full"


def test_of_a_run_that_has_just_begun_there_are_no_calls_no_ending_and_no_reason() -> None:
    run = RunRecord(provider="p", began_at=1.0, seen_at=1.0)
    assert (dict(run.calls), run.ending, run.reason) == ({}, None, "")


def test_the_words_for_endings_that_earlier_versions_have_written_are_the_same() -> None:
    """They lie in people's journals."""
    assert [ending.value for ending in Ending] == ["finished", "stopped", "interrupted"]


async def test_the_steps_of_a_job_are_kept_with_their_times(world: World) -> None:
    before = time.time()
    await world.run(world.jobs(1))
    (record,) = await world.records()
    assert steps(record) == "cuntwde"
    times = [each.at for each in parse_steps(record.steps)]
    assert before - 0.001 <= times[0]
    assert times == sorted(times)
    assert times[-1] <= time.time() + 0.001
    assert (record.name, record.source) == ("0", str(world.media(0)))
    assert record.created == 1


@pytest.mark.parametrize("crash", [False, True])
async def test_a_job_that_is_gone_on_with_keeps_the_steps_of_both_runs(
    start_world: StartWorld, ending: Any, points: Any, crash: bool
) -> None:
    async with start_world(faults=ending) as world:
        assert await ending.run(world, world.jobs(1), points.WRITTEN, 3, crash=crash) is None, "as it begins to wait"
        (record,) = await world.records()
        assert (steps(record), record.created, record.state) == ("cunt" if crash else "cuntwe", 1, JobState.CREATED)
        assert [run.ending for run in await runs(world)] == [None if crash else Ending.INTERRUPTED]
        await world.run(world.jobs(1))
        (record,) = await world.records()
        assert (steps(record), record.created) == (("cunt" if crash else "cuntwe") + "cwwde", 1)
        assert [run.ending for run in await runs(world)][1:] == [Ending.FINISHED]


async def test_a_job_that_is_tried_again_counts_all_its_tasks(start_world: StartWorld) -> None:
    def fail(work: Work) -> None:
        raise WorkError(602, "no face")

    async with start_world(fail=fail) as world:
        await world.run(world.jobs(1))
        await world.run(world.jobs(1), retry_failed=True)
        (record,) = await world.records()
        assert (record.created, len(record.tasks), steps(record)) == (2, 1, "cuntwecuntwe")
        assert isinstance(record.error, NoFaceError)


async def test_an_error_that_may_pass_is_remembered_until_the_job_is_done(world: World) -> None:
    world.service.faults.add(FaultRule((Fault.RESET_AFTER,), SWAP, times=1))
    await world.run(world.jobs(1))
    (record,) = await world.records()
    assert (record.state, type(record.error)) == (JobState.INTENT, InDoubtError)
    await world.run(world.jobs(1), in_doubt="recreate")
    (record,) = await world.records()
    assert (record.state, record.error) == (JobState.DONE, None)


async def test_a_file_that_cannot_be_used_is_noted_with_the_stage_that_has_seen_it(world: World) -> None:
    await world.run([ImageSwap(world.folder / "missing.png", world.face)])
    (record,) = await world.records()
    assert (record.error.stage, record.error.task_id) == (Stage.CHECK, None)


@pytest.mark.parametrize(("call", "stage"), [(PUT, Stage.UPLOAD), (GET, Stage.DOWNLOAD)])
async def test_what_a_transfer_met_is_noted_with_its_stage_and_the_jobs_task(
    world: World, call: str, stage: Stage
) -> None:
    world.service.faults.add(FaultRule(Fault.EXPIRED_URL, call))
    await world.run(world.jobs(1))
    (record,) = await world.records()
    assert (record.error.stage, record.error.task_id) == (stage, record.tasks.get(TaskKind.IMAGE_SWAP))
    assert bool(record.tasks) is (call == GET)


async def test_what_stopped_the_batch_is_the_runs_and_jobs_that_were_not_begun_are_named(
    start_world: StartWorld,
) -> None:
    async with start_world(credits=1) as world:
        report = await world.run(world.jobs(200))
        (run,) = await runs(world)
        assert (run.ending, run.reason) == (Ending.STOPPED, str(report.stopped_by))
        assert isinstance(report.stopped_by, CreditsExhaustedError)
        records = await world.records()
        assert {record.name for record in records} == {str(number) for number in range(200)}
        assert not [record for record in records if record.error is not None]
        assert len([record for record in records if record.state is JobState.DONE]) == 1
        ended = [steps(record)[-1:] for record in records if record.state is not JobState.NEW]
        assert set(ended) == {"e"}, "nothing lasts longer than the stop"


async def test_a_file_that_cannot_be_used_is_told_of_and_has_no_part_in_going_on(world: World) -> None:
    job = ImageSwap(world.folder / "later.png", world.face)
    await world.run([job])
    (record,) = await world.records()
    assert (record.state, type(record.error), record.name) == (JobState.FAILED, MissingFileError, "later")
    (world.folder / "later.png").write_bytes(world.media(7).read_bytes())
    report = await world.run([job])
    assert report.completed == 1


@pytest.mark.parametrize(("name", "noted"), [("later", b"later"), ("a\udcff", b"a\\udcff")])
async def test_a_job_whose_file_cannot_be_used_has_the_key_that_earlier_versions_gave_it(
    world: World, name: str, noted: bytes
) -> None:
    """Else a report would list it twice."""
    await world.run([ImageSwap(world.folder / f"{name}.png", world.face)])
    (record,) = await world.records()
    assert (record.key, record.name) == (hashlib.sha256(b"name:" + noted).digest(), name)


async def test_a_file_that_was_renamed_is_known_by_its_new_name(world: World) -> None:
    await world.run([ImageSwap(world.media("old"), world.face)])
    new = world.media("old").rename(world.folder / "new.png")
    await world.run([ImageSwap(new, world.face)])
    (record,) = await world.records()
    assert (record.name, record.source, record.media, record.path) == ("new", str(new), str(new), "new.png")


async def test_a_file_that_was_moved_is_known_by_its_new_place(world: World) -> None:
    await world.run([ImageSwap(world.media("a"), world.face)])
    new = world.media("a").rename(world.folder / "a.png")
    await world.run([ImageSwap(new, world.face)])
    (record,) = await world.records()
    assert (record.name, record.source, record.path) == ("a", str(new), "a.png")


async def test_a_batch_that_is_done_writes_nothing_of_its_jobs(world: World) -> None:
    await world.run(world.jobs(3))
    before = {record.name: record.updated_at for record in await world.records()}
    await world.run(world.jobs(3))
    assert {record.name: record.updated_at for record in await world.records()} == before


async def test_a_relative_path_is_remembered_as_an_absolute_one(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    media = world.media("there")
    monkeypatch.chdir(media.parent)
    await world.run([ImageSwap(media.name, world.face)])
    (record,) = await world.records()
    assert (record.media, record.source) == (media.name, str(media))


async def test_a_connection_that_was_never_made_is_no_call(world: World) -> None:
    await world.service.__aexit__(None, None, None)
    report = await world.run(world.jobs(1))
    assert isinstance(report.outcomes[0].error, ConnectError)
    assert [dict(run.calls) for run in await runs(world)] == [{}]


async def test_a_run_whose_note_was_lost_changes_no_other(path: Path) -> None:
    """The disk was full when it began, and is not when it ends."""
    earlier = RunRecord(provider="one", began_at=1.0, seen_at=2.0, ending=Ending.FINISHED)
    async with Journal(path, realm="r") as journal:
        journal.begin_run(lambda: earlier)
        journal.end_run()
        journal.begin_run(lambda: RunRecord(provider="two", began_at=3.0, seen_at=4.0))
        await journal._commits.execute("DELETE FROM runs WHERE provider = 'two'")
        journal.end_run()
        assert await journal.runs() == [earlier]


async def test_a_pipeline_that_outlives_its_client_ends_its_run_and_frees_the_journal(world: World) -> None:
    async with world.pipeline() as pipeline, world.client:
        await pipeline.collect(world.jobs(1))
    (run,) = await runs(world)
    assert (run.ending, run.calls[SWAP]) == (Ending.FINISHED, 1)


async def test_a_journal_is_free_also_where_there_is_nothing_to_say_of_its_run(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_notes: RunNotes) -> Ending:
        raise RuntimeError("nobody knows")

    monkeypatch.setattr(RunNotes, "_ending", fail)
    with pytest.raises(RuntimeError, match="nobody knows"):
        async with world.pipeline():
            pass
    assert [run.ending for run in await runs(world)] == [None]


async def test_the_first_journals_are_brought_up_to_date(path: Path) -> None:
    await anyio.to_thread.run_sync(_make_first, path)
    async with Journal(path, realm="realm") as journal:
        (record,) = await journal.records()
        assert await journal.runs() == []
    assert (record.created, record.steps, record.name, record.source, record.updated_at) == (2, "", "", None, 7.5)


def _make_first(path: Path) -> None:
    with open_database(path, MIGRATIONS[:1]) as connection:
        connection.execute(
            "INSERT INTO jobs VALUES (x'01', 'done', 'multiple image swap', 'a.png', NULL, "
            """'{"face detection": 7, "multiple image swap": 8}', CAST('a.png' AS BLOB), 5, x'00', NULL, NULL, 7.5)"""
        )
