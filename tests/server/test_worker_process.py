"""What a worker process says and when it ends, spoken to over its pipes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest

from facewarp_async.models import TaskKind
from facewarp_async.server.frames import pack, read_frame
from facewarp_async.server.work import MadeFaces, Work, dump_made, dump_work

pytestmark = pytest.mark.slow

_TARGET = """
import sys, time
from facewarp_async.server.work import MadeFaces, WorkError

def obey(work):
    match work.media.name:
        case "talk":
            print("a library says something")
            sys.stdout.flush()
        case "refuse":
            raise WorkError(602, "no face")
        case "break":
            raise KeyError("why")
        case "dawdle":
            time.sleep(600)
    return MadeFaces(())
"""
_BOOT = "import sys; from facewarp_async.server.worker import main; main(sys.argv[1])"
MADE = {"made": dump_made(MadeFaces(()))}


@contextmanager
def worker(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    (folder / "target_of_worker.py").write_text(_TARGET)
    path = os.pathsep.join([str(folder), *filter(None, sys.path)])
    command = [sys.executable, "-c", _BOOT, "target_of_worker:obey"]
    pipe = subprocess.PIPE
    environ = os.environ | {"PYTHONPATH": path}
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=environ) as process:
        try:
            yield process
        finally:
            process.kill()


def give(process: subprocess.Popen[bytes], what: str) -> None:
    assert process.stdin is not None
    process.stdin.write(pack(dump_work(Work(kind=TaskKind.FACE_DETECTION, media=Path(what), folder=Path()))))
    process.stdin.flush()


def answer(process: subprocess.Popen[bytes]) -> Any:
    assert process.stdout is not None
    return read_frame(cast("BinaryIO", process.stdout))


def test_work_is_begun_and_answered_whatever_becomes_of_it_and_the_end_of_the_input_is_its_end(tmp_path: Path) -> None:
    with worker(tmp_path) as process:
        for what in ("do", "talk", "refuse", "break", "do"):
            give(process, what)
        answers = [answer(process) for _ in range(10)]
        assert answers[::2] == ["begun"] * 5
        made, talked, refused, broken, again = answers[1::2]
        assert made == talked == again == MADE
        assert refused == {"code": 602, "message": "no face"}
        assert (broken["code"], broken["message"]) == (601, "Task exception occurred: KeyError")
        assert "KeyError: 'why'" in broken["traceback"]
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0
        assert b"a library says something" in errors, "not among the answers"


@pytest.mark.parametrize("rest", [b"", b"\0\0", pack({})[:-1]], ids=["all said", "half a header", "half a frame"])
def test_it_does_not_outlive_who_started_it_whatever_it_does(tmp_path: Path, rest: bytes) -> None:
    with worker(tmp_path) as process:
        give(process, "dawdle")
        assert answer(process) == "begun"
        process.communicate(rest, timeout=60)
        assert process.returncode == 0
