"""A program whose working folder was removed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from facewarp_async.client import FaceSwapClient
from facewarp_async.journal import Journal
from facewarp_async.models import ImageSwap
from facewarp_async.pipeline import SwapPipeline

pytestmark = pytest.mark.anyio


async def test_a_batch_of_absolute_paths_needs_no_working_folder(
    client: FaceSwapClient, make_file: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    media, face, journal = make_file("in/a.png"), make_file("me.png"), tmp_path / "batch.db"
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    async with SwapPipeline(client, output_dir=tmp_path / "out", journal=journal) as pipeline:
        report = await pipeline.collect([ImageSwap(media, face), ImageSwap("relative.png", face)])
    assert (report.completed, report.failed) == (1, 1)
    monkeypatch.chdir(tmp_path)
    async with Journal(journal, realm="") as opened:
        assert {record.source for record in await opened.records()} == {str(media), "relative.png"}
