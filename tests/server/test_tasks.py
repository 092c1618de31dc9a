"""Tasks on their way from waiting to their end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from facewarp_async.models import TaskKind
from facewarp_async.server import InstantRunner, Made, Work, WorkError

if TYPE_CHECKING:
    from tests.server.conftest import Serve

pytestmark = pytest.mark.anyio


class HeldRunner:
    """Works when it is allowed to, and remembers what it worked on."""

    def __init__(self, parallel: int = 1) -> None:
        self.parallel = parallel
        self.go = anyio.Event()
        self.begun: list[Work] = []
        self.first_began = anyio.Event()
        self.at_once = self.most_at_once = 0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        yield

    async def run(self, work: Work) -> Made:
        self.begun.append(work)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.first_began.set()
        try:
            await self.go.wait()
            await anyio.lowlevel.checkpoint()
        finally:
            self.at_once -= 1
        return await InstantRunner().run(work)


def _failing(code: int, message: str) -> InstantRunner:
    def fail(work: Work) -> None:
        raise WorkError(code, message)

    return InstantRunner(fail=fail)


@pytest.mark.parametrize(("later", "statuses"), [(False, (2, 1, 0)), (True, (-2, -1, 0))])
async def test_waits_works_and_finishes(serve: Serve, later: bool, statuses: tuple[int, ...]) -> None:
    """A task is waiting, then processing, then finished; the vendors' later API negates the first two."""
    runner = HeldRunner()
    async with serve(runner=runner, later_statuses=later) as harness:
        first, second = await harness.swap(), await harness.swap()
        await runner.first_began.wait()
        shown = [(await harness.detail(task)).data for task in (first, second)]
        assert [task["status"] for task in shown] == list(statuses[:2])
        assert shown[0] == {"id": first, "message": "", "status": statuses[0], "additional_data": {}}
        runner.go.set()
        await harness.service.settled()
        assert [(await harness.detail(task)).data["status"] for task in (first, second)] == [0, 0]


async def test_works_on_so_many_at_once_in_order(serve: Serve) -> None:
    """`workers` bounds the tasks that are worked on; the oldest goes first."""
    runner = HeldRunner()
    async with serve(runner=runner, workers=3) as harness:
        bodies = [b"\x89PNG\r\n\x1a\n%d" % index for index in range(8)]
        for body in bodies:
            await harness.swap(body)
        await runner.first_began.wait()
        runner.go.set()
        await harness.service.settled()
        assert runner.most_at_once == 3
        assert len(runner.begun) == 8


async def test_gives_the_runner_files_with_their_type(serve: Serve, mp4: bytes) -> None:
    """The runner gets files named after what they are; high quality is passed on."""
    seen: list[tuple[Any, ...]] = []

    def look(work: Work) -> None:
        media, face = work.media, work.face
        assert face is not None
        seen.append((work.kind, media.suffix, face.suffix, work.hd, media.read_bytes()))

    async with serve(runner=InstantRunner(fail=look)) as harness:
        keys = {"main_key": await harness.upload(mp4), "target_key": await harness.upload()}
        await harness.finish(await harness.create("/v1/task/video-face-swap", **keys, is_hd=1))
    assert seen == [(TaskKind.VIDEO_SWAP, ".mp4", ".png", True, mp4)]


@pytest.mark.parametrize("code", [601, 602, 603, 701, 703])
async def test_a_failure_is_told_by_its_code(serve: Serve, code: int) -> None:
    """The detail call answers with the task's code and message."""
    async with serve(runner=_failing(code, "because")) as harness:
        task = await harness.swap()
        await harness.service.settled()
        reply = await harness.detail(task)
        assert (reply.status, reply.code, reply.message) == (200, code, "because")


@pytest.mark.parametrize(("style", "status"), [("status", 3), ("message", 0)])
async def test_the_other_two_ways_to_tell_a_failure(serve: Serve, style: str, status: int) -> None:
    """A failure can also be an unknown status, or a message beside status 0 without a result."""
    async with serve(runner=_failing(602, "no face"), failure_style=style) as harness:
        task = await harness.swap()
        await harness.service.settled()
        reply = await harness.detail(task)
        assert (reply.code, reply.message) == (200, "")
        assert reply.data == {"id": task, "message": "no face", "status": status, "additional_data": {}}


