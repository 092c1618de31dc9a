"""Animated WebP files are clips too: put together from their parts, as they are shown."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING

import av
import cv2
import numpy as np
import pytest

from benchmarks.engine import copy_clip
from facewarp_async.engine.arrays import Pixels
from facewarp_async.engine.clips import base, open_clip
from tests.engine.decoded import code_of, difference, pictures, read

if TYPE_CHECKING:
    from .conftest import Save


def animation(path: Path, frames: list[Pixels], durations: list[int]) -> Path:
    animated = cv2.Animation()
    opaque = np.full(frames[0].shape[:2], 255, np.uint8)
    animated.frames = [np.dstack([frame, opaque]) for frame in frames]
    animated.durations = durations
    assert cv2.imwriteanimation(str(path), animated, [cv2.IMWRITE_WEBP_QUALITY, 101])
    return path


def test_animated_webp_is_a_clip(tmp_path: Path, frames: list[Pixels]) -> None:
    path = animation(tmp_path / "a.webp", frames[:4], [40, 100, 60, 500])
    assert [frame.time_s for frame in read(path)] == [0, 0.04, 0.14, 0.2]
    assert difference(pictures(path), frames[:4]) < 4
    with open_clip(path) as clip:
        assert clip.duration_s == 0.7


def test_last_frame_is_shown_as_long_as_before(tmp_path: Path, frames: list[Pixels]) -> None:
    path = animation(tmp_path / "a.webp", frames[:4], [40, 100, 60, 500])
    copy_clip(path, tmp_path / "copy.mp4")
    with av.open(str(tmp_path / "copy.mp4")) as container:
        assert (container.duration or 0) / av.time_base == pytest.approx(0.7, abs=0.002)


def webp_file(width: int, height: int, parts: list[tuple[int, int, int, int, bytes]], flags: int) -> bytes:
    """An animation put together by hand: left, top, width, height and still of each part."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return name + struct.pack("<I", len(content)) + content + b"\x00" * (len(content) % 2)

    def number(value: int) -> bytes:
        return struct.pack("<I", value)[:3]

    body = b"WEBP" + chunk(b"VP8X", b"\x12\x00\x00\x00" + number(width - 1) + number(height - 1))
    body += chunk(b"ANIM", bytes(6))
    for left, top, wide, high, still in parts:
        head = number(left // 2) + number(top // 2) + number(wide - 1) + number(high - 1) + number(40)
        body += chunk(b"ANMF", head + bytes((flags,)) + still[12:])
    return b"RIFF" + struct.pack("<I", len(body)) + body


def still(colour: tuple[int, int, int, int], size: tuple[int, int]) -> bytes:
    image = np.full((size[1], size[0], 4), colour, np.uint8)
    data = cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, 101])[1].tobytes()
    return data[:12] + data[data.index(b"VP8L") :]


@pytest.mark.parametrize(
    ("flags", "corner", "middle"),
    [
        (0, (0, 0, 200), (100, 0, 100)),  # laid over what is there
        (2, (0, 0, 200), (227, 127, 127)),  # replacing it; what is transparent is seen on white
        (1, (255, 255, 255), (227, 127, 127)),  # what was there has been cleared
    ],
)
def test_parts_of_an_animation_are_composed(
    save: Save, flags: int, corner: tuple[int, int, int], middle: tuple[int, int, int]
) -> None:
    red, half_blue = still((0, 0, 200, 255), (16, 16)), still((200, 0, 0, 128), (8, 8))
    path = save("a.webp", webp_file(16, 16, [(0, 0, 16, 16, red), (4, 4, 8, 8, half_blue)], flags))
    _, second = pictures(path)
    assert np.abs(second[1, 1].astype(int) - corner).max() < 8
    assert np.abs(second[8, 8].astype(int) - middle).max() < 8


def test_part_of_another_size_than_stated_is_refused(save: Save) -> None:
    red = still((0, 0, 200, 255), (16, 16))
    path = save("a.webp", webp_file(16, 16, [(0, 0, 8, 8, red)], 0))
    assert code_of(path) == 701


def test_still_webp_is_no_clip(save: Save, collins: Pixels) -> None:
    assert code_of(save("a.webp", cv2.imencode(".webp", collins)[1].tobytes())) == 703


def test_webp_bombs_are_refused(tmp_path: Path, frames: list[Pixels], monkeypatch: pytest.MonkeyPatch) -> None:
    path = animation(tmp_path / "a.webp", frames[:3], [40, 40, 40])
    data = bytearray(path.read_bytes())
    at = data.index(b"VP8X") + 12
    data[at : at + 6] = struct.pack("<I", 9999)[:3] * 2
    path.write_bytes(bytes(data))
    assert code_of(path) == 704
    path = animation(tmp_path / "b.webp", frames[:3], [40, 40, 40])
    monkeypatch.setattr(base, "MAX_CLIP_FRAMES", 2)
    assert code_of(path) == 704
