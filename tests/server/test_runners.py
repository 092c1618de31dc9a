"""Work in processes of its own: they can be killed, die, and hang, and the service goes on."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from subprocess import PIPE
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import pytest

from facewarp_async.errors import MissingExtraError
from facewarp_async.models import TaskKind
from facewarp_async.server import EngineRunner, LocalService, ProcessRunner, Work, WorkError
from tests.patience import seconds

if TYPE_CHECKING:
    from tests.server.conftest import Harness, Serve

pytestmark = pytest.mark.anyio

_TARGETS = '''
import ctypes, os, shutil, time
from pathlib import Path
from facewarp_async.server import MadeImage, MadePicture, WorkError

def obey(work):
    """Do what the media says behind its first line; the result is the media itself."""
    name, _, value = work.media.read_bytes().partition(b"|")[2].decode().partition(" ")
    if name == "die":
        os._exit(7)
    if name == "crash":
        ctypes.string_at(0)
    if name in {"hang", "tell"}:
        Path(value).write_text(str(os.getpid()))
    if name == "hang":
        time.sleep(600)
    if name == "fail":
        raise WorkError(602, "no face here")
    if name == "bug":
        raise ValueError("secret detail")
    if name == "print":
        print("noise on standard output", flush=True)
        os.write(1, b"more noise")
    copies = [work.folder / name for name in ("out.png", "small.png")]
    for copy in copies:
        shutil.copyfile(work.media, copy)
    return MadeImage(image=MadePicture(copies[0], 1, 2), thumbnail=MadePicture(copies[1], 3, 4))
'''


def order(text: str) -> bytes:
    return b"\x89PNG\r\n\x1a\n|" + text.encode()


async def hear(pipe: Path) -> int:
    """Wait for a worker to tell its process id through a named pipe."""
    return int(await anyio.to_thread.run_sync(pipe.read_text))


async def gone(pid: int) -> None:
    """Wait until a process has ended."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        with anyio.fail_after(5):
            await anyio.wait_readable(handle)
    finally:
        os.close(handle)


@pytest.fixture
def targets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "targets"
    folder.mkdir()
    (folder / "worker_targets.py").write_text(_TARGETS)
    monkeypatch.syspath_prepend(folder)
    return folder


@pytest.fixture
def runner(targets: Path) -> ProcessRunner:
    return ProcessRunner("worker_targets:obey")


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


async def _code(harness: Harness, text: str) -> int:
    task = await harness.swap(order(text))
    await harness.service.settled()
    return (await harness.detail(task)).code


@pytest.mark.slow
async def test_works_in_one_process_again_and_again(serve: Serve, runner: ProcessRunner, pipe: Path) -> None:
    """Work is done in another process, which is used again; its results arrive whole."""
    async with serve(runner=runner, workers=1) as harness:
        pids = set()
        for _ in range(3):
            task = await harness.swap(order(f"tell {pipe}"))
            pids.add(await hear(pipe))
            fields = await harness.finish(task)
            assert (fields["width"], fields["thumbnail_height"]) == (1, 4)
            assert (await harness.request("GET", fields["merge_url"])).body == order(f"tell {pipe}")
        assert len(pids) == 1
        assert os.getpid() not in pids
    for pid in pids:
        await gone(pid)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["die", "crash"])