async def test_a_bug_in_a_runner_fails_its_task_alone(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """An unexpected exception is 601 without its text, is logged, and the next task is worked on."""
    failures = iter([ValueError("secret detail")])

    def fail(work: Work) -> None:
        for error in failures:
            raise error

    async with serve(runner=InstantRunner(fail=fail)) as harness:
        broken, fine = await harness.swap(), await harness.swap()
        await harness.service.settled()
        reply = await harness.detail(broken)
        assert reply.code == 601
        assert "secret" not in reply.message
        assert "secret detail" in caplog.text
        assert (await harness.detail(fine)).code == 200


async def test_work_that_takes_too_long_is_given_up(serve: Serve) -> None:
    """After its time-out a task fails with 601."""
    async with serve(runner=HeldRunner(), image_timeout_s=0.02) as harness:
        task = await harness.swap()
        await harness.service.settled()
        reply = await harness.detail(task)
        assert reply.code == 601
        assert "too long" in reply.message


async def test_an_upload_forgotten_before_its_turn(serve: Serve) -> None:
    """A task whose upload is gone when its turn comes fails with 702 and names the key."""
    runner = HeldRunner()
    async with serve(runner=runner) as harness:
        await harness.swap()
        await runner.first_began.wait()
        key = await harness.upload()
        task = await harness.create("/v1/task/get-face", main_key=key)
        await harness.service.forget(key)
        runner.go.set()
        await harness.service.settled()
        reply = await harness.detail(task)
        assert reply.code == 702
        assert key in reply.message


async def test_a_detection_must_have_ended_before_its_faces_are_used(serve: Serve) -> None:
    """A multiple swap of a detection that is under way is 400, and says why."""
    runner = HeldRunner()
    async with serve(runner=runner) as harness:
        key = await harness.upload()
        detection = await harness.create("/v1/task/get-face", main_key=key)
        pairs = [{"target_part_key": key, "avatar_part_key": key}]
        body = {"avatar_key": pairs, "get_face_id": detection, "is_hd": 1}
        reply = await harness.call("/v1/task/multiple-face-swap", body)
        assert reply.code == 400
        assert "has no result" in reply.message


async def test_an_open_task_is_kept_however_old(serve: Serve, tmp_path: Path) -> None:
    """What has not ended is never swept away."""
    now = datetime(2024, 8, 1, tzinfo=UTC)
    async with serve(runner=HeldRunner(), data_dir=tmp_path, clock=lambda: now) as harness:
        task = await harness.swap()
    now += timedelta(days=30)
    async with serve(runner=HeldRunner(), data_dir=tmp_path, clock=lambda: now) as harness:
        assert harness.service._gate.api.state.tasks.keys() == {task}


async def test_a_task_leaves_no_working_files(serve: Serve, tmp_path: Path) -> None:
    """Whether it finishes or fails, a task's folder is removed."""
    for runner in (InstantRunner(), _failing(602, "no face")):
        async with serve(runner=runner, data_dir=tmp_path) as harness:
            await harness.swap()
            await harness.service.settled()
            assert [path async for path in anyio.Path(tmp_path / "parts").iterdir()] == []


async def test_no_faces_is_a_result_too(serve: Serve) -> None:
    """A detection that finds nothing finishes with an empty list."""
    async with serve(runner=InstantRunner(faces=0)) as harness:
        task = await harness.create("/v1/task/get-face", main_key=await harness.upload())
        assert await harness.finish(task) == []


async def test_instant_runner_takes_as_long_as_it_is_told(serve: Serve) -> None:
    """The duration may depend on the kind of task."""
    kinds: list[TaskKind] = []

    def duration(kind: TaskKind) -> float:
        kinds.append(kind)
        return 0.01

    async with serve(runner=InstantRunner(duration_s=duration)) as harness:
        await harness.finish(await harness.swap())
    assert kinds == [TaskKind.IMAGE_SWAP]
