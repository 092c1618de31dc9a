"""Clips that are damaged, too large, or not what they say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest

from facewarp_async.engine import EngineError
from facewarp_async.engine.arrays import Pixels
from facewarp_async.engine.clips import base, decode, open_clip
from tests.engine.decoded import code_of

if TYPE_CHECKING:
    from .conftest import Save

MakeClip = Callable[..., Path]


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.webm", "libvpx")])
@pytest.mark.parametrize("share", [0.01, 0.3, 0.6, 0.98])
def test_truncated_clip_is_unreadable(
    make_clip: MakeClip, frames: list[Pixels], name: str, codec: str, share: float
) -> None:
    path = make_clip(name, frames, codec=codec, options={"movflags": "+faststart"} if codec == "libx264" else None)
    data = path.read_bytes()
    path.write_bytes(data[: max(64, int(len(data) * share))])
    assert code_of(path) == 701


def test_header_without_frames_is_unreadable(make_clip: MakeClip, frames: list[Pixels]) -> None:
    path = make_clip("a.mp4", frames)
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat") + 4
    end = data.index(b"moov") - 4
    data[start:end] = bytes(end - start)
    path.write_bytes(bytes(data))
    assert code_of(path) == 701


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", 701),
        (b"\x00\x00\x00\x20ftypisom" + bytes(20), 701),
        (b"\x1a\x45\xdf\xa3\x9fB\x86\x81\x01B\x82\x84webm" + bytes(80), 701),
        (b"GIF89a" + bytes(40), 701),
        (b"\x1a\x45\xdf\xa3\x9fB\x86\x81\x01B\x82\x88matroska" + bytes(80), 703),
        (b"RIFF\x00\x00\x00\x00AVI LIST" + bytes(80), 703),
        (b"#EXTM3U\nhttp://127.0.0.1/a.ts\n", 703),
        (b"ffconcat version 1.0\nfile /etc/hostname\n", 703),
    ],
)
def test_what_is_no_clip_has_its_code(save: Save, data: bytes, code: int) -> None:
    assert code_of(save("a.mp4", data)) == code


def test_picture_is_no_clip(collins_path: Path, hopper_path: Path) -> None:
    assert code_of(collins_path) == 703
    assert code_of(hopper_path) == 703


@pytest.mark.parametrize("size", [(1, 40), (40, 1), (1, 1)])
def test_clip_of_one_row_or_column_is_refused(make_clip: MakeClip, size: tuple[int, int]) -> None:
    path = make_clip("a.gif", [np.zeros((size[1], size[0], 3), np.uint8)], codec="gif", pix_fmt="rgb8")
    assert code_of(path) == 701


def test_frames_larger_than_the_limit_are_not_even_decoded(
    make_clip: MakeClip, frames: list[Pixels], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_clip("a.mp4", frames)
    monkeypatch.setattr(decode, "MAX_CLIP_PIXELS", 96 * 64 - 1)
    assert code_of(path) == 701


def test_cover_of_a_song_is_no_clip(tmp_path: Path, frames: list[Pixels]) -> None:
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as container:
        cover = container.add_stream("mjpeg", rate=1)
        cover.height, cover.width = frames[0].shape[:2]
        cover.pix_fmt = "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic.value  # type: ignore[assignment]  # older ones take no other
        container.mux(cover.encode(av.VideoFrame.from_ndarray(frames[0], format="bgr24")))
        container.mux(cover.encode())
    assert code_of(path) == 703


def test_sound_alone_is_no_clip(tmp_path: Path) -> None:
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=48000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 48000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert code_of(path) == 703


@pytest.mark.parametrize(("limit", "value"), [("MAX_CLIP_SECONDS", 0.2), ("MAX_CLIP_PIXELS", 96 * 64 - 1)])
def test_limits_of_the_header(
    make_clip: MakeClip, frames: list[Pixels], monkeypatch: pytest.MonkeyPatch, limit: str, value: float
) -> None:
    path = make_clip("a.mp4", frames)
    monkeypatch.setattr(base, limit, value)
    with pytest.raises(EngineError) as caught, open_clip(path):
        pass
    assert caught.value.code == 704


def test_limit_of_frames_while_they_come(
    make_clip: MakeClip, frames: list[Pixels], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_clip("a.mp4", frames)
    monkeypatch.setattr(base, "MAX_CLIP_FRAMES", 9)
    assert code_of(path) == 704


def test_length_that_the_header_hides(
    make_clip: MakeClip, frames: list[Pixels], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_clip("a.mp4", frames)
    with open_clip(path) as clip:
        monkeypatch.setattr(base, "MAX_CLIP_SECONDS", 0.2)
        with pytest.raises(EngineError) as caught:
            list(clip.read())
    assert caught.value.code == 704