async def test_a_dead_worker_fails_its_task_and_is_replaced(
    serve: Serve, runner: ProcessRunner, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    """When a worker dies its task is 601, the log says so, and the next task is done by another."""
    async with serve(runner=runner, workers=1) as harness:
        assert await _code(harness, way) == 601
        assert "a worker process died" in caplog.text
        assert await _code(harness, "copy") == 200


@pytest.mark.slow
async def test_a_worker_killed_while_idle_is_replaced(serve: Serve, runner: ProcessRunner, pipe: Path) -> None:
    """A worker that was killed between two tasks costs neither."""
    async with serve(runner=runner, workers=1) as harness:
        task = await harness.swap(order(f"tell {pipe}"))
        pid = await hear(pipe)
        await harness.finish(task)
        os.kill(pid, signal.SIGKILL)
        assert await _code(harness, "copy") == 200
        await gone(pid)


@pytest.mark.slow
async def test_failures_bugs_and_noise(serve: Serve, runner: ProcessRunner, caplog: pytest.LogCaptureFixture) -> None:
    """A failure has its code, a bug is 601 without its text, and what a library prints disturbs nothing."""
    async with serve(runner=runner, workers=1) as harness:
        assert await _code(harness, "fail") == 602
        task = await harness.swap(order("bug"))
        await harness.service.settled()
        reply = await harness.detail(task)
        assert reply.code == 601
        assert "secret" not in reply.message
        assert "secret detail" in caplog.text
        assert await _code(harness, "print") == 200
        assert await _code(harness, "copy") == 200


@pytest.mark.slow
async def test_stop_kills_busy_workers(serve: Serve, runner: ProcessRunner, tmp_path: Path) -> None:
    """The end of the service does not wait for work: the workers are gone within a second."""
    pipes = [tmp_path / f"pipe{index}" for index in range(2)]
    async with serve(runner=runner, workers=2) as harness:
        for pipe in pipes:
            await anyio.to_thread.run_sync(os.mkfifo, pipe)
            await harness.swap(order(f"hang {pipe}"))
        pids = [await hear(pipe) for pipe in pipes]
        began = anyio.current_time()
    assert anyio.current_time() - began < seconds(1)
    for pid in pids:
        await gone(pid)


@pytest.mark.slow
async def test_workers_end_with_a_service_that_is_killed(targets: Path, pipe: Path) -> None:
    """kill -9 of the service leaves no worker behind, not even a busy one."""
    script = f"""
import asyncio, sys
sys.path.insert(0, {str(targets)!r})
from pathlib import Path
from facewarp_async.models import TaskKind
from facewarp_async.server import *
async def main():
    runner = ProcessRunner("worker_targets:obey")
    async with runner.open():
        await runner.run(Work(kind=TaskKind.FACE_DETECTION, media=Path({str(targets / "order")!r}), folder=Path(".")))
asyncio.run(main())
"""
    await anyio.Path(targets / "order").write_bytes(order(f"hang {pipe}"))
    async with await anyio.open_process([sys.executable, "-c", script], stdout=PIPE) as service:
        pid = await hear(pipe)
        service.kill()
        await service.wait()
    await gone(pid)


@pytest.mark.slow
async def test_cancelling_kills_the_worker(runner: ProcessRunner, pipe: Path, tmp_path: Path) -> None:
    """A cancelled call takes its process with it, and the next gets a new one."""
    media = tmp_path / "media"
    work = Work(kind=TaskKind.IMAGE_SWAP, media=media, folder=tmp_path)
    await anyio.Path(media).write_bytes(order(f"hang {pipe}"))
    async with runner.open():
        async with anyio.create_task_group() as group:
            group.start_soon(runner.run, work)
            pid = await hear(pipe)
            group.cancel_scope.cancel()
        await gone(pid)
        await anyio.Path(media).write_bytes(order("fail"))
        with pytest.raises(WorkError, match="no face here"):
            await runner.run(work)


async def test_a_runner_must_be_open(runner: ProcessRunner, tmp_path: Path) -> None:
    """Before and after its time a runner starts no process."""
    with pytest.raises(RuntimeError, match="not open"):
        await runner.run(Work(kind=TaskKind.IMAGE_SWAP, media=tmp_path, folder=tmp_path))


async def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the engine's packages the service does not start, and says what to install."""
    monkeypatch.setattr("facewarp_async.server.runners._ENGINE_MODULES", ("json", "no_such_module"))
    with pytest.raises(MissingExtraError, match=r"no_such_module.*facewarp-async\[local\]"):
        async with LocalService(runner=EngineRunner()):
            pass


async def test_the_engine_is_imported_by_workers_alone() -> None:
    """Neither the import of the service nor its start loads OpenCV."""
    script = (
        "import asyncio, sys\n"
        "from facewarp_async.server import LocalService\n"
        "async def main():\n"
        "    async with LocalService(): pass\n"
        "asyncio.run(main())\n"
        "print(sorted({'cv2', 'av', 'numpy'} & set(sys.modules)))\n"
    )
    done = await anyio.run_process([sys.executable, "-W", "error", "-c", script])
    assert (done.stdout.decode().strip(), done.stderr) == ("[]", b"")
