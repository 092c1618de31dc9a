"""The fake service: in a thread and on the loop, held, failing, and asked what happened."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import pytest

from facewarp_async.client import FaceSwapClient
from facewarp_async.errors import (
    ConfigurationError,
    CreditsExhaustedError,
    NoFaceError,
    SourceNotFoundError,
    TaskFailedError,
)
from facewarp_async.models import ImageResult, TaskKind
from facewarp_async.policy.retry import RetryPolicy
from facewarp_async.server import LocalService
from facewarp_async.testing import CREATES, PUT, FakeService, Fault, FaultRule, MediaFolder, Progress
from facewarp_async.wire.requests import TASK_PATH

Swap = Callable[..., ImageResult]


@pytest.fixture
def media(tmp_path: Path) -> MediaFolder:
    return MediaFolder(tmp_path)


@pytest.fixture
def service() -> Iterator[FakeService]:
    with FakeService() as service:
        yield service


async def _swap(service: FakeService, media: Path, face: Path) -> ImageResult:
    retry = RetryPolicy(first_s=0.005, longest_s=0.02)
    async with FaceSwapClient(service.provider, service.auth, retry=retry) as client:
        return await client.swap_image(media, face)


def swap(service: FakeService, media: Path, face: Path) -> ImageResult:
    """Swap as a program would that has an event loop of its own."""
    return asyncio.run(_swap(service, media, face))


@pytest.mark.slow
def test_it_serves_a_program_without_a_loop_in_the_tests_thread(
    service: FakeService, media: MediaFolder, tmp_path: Path
) -> None:
    """The real command, found through the environment alone."""
    photo, face = media.make("team.jpg"), media.make("me.jpg")
    out = tmp_path / "out.jpg"
    command = [sys.executable, "-m", "facewarp_async", "swap", str(photo), str(face), "-o", str(out)]
    ended = subprocess.run(command, env=os.environ | service.environ, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert out.read_bytes() == photo.read_bytes()
    [task] = service.tasks
    assert (task.kind, task.media, task.faces) == (TaskKind.IMAGE_SWAP, "team.jpg", ("me.jpg",))
    assert (task.progress, task.code) == (Progress.FINISHED, 200)
    assert service.ledger.calls[PUT] == 2


def test_it_knows_what_happened_after_its_end(media: MediaFolder) -> None:
    with FakeService() as service:
        swap(service, media.make("a.jpg"), media.make("b.jpg"))
    assert [task.media for task in service.tasks] == ["a.jpg"]
    assert service.ledger.calls[PUT] == 2
    service.assert_created(1)
    assert not [thread for thread in threading.enumerate() if thread.name == "facewarp-fake-service"]


@pytest.mark.anyio
async def test_it_runs_on_the_tests_own_loop(media: MediaFolder) -> None:
    threads = threading.active_count()
    async with FakeService(credits=1) as service:
        assert isinstance(await _swap(service, media.make("a.jpg"), media.make("b.jpg")), ImageResult)
        await service.settled()
        await service.add_credits(2)
        assert service.credits == 2
        with pytest.raises(RuntimeError, match="await settled"):
            service.wait_until_settled()
        assert not [thread for thread in threading.enumerate() if thread.name == "facewarp-fake-service"]
    assert threading.active_count() <= threads + 8  # those that read and write files


@pytest.mark.anyio
async def test_from_a_loop_of_ones_own_it_can_be_waited_for_and_changed(
    service: FakeService, media: MediaFolder
) -> None:
    service.hold_tasks()
    async with FaceSwapClient(service.provider, service.auth) as client:
        assets = [await client.upload(media.make(name)) for name in ("a.png", "b.png")]
        task_id = await client.create_image_swap(*assets)
        with anyio.move_on_after(0.05) as waiting:
            await service.settled()
        assert waiting.cancelled_caught
        service.release_tasks()
        await service.settled()
        assert (await client.get_task(task_id)).result is not None
        await service.forget(assets[0].key)
        with pytest.raises(SourceNotFoundError):
            await client.create_image_swap(*assets)


@pytest.mark.anyio
async def test_what_is_awaited_runs_on_the_services_own_loop(service: FakeService) -> None:
    async def where() -> str:
        return threading.current_thread().name

    assert await service._elsewhere(where) == "facewarp-fake-service"
    async with FakeService() as here:
        assert await here._elsewhere(where) == threading.current_thread().name


def test_held_tasks_are_processing_until_they_are_released(service: FakeService, media: MediaFolder) -> None:
    service.hold_tasks()
    photo, face = media.make("a.jpg"), media.make("b.jpg")
    results = []
    program = threading.Thread(target=lambda: results.append(swap(service, photo, face)))
    program.start()
    while not (tasks := service.tasks) or tasks[0].progress is not Progress.PROCESSING:
        time.sleep(0.005)
    with pytest.raises(TimeoutError, match=rf"still open: \[{tasks[0].task_id}\]"):
        service.wait_until_settled(0.05)
    assert not results
    service.release_tasks()
    service.wait_until_settled()
    program.join(10)
    assert [result.task_id for result in results] == [tasks[0].task_id]


@pytest.mark.slow
def test_tasks_take_as_long_as_is_said(service: FakeService, media: MediaFolder) -> None:
    service.task_s = lambda kind: 0.3 if kind is TaskKind.IMAGE_SWAP else 0.0
    swap(service, media.make("a.jpg"), media.make("b.jpg"))
    [task] = service.tasks
    assert task.ended is not None
    assert 0.3 <= task.ended - task.created < 5


def test_tasks_fail_as_often_as_is_said(service: FakeService, media: MediaFolder) -> None:
    service.fail_tasks(602, times=2)
    photo, face = media.make("a.jpg"), media.make("b.jpg")
    for _ in range(2):
        with pytest.raises(NoFaceError, match="No face detected"):
            swap(service, photo, face)
    swap(service, photo, face)
    assert [task.code for task in service.tasks] == [602, 602, 200]
    assert all(task.ended is not None for task in service.tasks)


def test_tasks_of_one_file_fail(service: FakeService, media: MediaFolder) -> None:
    good, bad, face = media.make("good.jpg"), media.make("bad.jpg"), media.make("b.jpg")
    service.fail_tasks(media=bad, message="too blurred")
    swap(service, good, face)
    with pytest.raises(TaskFailedError, match="too blurred"):
        swap(service, bad, face)
    assert [(task.media, task.progress) for task in service.tasks] == [
        ("good.jpg", Progress.FINISHED),
        ("bad.jpg", Progress.FAILED),
    ]


def test_faults_are_played_and_taken_back_while_it_runs(service: FakeService, media: MediaFolder) -> None:
    photo, face = media.make("a.jpg"), media.make("b.jpg")
    service.faults.add(FaultRule(Fault.SERVER_ERROR, TASK_PATH, times=2))
    swap(service, photo, face)
    assert service.ledger.faults == {(TASK_PATH, "SERVER_ERROR"): 2}
    service.faults.add(FaultRule(Fault.TASK_FAILS, CREATES, code=602))
    service.faults.clear()
    swap(service, photo, face)


def test_a_plan_that_was_cleared_counts_new_rules_from_their_beginning(service: FakeService) -> None:
    for _ in range(2):
        service.faults.add(FaultRule(Fault.SERVER_ERROR, PUT, nth=2))
        assert [service.faults.draw(PUT, "/") is None for _ in range(3)] == [True, False, True]
        service.faults.clear()


def test_options_are_the_services(media: MediaFolder) -> None:
    with FakeService(credits=1) as service:
        swap(service, media.make("a.jpg"), media.make("b.jpg"))
        with pytest.raises(CreditsExhaustedError):
            swap(service, media.make("a.jpg"), media.make("b.jpg"))
        service.assert_created(1)


def test_what_was_created_is_asserted_in_words(service: FakeService, media: MediaFolder) -> None:
    photo, face = media.make("a.jpg"), media.make("b.jpg")
    service.assert_created(0)
    swap(service, photo, face)
    service.assert_created(1)
    service.assert_created(1, kind=TaskKind.IMAGE_SWAP)
    service.assert_created(0, kind=TaskKind.VIDEO_SWAP)
    with pytest.raises(
        AssertionError, match=r"expected 2 tasks, but 1 were created\n  \d+: IMAGE_SWAP of 'a.jpg' with"
    ):
        service.assert_created(2)


def test_what_is_paid_twice_is_told_by_the_contents_though_the_keys_differ(
    service: FakeService, media: MediaFolder
) -> None:
    photo, face = media.make("a.jpg"), media.make("b.jpg")
    swap(service, photo, face)
    swap(service, face, photo)
    swap(service, media.make("c.jpg"), face)
    service.assert_nothing_paid_twice()
    swap(service, media.make("other name.jpg", salt="a.jpg"), face)
    assert service.ledger.paid_twice() == []
    with pytest.raises(AssertionError, match=r"1 tasks were paid for again\n  \d+: IMAGE_SWAP of 'other_name.jpg'"):
        service.assert_nothing_paid_twice()


def test_its_state_may_be_read_while_it_is_busy(service: FakeService, media: MediaFolder) -> None:
    """From another thread, as often as one likes."""
    ended = threading.Event()

    async def work() -> None:
        async with FaceSwapClient(service.provider, service.auth) as client:
            media_asset, face = [await client.upload(media.make(name)) for name in ("a.png", "b.png")]
            for _ in range(40):
                await client.create_image_swap(media_asset, face)
            await service.settled()

    def run() -> None:
        try:
            asyncio.run(work())
        finally:
            ended.set()

    program = threading.Thread(target=run)
    program.start()
    seen = 0
    while not ended.wait(0.002):
        now = len(service.tasks)
        assert len(service.ledger.creations) >= now >= seen or not now
        seen = now
    program.join()
    service.assert_created(40)


def test_the_environment_of_a_local_service_knows_no_rate() -> None:
    with FakeService() as service:
        client = FaceSwapClient.from_env(service.environ)
        assert client.provider.requests_per_second is None
        assert client.provider.base_url == service.base_url


def test_it_says_that_it_does_not_run() -> None:
    for call in (FakeService.release_tasks, FakeService.wait_until_settled):
        with pytest.raises(RuntimeError, match="does not run"):
            call(FakeService())


def test_a_start_that_fails_leaves_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(_self: LocalService) -> LocalService:
        raise ConfigurationError("no room")

    monkeypatch.setattr(LocalService, "__aenter__", fail)
    with pytest.raises(ConfigurationError, match="no room"), FakeService():
        pass
    assert not [thread for thread in threading.enumerate() if thread.name == "facewarp-fake-service"]
