"""Any history of runs, crashes, cancellations, faults and meddling with files pays for no job twice unasked."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from blockbuster import BlockBuster
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from facewarp_async.errors import InDoubtError, TaskFailedError
from facewarp_async.journal import JobState
from facewarp_async.models import DetectFaces, ImageSwap, Job, MultiFaceSwap
from facewarp_async.pipeline import BatchReport, Completed, Failed
from facewarp_async.server import CREATES, GET, PUT, Fault, FaultRule, Work, WorkError
from facewarp_async.wire.requests import TASK_PATH

World = Any  # tests/journal/conftest.py
StartWorld = Callable[..., AbstractAsyncContextManager[World]]

FAULTS = {
    "lost before": FaultRule(Fault.RESET_BEFORE, CREATES, times=1),
    "lost after": FaultRule(Fault.RESET_AFTER, CREATES, times=1),
    "500": FaultRule(Fault.SERVER_ERROR, CREATES, acts=True, times=1),
    "half a document": FaultRule(Fault.HALF_DOCUMENT, CREATES, times=1),
    "too many requests": FaultRule(Fault.RATE_LIMITED, CREATES, retry_after_s=0, times=2),
    "no credits": FaultRule(Fault.REFUSED, CREATES, code=801, times=1),
    "unknown code": FaultRule(Fault.REFUSED, CREATES, code=999, times=1),
    "forgotten upload": FaultRule(Fault.FORGET_UPLOAD, PUT, times=1),
    "refused upload": FaultRule(Fault.REFUSED, CREATES, code=702, times=1),
    "cut download": FaultRule(Fault.CUT_GET, GET, times=7),
    "no look": FaultRule(Fault.REFUSED, TASK_PATH, code=999, times=1),
    "task fails": FaultRule(Fault.TASK_FAILS, CREATES, code=602, times=1),
}


class Histories(RuleBasedStateMachine):
    """One folder of media, one journal, and a service; a history is a sequence of what may happen to them.

    `allowed` counts how often the user allowed that a job is paid for once more: each time that a run was told to
    recreate what was in doubt, or to try again what had failed for good, and there was such a job.
    """

    numbers = itertools.count()

    def __init__(self, start_world: StartWorld, make_ending: Callable[[], Any], points: Any, tmp_path: Path) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.ending, self.points = make_ending(), points
        self.folder = tmp_path / f"{next(self.numbers)}"
        self.jobs: list[Job] = []
        self.allowed = 0
        self.stop = asyncio.Event()
        self.world = self.run(self._open(start_world))

    def run(self, step: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(step)

    async def _open(self, start_world: StartWorld) -> World:
        ready: asyncio.Future[World] = asyncio.get_running_loop().create_future()

        def fail(work: Work) -> None:
            if b"hopeless" in work.media.read_bytes():
                raise WorkError(602, "nobody there")

        async def serve() -> None:
            async with start_world(folder=self.folder, faults=self.ending, fail=fail) as world:
                ready.set_result(world)
                await self.stop.wait()

        self.serving = asyncio.ensure_future(serve())
        return await ready

    @initialize(hopeless=st.booleans())
    def begin(self, hopeless: bool) -> None:
        self.folder.mkdir(exist_ok=True)
        self.add(kind="image")
        self.add(kind="several")
        if hopeless:
            self.jobs.append(ImageSwap(self.world.media("hopeless"), self.world.face))

    @rule(kind=st.sampled_from(["image", "several", "detection"]))
    @precondition(lambda self: len(self.jobs) < 5)
    def add(self, kind: str) -> None:
        media = self.world.media(f"media {len(self.jobs)}")
        kinds: dict[str, Job] = {
            "image": ImageSwap(media, self.world.face),
            "several": MultiFaceSwap(media, {0: self.world.face}),
            "detection": DetectFaces(media),
        }
        self.jobs.append(kinds[kind])

    @rule(name=st.sampled_from(sorted(FAULTS)))
    def break_something(self, name: str) -> None:
        self.ending.add(FAULTS[name])

    @rule()
    def mend(self) -> None:
        self.ending.clear()

    @rule(place=st.integers(0, 4), harm=st.sampled_from(["lose", "damage", "grow"]))
    def meddle_with_a_result(self, place: int, harm: str) -> None:
        results = sorted(path for path in self.world.out.glob("*.png"))
        if results:
            path = results[place % len(results)]
            if harm == "lose":
                path.unlink()
            else:
                path.write_bytes(b"?" * path.stat().st_size if harm == "damage" else path.read_bytes() + b"?")

    @rule(place=st.integers(0, 4))
    def rename_a_media(self, place: int) -> None:
        job = self.jobs[place % len(self.jobs)]
        assert isinstance(job.media, Path)
        media = job.media.rename(job.media.with_name(f"renamed {next(self.numbers)}.png"))
        self.jobs[place % len(self.jobs)] = (
            DetectFaces(media)
            if isinstance(job, DetectFaces)
            else MultiFaceSwap(media, job.faces)
            if isinstance(job, MultiFaceSwap)
            else ImageSwap(media, self.world.face)
        )

    @rule()
    def shuffle(self) -> None:
        self.jobs.reverse()

    @rule(recreate=st.booleans(), retry=st.booleans())
    def run_to_the_end(self, recreate: bool, retry: bool) -> None:
        options = self._choose(recreate=recreate, retry=retry)
        report = self.run(self.world.run(self.jobs, **options))
        self._check(report, held=not recreate)

    @rule(
        point=st.sampled_from(["CALL", "ACTED", "WRITE", "WRITTEN", "EVENT"]),
        number=st.integers(1, 30),
        crash=st.booleans(),
        recreate=st.booleans(),
    )
    def run_until(self, point: str, number: int, crash: bool, recreate: bool) -> None:
        options = self._choose(recreate=recreate, retry=False)
        self.run(self.ending.run(self.world, self.jobs, self.points[point], number, crash=crash, **options))
        self._check_paid()

    def _choose(self, *, recreate: bool, retry: bool) -> dict[str, Any]:
        """Count what the user allows with the options."""
        states = {JobState.INTENT: recreate, JobState.FAILED: retry}
        known = self.run(self.world.records()) if self.world.journal.exists() else []
        for record in known:
            if states.get(record.state) or (record.pending is not None and recreate):
                self.allowed += 1
        return {"in_doubt": "recreate" if recreate else "hold", "retry_failed": retry}

    def _check(self, report: BatchReport, *, held: bool) -> None:
        for outcome in report.outcomes:
            if isinstance(outcome, Completed) and isinstance(outcome.path, Path):
                assert isinstance(outcome.job.media, Path)
                assert outcome.path.read_bytes() == outcome.job.media.read_bytes()
            if isinstance(outcome, Failed):
                assert (outcome.error.paid is None) == isinstance(outcome.error, InDoubtError)
        doubted = {
            str(o.job.media) for o in report.outcomes if isinstance(o, Failed) and isinstance(o.error, InDoubtError)
        }
        records = self.run(self.world.records())
        pending = [record for record in records if record.state is JobState.INTENT]
        if held and report.stopped_by is None:
            assert len(doubted) == len(pending), "what is in doubt is named"
        self._check_paid()

    def _check_paid(self) -> None:
        """No media has more than one task of a kind, but for what the user has allowed."""
        paid = self.run(self.world.paid())
        again = {f"{kind} of {content[:40]!r}": count for (kind, content), count in paid.items() if count > 1}
        extra = sum(count - 1 for count in again.values())
        assert extra <= 2 * self.allowed, f"a choice allows a job's tasks, two at most, once more: {again}"

    def teardown(self) -> None:
        try:
            if self.jobs:
                self.ending.clear()
                self._finish()
        finally:
            self.stop.set()
            self.run(asyncio.wait_for(self.serving, 10))
            self.runner.close()

    def _finish(self) -> None:
        """Without faults, and with all choices made, everything can be done."""
        for _ in range(3):
            self.run_to_the_end(recreate=True, retry=True)
        report = self.run(self.world.run(self.jobs))
        for outcome in report.outcomes:
            hopeless = isinstance(outcome, Failed) and isinstance(outcome.error, TaskFailedError)
            assert isinstance(outcome, Completed) or hopeless
        self._check(report, held=True)
        assert not [name for name in self.world.results() if name.endswith(".part")]


@pytest.mark.slow
def test_no_history_pays_twice_unasked_or_loses_a_job(
    start_world: StartWorld, blockbuster: BlockBuster, ending: Any, points: Any, tmp_path: Path
) -> None:
    def machine() -> Histories:
        return Histories(start_world, lambda: type(ending)(blockbuster), points, tmp_path)

    run_state_machine_as_test(
        machine,  # type: ignore[arg-type]  # a factory will do
        settings=settings(
            max_examples=12,
            stateful_step_count=10,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
