"""What ``docs/files-elsewhere.md`` shows does what it says."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest

from facewarp_async.server import LocalService
from tests.patience import seconds

if TYPE_CHECKING:
    from tests.remote.conftest import Bucket, Site

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

TEXT = (Path(__file__).parents[2] / "docs" / "files-elsewhere.md").read_text()


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


async def test_the_blocks_do_what_the_page_says(
    bucket: Bucket, site: Site, local: LocalService, picture: Callable[..., bytes], tmp_path: Path
) -> None:
    (tmp_path / "me.jpg").write_bytes(picture("me"))
    environment = os.environ | bucket.environment | {"XDG_STATE_HOME": str(tmp_path)}
    environment |= {"FACEWARP_PROVIDER": "local", "FACEWARP_BASE_URL": local.provider.base_url}
    environment |= {"FACEWARP_API_KEY": local.auth.key}
    for name in ("team.jpg", "other.png"):
        bucket.put(f"in/{name}", picture(name))
    page = site.put("/team.jpg", picture("page"))
    [shell], [code] = _blocks("bash"), _blocks("python")
    _, *lines = shell.replace("https://example.org/team.jpg", page.url).splitlines()
    assert [line.split()[0] for line in lines] == ["facewarp"] * 2
    commands = [[sys.executable, "-m", "facewarp_async", *shlex.split(line)[1:]] for line in lines]
    program = [sys.executable, "-c", f"{code}\nimport asyncio\nasyncio.run(main())"]
    for command, made in (
        (commands[0], {"team.png": picture("team.jpg"), "other.png": picture("other.png")}),
        (commands[1], {"team.jpg": picture("page")}),
        (
            program,
            {"team.jpg": picture("team.jpg"), "team.png": picture("team.jpg"), "other.png": picture("other.png")},
        ),
    ):
        with anyio.fail_after(seconds(60)):
            await anyio.run_process(command, cwd=tmp_path, env=environment, stderr=None)
        assert made.items() <= bucket.files("out").items()
