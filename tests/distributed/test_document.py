"""``docs/several-machines.md``: its commands and its program do what the page says, with this machine for all."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import anyio.to_thread
import pytest

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

PAGE = Path(__file__).parents[2] / "docs" / "several-machines.md"
BIN = Path(sys.executable).parent


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)


@pytest.fixture
def here(tmp_path: Path) -> Callable[[str], str]:
    """Have a text of the page mean this machine, a free port and a folder of the test's."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])

    def put(text: str) -> str:
        text = text.replace("10.0.0.1", "127.0.0.1").replace("8786", port).replace("/var/lib", str(tmp_path / "lib"))
        text = text.replace("/shared", str(tmp_path)).replace(
            "--host tls://127.0.0.1", f"--host tls://127.0.0.1:{port}"
        )
        return text.replace("--host 127.0.0.1", f"--host 127.0.0.1 --port {port}")

    return put


def start(line: str, environ: dict[str, str], folder: Path) -> subprocess.Popen[bytes]:
    words = shlex.split(line, comments=True)
    return subprocess.Popen(words, env=environ, cwd=folder, stderr=subprocess.DEVNULL)


@pytest.mark.parametrize("with_tls", [False, True])
async def test_two_commands_make_a_cluster_and_a_third_uses_it(
    with_tls: bool, clusters: ModuleType, certificates: Any, here: Callable[[str], str], tmp_path: Path
) -> None:
    pair, command = blocks("bash")[2:] if with_tls else blocks("bash")[:2]
    uses = [["bash", "-ec", here(command)]]
    if not with_tls:
        uses += [[sys.executable, "-c", here(program)] for program in blocks("python")]
    async with clusters.open_account(tmp_path, jobs=3) as account:
        (tmp_path / "media").rename(tmp_path / "holiday")
        (tmp_path / "holiday" / "face").rename(tmp_path / "face")
        (tmp_path / "face" / "face.png").rename(tmp_path / "me.jpg")
        (tmp_path / "ca.pem").symlink_to(certificates.authority)
        (tmp_path / "own.pem").symlink_to(certificates.own)
        environ = os.environ | {
            "FACEWARP_API_KEY": account.service.auth.key,
            "FACEWARP_PROVIDER": "local",
            "FACEWARP_BASE_URL": account.service.provider.base_url,
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        }
        started = [start(here(line), environ, tmp_path) for line in pair.splitlines()]
        try:
            for words in uses:
                done = await anyio.run_process(words, check=False, env=environ, cwd=tmp_path)
                assert done.returncode == 0, done.stderr.decode()
                assert done.stdout.decode().count(".png") >= 3
        finally:
            for process in started:
                process.terminate()
                await anyio.to_thread.run_sync(process.wait)
        assert sorted(path.name for path in (tmp_path / "swapped").glob("*.png")) == [f"000{n}.png" for n in range(3)]
        assert (tmp_path / "swapped" / ".facewarp" / "batch.db").exists()
        assert with_tls or (tmp_path / "lib" / "facewarp" / "holiday.db").exists()
