"""The program that runs the suite against Ceph: nothing that it starts goes on without it, whether or not Ceph is here.

In Ceph's place stand scripts that do nothing, the gateway's among them: it never answers.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from attrs import frozen

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("setpriv") is None, reason="the program is for Linux"),
]

PROGRAM = Path(__file__).with_name("ceph.py")
DAEMON = """#!/bin/sh
case "$*" in *--mkfs*) exit 0;; esac
echo $$ >> "$STARTED"
exec sleep 300
"""
COMMAND = """#!/bin/sh
"""
FAILING = """#!/bin/sh
while [ "$(wc -l < "$STARTED")" -lt 2 ]; do sleep 0.02; done
echo the reason
exit 5
"""


@frozen
class Stage:
    """Ceph's commands, and what they leave."""

    folder: Path

    def put(self, name: str, text: str) -> None:
        path = self.folder / "bin" / name
        path.write_text(text)
        path.chmod(0o755)

    def start(self) -> subprocess.Popen[str]:
        environ = {
            **os.environ,
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "STARTED": str(self.folder / "started"),
            "TMPDIR": str(self.folder / "tmp"),
        }
        return subprocess.Popen([sys.executable, str(PROGRAM)], env=environ, stderr=subprocess.PIPE, text=True)

    def started(self) -> list[int]:
        started = self.folder / "started"
        return [int(line) for line in started.read_text().splitlines()] if started.exists() else []

    def running(self) -> list[int]:
        return [pid for pid in self.started() if _runs(pid)]


def _runs(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    stage = Stage(tmp_path)
    (tmp_path / "bin").mkdir()
    (tmp_path / "tmp").mkdir()
    for name in ("ceph-mon", "ceph-osd", "radosgw"):
        stage.put(name, DAEMON)
    for name in ("ceph", "monmaptool", "radosgw-admin"):
        stage.put(name, COMMAND)
    return stage


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_everything(stage: Stage, number: signal.Signals) -> None:
    with stage.start() as program:
        ends_at = time.monotonic() + 30
        while len(stage.started()) < 3:
            assert program.poll() is None
            assert time.monotonic() < ends_at
            time.sleep(0.02)  # other processes: there is no event
        assert len(stage.running()) == 3
        program.send_signal(number)
        program.wait(30)
        while stage.running() and number == signal.SIGKILL:
            assert time.monotonic() < ends_at
            time.sleep(0.02)
    assert stage.running() == []
    if number != signal.SIGKILL:
        assert program.returncode == 128 + number
        assert list((stage.folder / "tmp").iterdir()) == []


def test_a_failure_ends_everything_and_is_told(stage: Stage) -> None:
    stage.put("radosgw-admin", FAILING)
    with stage.start() as program:
        _, told = program.communicate(timeout=30)
    assert program.returncode == 1
    assert "radosgw-admin ended with code 5" in told
    assert "the reason" in told
    assert len(stage.started()) == 2
    assert stage.running() == []
    assert list((stage.folder / "tmp").iterdir()) == []


def test_what_is_not_installed_is_told_with_the_command_that_installs_it(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(PROGRAM)], env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "apt-get install --no-install-recommends ceph-base ceph-common ceph-mon ceph-osd radosgw" in done.stderr
