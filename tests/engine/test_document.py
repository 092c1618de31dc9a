"""What docs/engine.md says of limits and bounds is what the code has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from facewarp_async.engine import files, finder, media, results, swap, track
from facewarp_async.engine.clips import base

ROOT = Path(__file__).parents[2]
DOCUMENT = " ".join((ROOT / "docs" / "engine.md").read_text().split())


@pytest.mark.parametrize(
    "said",
    [
        f"{files.MAX_FILE_BYTES // 1024**2} MB",
        f"{media.MAX_PICTURE_PIXELS // 1_000_000} million pixels",
        f"{base.MAX_CLIP_SECONDS:.0f} s, {base.MAX_CLIP_FRAMES} frames, 3840x2160 pixels a frame",
        f"{finder.MAX_FACES}; further ones",
        f"at no more than {swap.FAST.work} pixels of diagonal",
        f"up to {swap.HD.work},",
        f"JPEG {swap.HD.jpeg_quality} for {swap.FAST.jpeg_quality}",
        {3.0: "within three seconds"}[track.MEMORY_S],
        results.SYNTHETIC,
    ],
)
def test_limits_are_those_of_the_code(said: str) -> None:
    assert said in DOCUMENT
    assert base.MAX_CLIP_PIXELS == 3840 * 2160


def test_its_commands_and_files_exist() -> None:
    scripts = re.findall(r"python (\S+\.py)", DOCUMENT)
    tests = re.findall(r"`(?:tests/engine/)?(test_\w+\.py)`", DOCUMENT)
    assert scripts
    assert tests
    for path in [*scripts, *(f"tests/engine/{name}" for name in tests)]:
        assert (ROOT / path).is_file(), path


def test_readme_leads_to_it() -> None:
    assert "(docs/engine.md)" in (ROOT / "README.md").read_text()
