"""The command with URLs, run as a process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio.abc import Process

from facewarp_async import RemoteFile
from facewarp_async.cli.exits import UsageError
from facewarp_async.cli.resuming import state_folder, user_state_dir
from facewarp_async.server import Fault, FaultRule, LocalService
from facewarp_async.wire.requests import TASK_PATH
from tests.patience import seconds

if TYPE_CHECKING:
    from tests.remote.conftest import Bucket, Hanging

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

Picture = Callable[..., bytes]
_NOISE = ("Traceback", "Warning", "Unclosed", "never awaited", "Exception ignored", "never retrieved")


class Program:
    """Runs the command with one environment."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment

    async def __call__(self, *arguments: str | Path, code: int = 0) -> tuple[str, str]:
        """Run it to its end and return what it said, on stdout and stderr."""
        done = await anyio.run_process(self._command(arguments), check=False, env=self._environment)
        out, said = done.stdout.decode(), done.stderr.decode()
        assert done.returncode == code, said
        assert [line for line in said.splitlines() if any(word in line for word in _NOISE)] == []
        return out, said

    @asynccontextmanager
    async def started(self, *arguments: str | Path) -> AsyncIterator[Process]:
        command = self._command(arguments)
        streams: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        async with await anyio.open_process(command, env=self._environment, **streams) as process:
            try:
                yield process
            finally:
                if process.returncode is None:
                    process.kill()

    def _command(self, arguments: tuple[str | Path, ...]) -> list[str]:
        return [sys.executable, "-m", "facewarp_async", *(os.fspath(each) for each in arguments)]


@pytest.fixture
def environment(local: LocalService, tmp_path: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FACEWARP_", "FSSPEC_"))}
    return kept | {
        "FACEWARP_PROVIDER": "local",
        "FACEWARP_BASE_URL": local.provider.base_url,
        "FACEWARP_API_KEY": local.auth.key,
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "PYTHONWARNINGS": "always::ResourceWarning,always::RuntimeWarning",
    }


@pytest.fixture
def facewarp(bucket: Bucket, environment: dict[str, str]) -> Program:
    return Program(environment | bucket.environment)


@pytest.fixture
def face(tmp_path: Path, picture: Picture) -> Path:
    path = tmp_path / "me.png"
    path.write_bytes(picture("me"))
    return path


BATCH = ("batch", "s3://bucket/in", "-o", "s3://bucket/out", "--face")


async def test_a_batch_from_a_bucket_to_a_bucket(
    bucket: Bucket, facewarp: Program, face: Path, picture: Picture, tmp_path: Path
) -> None:
    for name in ("a b#?.png", "d/é%.png"):
        bucket.put(f"in/{name}", picture(name))
    out, said = await facewarp(*BATCH, face)
    assert out.splitlines() == ["s3://bucket/out/a b#?.png", "s3://bucket/out/d/é%.png"]
    assert bucket.files("out") == bucket.files("in")
    [journal] = (tmp_path / "state").rglob("batch.db")
    assert f"is remembered in {journal.parent}, on this machine" in said
    out, _ = await facewarp(*BATCH, face, "--json")
    assert [json.loads(line)["resumed"] for line in out.splitlines()] == [True, True]
    plan, _ = await facewarp(*BATCH, face, "--dry-run")
    assert "2 done before" in plan


async def test_what_is_remembered_may_lie_where_the_user_says(
    bucket: Bucket, facewarp: Program, face: Path, picture: Picture, tmp_path: Path
) -> None:
    bucket.put("in/a.png", picture())
    await facewarp(*BATCH, face, "--state", tmp_path / "mine")
    assert (tmp_path / "mine" / "batch.db").exists()
    assert not (tmp_path / "state").exists()
    _, said = await facewarp(*BATCH, face, "--state", "s3://bucket/state", code=2)
    assert "expected a folder on this machine" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("batch", "s3://bucket/in", "-o", "s3://bucket/in", "--face"), "is the folder of the media"),
        (("batch", "s3://bucket/in", "-o", "s3://bucket", "--face"), "holds the folder of the media"),
        (("batch", "s3://bucket/in", "-o", "gs://bucket/out", "--face"), "pip install gcsfs"),
        (("batch", "s3://bucket/in", "-o", "http://127.0.0.1:1/out", "--face"), "is only read"),
        (("swap", "s3://bucket/gone.png"), "s3://bucket/gone.png: does not exist"),
    ],
)
async def test_what_cannot_be_is_told_before_anything_is_sent(
    local: LocalService, facewarp: Program, face: Path, arguments: tuple[str, ...], said: str
) -> None:
    _, told = await facewarp(*arguments, face, code=2)
    assert said in told
    assert not local.ledger.calls


async def test_who_may_not_write_the_results_is_told_before_anything_is_paid_for(
    bucket: Bucket, local: LocalService, environment: dict[str, str], face: Path, picture: Picture
) -> None:
    bucket.put("in/a.png", picture())
    facewarp = Program(environment | bucket.environment | {"FSSPEC_S3_SECRET": "another-secret-key"})
    _, said = await facewarp("batch", bucket.folder / "in", "-o", "s3://bucket/out", "--face", face, code=2)
    assert "results cannot be written there" in said
    assert not local.ledger.calls


