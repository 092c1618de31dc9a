"""``facewarp demo``, with the real engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


async def test_the_demo_swaps_real_faces_and_can_be_run_again(run: Any, tmp_path: Path) -> None:
    for _ in range(2):
        ended = await run(
            "demo", "-o", "tried", env={"FACEWARP_API_KEY": "never to be used", "FACEWARP_PROVIDER": "vidnoz"}
        )
        assert (ended.code, ended.noise) == (0, [])
        assert ended.lines == ["tried/results", "tried/contact-sheet.jpg", "tried/report.html"]
        _check(tmp_path / "tried", ended.err)


async def test_a_disk_that_is_full_is_named_and_ends_the_demo(run: Any, tmp_path: Path) -> None:
    photo = tmp_path / "tried" / "photos" / "01-admiral.jpg"
    photo.parent.mkdir(parents=True)
    photo.symlink_to("/dev/full")
    ended = await run("demo", "-o", "tried")
    assert (ended.code, ended.out, ended.noise) == (3, b"", [])
    expected = "facewarp: tried: cannot be written: No space left on device. Free some space and run it again"
    assert ended.err.splitlines()[-1] == expected


def _check(folder: Path, errors: str) -> None:
    assert {path.name for path in folder.iterdir()} == {
        "contact-sheet.jpg",
        "face-collins.png",
        "face-hopper.png",
        "photos",
        "report.html",
        "results",
    }
    photos = {path.name for path in (folder / "photos").iterdir()}
    results = {path.name for path in (folder / "results").iterdir()}
    assert len(results) >= 16
    assert photos - results == {"19-no-face.jpg", "20-broken.jpg"}
    assert results <= photos
    for name in results:
        before, after = _read(folder / "photos" / name), _read(folder / "results" / name)
        assert before.shape == after.shape
        assert _changed(before, after) > 0.005, name  # a face of it is another
    assert min(_read(folder / "contact-sheet.jpg").shape[:2]) > 600
    report = (folder / "report.html").read_text(encoding="utf-8")
    assert report.count('<li class="card"') == len(photos)
    assert report.count("data:image/jpeg") == len(photos) + len(results) - 1  # all that can be read, before and after
    failures = [line for line in errors.splitlines() if line.startswith("failed, as it is meant to: ")]
    assert len(failures) == 2
    assert "code 602" in failures[0]


def _read(path: Path) -> Any:
    image = cv2.imread(str(path))
    assert image is not None, path
    return image


def _changed(before: Any, after: Any) -> float:
    """Return the share of pixels that differ by more than compression makes them."""
    return float((np.abs(before.astype(int) - after).max(axis=2) > 40).mean())
