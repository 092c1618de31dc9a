"""``facewarp batch --dask``."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import pytest

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


async def run(*arguments: object, key: str | None = None, folder: Path) -> tuple[int, list[dict[str, Any]], str]:
    """Run ``facewarp batch`` and return its exit code, what it told of files, and what it wrote to stderr."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("FACEWARP_")}
    done = await anyio.run_process(
        [sys.executable, "-m", "facewarp_async", "batch", *map(str, arguments)],
        check=False,
        cwd=folder,
        env=environ | {"HOME": str(folder)} | ({} if key is None else {"FACEWARP_API_KEY": key}),
    )
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr.decode()


def batch_of(account: Any, cluster: Any) -> list[str]:
    """Return what asks for an account's batch on a cluster."""
    return [
        "media", "--face", "media/face/face.png", "--out", "out", "--no-recursive", "--json", "--rps", "0",
        "--base-url", account.service.provider.base_url, "--dask", cluster.address,
    ]  # fmt: skip


async def test_the_command_has_a_cluster_do_a_folder_and_goes_on_where_it_ended(
    clusters: ModuleType, cluster: Any, tmp_path: Path
) -> None:
    async with clusters.open_account(tmp_path, jobs=12) as account, cluster.client(1):
        given = batch_of(account, cluster)
        for resumed in (False, True):
            code, told, errors = await run(*given, key=account.service.auth.key, folder=tmp_path)
            assert code == 0, errors
            assert [line["path"] for line in told] == [f"out/{number:04}.png" for number in range(12)]
            assert {line["resumed"] for line in told} == {resumed}
            assert account.service.auth.key not in errors
        for number in range(12):
            name = f"{number:04}.png"
            assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "media" / name).read_bytes()
        assert (tmp_path / "out" / ".facewarp" / "batch.db").exists()
        assert account.runner.media.total() == 12
        assert account.service.auth.key not in cluster.logs()


async def test_all_machines_together_create_no_more_than_is_allowed_and_the_report_and_the_plan_know_of_it(
    clusters: ModuleType, cluster: Any, tmp_path: Path
) -> None:
    """The journal lies where the scheduler is: `--report` and `--dry-run` ask it for a copy."""
    async with clusters.open_account(tmp_path, jobs=12) as account, cluster.client(2):
        given, key = batch_of(account, cluster), account.service.auth.key
        limited = [*given, "--state", "kept/there", "--max-credits", "5"]
        code, told, errors = await run(*limited, "--report", "page.html", key=key, folder=tmp_path)
        assert code == 3, errors
        assert "--max-credits 5 allows no more tasks in this run" in errors
        assert [line["status"] for line in told].count("completed") == account.runner.media.total() == 5
        page = (tmp_path / "page.html").read_text()
        assert "--max-credits" in page
        assert "0000.png" in page
        code, (plan,), errors = await run(*limited, "--dry-run", key=key, folder=tmp_path)
        assert code == 0, errors
        assert (plan["done_before"], plan["tasks"], plan["tasks_left_by_limit"]) == (5, 5, 2)
        assert [path.name for path in (tmp_path / "kept" / "there").iterdir()] == ["batch.db"]
        assert account.runner.media.total() == 5


@pytest.mark.parametrize(
    ("options", "key", "why"),
    [
        ([], None, "other machines do not reach a service inside this command"),
        (["--no-journal"], "key", "several machines would pay twice"),
        ([], "key", "no scheduler answers there"),
    ],
)
async def test_what_a_cluster_cannot_do_is_said_before_anything_begins(
    options: list[str], key: str | None, why: str, tmp_path: Path
) -> None:
    (tmp_path / "media").mkdir()
    (tmp_path / "face.png").write_bytes(b"\x89PNG\r\n\x1a\nface")
    given = ["media", "--face", "face.png", "--out", "out", "--dask", "tcp://127.0.0.1:9", *options]
    code, told, errors = await run(*given, key=key, folder=tmp_path)
    assert (code, told) == (3 if "scheduler" in why else 2, [])
    assert why in " ".join(errors.split())