async def test_one_swap_and_its_faces(bucket: Bucket, facewarp: Program, face: Path, picture: Picture) -> None:
    bucket.put("team.png", picture())
    for expected in ("team-swapped.png", "team-swapped-2.png"):
        out, _ = await facewarp("swap", "s3://bucket/team.png", face, "-o", "s3://bucket/out")
        assert out == f"s3://bucket/out/{expected}\n"
    out, _ = await facewarp("swap", "s3://bucket/team.png", face, "-o", "s3://bucket/out/x.png")
    assert out == "s3://bucket/out/x.png\n"
    assert bucket.names("out") == {"team-swapped.png", "team-swapped-2.png", "x.png"}
    _, said = await facewarp("swap", "s3://bucket/team.png", face, "-o", "s3a://bucket/team.png", code=2)
    assert "would be written over" in said


async def test_a_batch_that_is_killed_again_and_again_ends_whole_and_pays_once(
    bucket: Bucket, local: LocalService, facewarp: Program, face: Path, picture: Picture
) -> None:
    """The sizes make some results several parts of an object."""
    sizes = {index: 11_000_000 if index % 8 == 0 else 1000 for index in range(24)}
    bucket.fill({f"in/{index:02}.png": picture(str(index), size) for index, size in sizes.items()})
    looked_at = set[str]()

    def note(target: str) -> bool:
        """Who asks for a task has written down that it was created."""
        looked_at.add(target)
        return False

    local.faults.add(FaultRule(Fault.SLOW, TASK_PATH, matching=note))
    local.faults.add(FaultRule(Fault.SLOW, "get", delay_s=0.3))
    for number in (2, 9, 16):
        async with facewarp.started(*BATCH, face, "--downloads", "2") as process:
            with anyio.fail_after(seconds(60)):
                while len(bucket.names("out")) < number or len(looked_at) < 24:  # noqa: ASYNC110
                    await anyio.sleep(0.02)  # another process: there is no event
            process.kill()
            await process.wait()
    local.faults.clear()
    out, _ = await facewarp(*BATCH, face, "--json")
    assert [json.loads(line)["status"] for line in out.splitlines()] == ["completed"] * 24
    done = {name: body for name, body in bucket.files("out").items() if not name.startswith(".")}  # rclone's own
    assert done == bucket.files("in")
    assert len(local.ledger.creations) == 24


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_an_interrupted_batch_ends_though_the_store_hangs(
    hanging: Hanging, environment: dict[str, str], face: Path, number: signal.Signals
) -> None:
    environment |= {"FSSPEC_S3_ENDPOINT_URL": f"http://127.0.0.1:{hanging.port}"}
    environment |= {"FSSPEC_S3_KEY": "k", "FSSPEC_S3_SECRET": "s"}
    arguments = ("batch", "s3://bucket/in", "-o", face.with_name("out"), "--face", face)
    async with Program(environment).started(*arguments) as process:
        with anyio.fail_after(seconds(30)):
            await hanging.asked.wait()
        process.send_signal(number)
        with anyio.fail_after(seconds(5)):  # the driver itself would hold it up for more than a minute
            assert await process.wait() == 130


def test_each_output_has_a_folder_of_its_own_to_be_remembered_in(tmp_path: Path) -> None:
    environ = {"XDG_STATE_HOME": str(tmp_path)}

    def folder(url: str) -> Path:
        return state_folder(RemoteFile(url), None, environ)

    assert folder("s3://b/out").parent == tmp_path / "facewarp-async"
    assert folder("s3://b/out") == folder("s3://b/out/")
    names = {
        folder(url).name for url in ("s3://b/out", "gs://b/out", "s3://b/o ut", "s3://b/o-ut", "s3://b/" + "x" * 300)
    }
    assert len(names) == 5
    assert all(len(name) < 80 and "/" not in name for name in names)
    assert state_folder(tmp_path, None, {}) == tmp_path / ".facewarp"
    assert state_folder(RemoteFile("s3://b"), tmp_path, {}) == tmp_path


def test_a_user_without_a_home_is_asked_for_a_folder() -> None:
    with pytest.raises(UsageError, match="--state"):
        state_folder(RemoteFile("s3://b/out"), None, {"HOME": "nowhere"})


@pytest.mark.parametrize(
    ("platform", "environ", "folder"),
    [
        ("linux", {"HOME": "/home/me"}, "/home/me/.local/state/facewarp-async"),
        ("linux", {"HOME": "/home/me", "XDG_STATE_HOME": "/state"}, "/state/facewarp-async"),
        ("linux", {"HOME": "/home/me", "XDG_STATE_HOME": "state"}, "/home/me/.local/state/facewarp-async"),
        ("darwin", {"HOME": "/Users/me"}, "/Users/me/Library/Application Support/facewarp-async"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/facewarp-async"),
    ],
)
def test_programs_keep_their_state_where_the_system_has_it(platform: str, environ: dict[str, str], folder: str) -> None:
    assert user_state_dir(environ, platform=platform) == Path(folder)
