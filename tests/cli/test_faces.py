"""``facewarp faces``, ``facewarp multi`` and ``facewarp task``."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from facewarp_async.client import FaceSwapClient
from facewarp_async.errors import NoFaceError
from facewarp_async.models import TaskKind
from facewarp_async.server import CREATES, Fault, FaultRule, InstantRunner, LocalService
from tests.cli.reading import CREATED, read_until

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

MakeFile = Callable[..., Path]
Settings = Callable[[LocalService], dict[str, str]]


async def test_faces_are_listed_with_their_points_and_saved(
    run: Any, here: dict[str, str], make_file: MakeFile, tmp_path: Path
) -> None:
    media = make_file("group photo.png")
    ended = await run("faces", media, "-o", "crops", env=here)
    assert (ended.code, ended.noise) == (0, [])
    rows = [line.split("\t") for line in ended.lines]
    assert [row[:2] for row in rows] == [[str(index), f"crops/group photo-face-{index}.png"] for index in range(2)]
    assert all(len(row[2].split()) == 5 for row in rows)
    assert (tmp_path / "crops/group photo-face-0.png").read_bytes() == media.read_bytes()
    again = await run("faces", media, "-o", "crops", "--json", env=here)
    assert [record["path"] for record in again.records] == [
        f"crops/group photo-face-{index}-2.png" for index in range(2)
    ]
    assert [len(record["kps"]) for record in again.records] == [5, 5]


async def test_no_faces_are_told_and_are_no_failure(run: Any, settings: Settings, make_file: MakeFile) -> None:
    async with LocalService(runner=InstantRunner(faces=0)) as service:
        ended = await run("faces", make_file("a.png"), env=settings(service))
    assert (ended.code, ended.out) == (0, b"")
    assert "no faces were found" in ended.err


async def test_several_faces_are_replaced(
    run: Any, here: dict[str, str], local: LocalService, make_file: MakeFile, tmp_path: Path
) -> None:
    media = make_file("group.png")
    make_file("me.png"), make_file("you.png")
    ended = await run("multi", "group.png", "--face", "0=me.png", "--face", "1=you.png", env=here)
    assert (ended.code, ended.lines, ended.noise) == (0, ["group-swapped.png"], [])
    assert (tmp_path / "group-swapped.png").read_bytes() == media.read_bytes()
    assert [creation.kind for creation in local.ledger.creations] == [
        TaskKind.FACE_DETECTION,
        TaskKind.MULTI_IMAGE_SWAP,
    ]
    missing = await run("multi", "group.png", "--face", "7=me.png", env=here)
    assert missing.code == 1
    assert "has no face 7; it has 2, counted from 0" in missing.err


async def test_a_task_is_looked_at_and_its_result_fetched(
    run: Any, here: dict[str, str], client: FaceSwapClient, local: LocalService, make_file: MakeFile, tmp_path: Path
) -> None:
    media = make_file("a.png")
    task_id = (await client.swap_image(media, make_file("me.png"))).task_id
    told = await run("task", str(task_id), env=here)
    assert (told.code, told.lines) == (0, [f"task {task_id}: finished, image of 640 x 480"])
    fetched = await run("task", str(task_id), "-o", "again", env=here)
    assert (fetched.code, fetched.lines) == (0, [f"again/task-{task_id}.png"])
    assert (tmp_path / fetched.lines[0]).read_bytes() == media.read_bytes()
    assert len(local.ledger.creations) == 1


async def test_a_task_that_failed_is_an_error(
    run: Any, here: dict[str, str], client: FaceSwapClient, local: LocalService, make_file: MakeFile
) -> None:
    local.faults.add(FaultRule(Fault.TASK_FAILS, CREATES, code=602))
    with pytest.raises(NoFaceError) as raised:
        await client.swap_image(make_file("a.png"), make_file("me.png"))
    failed = await run("task", str(raised.value.task_id), "--json", env=here)
    assert (failed.code, failed.out) == (1, b"")
    assert "code 602" in failed.err


async def test_a_task_as_an_object(run: Any, here: dict[str, str], client: FaceSwapClient, make_file: MakeFile) -> None:
    task_id = (await client.detect_faces(make_file("a.png"))).task_id
    ended = await run("task", str(task_id), "--json", env=here)
    assert ended.records == [{"id": task_id, "status": "finished", "message": "", "kind": "faces"}]


async def test_a_swap_that_is_interrupted_names_its_task_which_can_be_fetched(
    run: Any, start: Any, settings: Settings, make_file: MakeFile, read_errors: Any
) -> None:
    media, face = make_file("a.png"), make_file("me.png")
    begun = anyio.Event()

    def duration(_kind: TaskKind) -> float:
        begun.set()
        return 1.0

    async with LocalService(runner=InstantRunner(duration_s=duration)) as service:
        environ = settings(service) | {"FACEWARP_PROVIDER": "mine"}
        async with start(
            "swap", media, face, "--rps", "0", "--verbose", env=environ, stderr=subprocess.PIPE
        ) as process:
            await read_until(process, CREATED)
            process.send_signal(signal.SIGINT)
            errors = await read_errors(process)
            assert await process.wait() == 130
        task_id = service.ledger.creations[0].task_id
        assert f"facewarp task {task_id} -o FILE fetches it" in errors
        ended = await run("task", str(task_id), "-o", "late.png", "--rps", "0", env=environ)
        assert (ended.code, ended.lines) == (0, ["late.png"])
