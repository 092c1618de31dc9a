"""Small copies: of what can be read as a picture, and of nothing else, without a fuss."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio.to_thread
import av
import cv2
import numpy as np
import pytest

from facewarp_async.report.pictures import first_frame, small_picture

MakePicture = Callable[..., Path]


def read(address: str | None) -> Any:
    assert address is not None
    head, _, data = address.partition(",")
    assert head == "data:image/jpeg;base64"
    return cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)


@pytest.mark.parametrize(
    ("width", "height", "shape"),
    [(64, 48, (48, 64)), (1120, 560, (280, 560)), (100, 2000, (560, 28)), (3000, 1, (1, 560))],
)
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp"])
def test_a_large_picture_is_reduced_and_a_small_one_is_not(
    make_picture: MakePicture, tmp_path: Path, width: int, height: int, shape: tuple[int, int], name: str
) -> None:
    image = read(small_picture(make_picture(tmp_path / name, light=200, width=width, height=height)))
    assert image.shape[:2] == shape
    assert abs(int(image.mean()) - 200) <= 2


@pytest.mark.parametrize("sides", [(3000, 2000), (6000, 4000)])
def test_a_large_file_is_decoded_small(tmp_path: Path, sides: tuple[int, int]) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (sides[1], sides[0], 3), np.uint8)
    path = tmp_path / "a.jpg"
    path.write_bytes(cv2.imencode(".jpg", noise, [cv2.IMWRITE_JPEG_QUALITY, 60])[1].tobytes())
    assert read(small_picture(path)).shape == (373, 560, 3)


@pytest.mark.parametrize("content", [b"", b"x", b"\x89PNG\r\n\x1a\n" + b"\0" * 100, b"\xff\xd8\xff\xe0" + b"\0" * 100])
def test_what_is_no_picture_has_no_copy(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    assert small_picture(path) is None
    assert first_frame(path) is None


def test_a_picture_of_more_pixels_than_the_engine_takes_is_not_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small file may hold a billion of them."""
    path, decoded = tmp_path / "a.png", list[Any]()
    path.write_bytes(cv2.imencode(".png", np.zeros((5001, 10000), np.uint8))[1].tobytes())
    monkeypatch.setattr(cv2, "imdecode", lambda *arguments: decoded.append(arguments))
    assert small_picture(path) is None
    assert not decoded


def test_what_is_not_there_has_no_copy(tmp_path: Path) -> None:
    assert small_picture(tmp_path / "a.png") is None
    assert first_frame(tmp_path / "a.mp4") is None


def test_a_video_is_shown_by_its_first_picture_unless_that_is_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for light in (200, 10):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), light, np.uint8), format="bgr24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    image = read(first_frame(path))
    assert image.shape == (48, 64, 3)
    assert abs(int(image.mean()) - 200) <= 3
    monkeypatch.setattr("facewarp_async.engine.clips.base.MAX_CLIP_PIXELS", 64 * 48 - 1)
    assert first_frame(path) is None


@pytest.mark.anyio
async def test_a_playlist_in_a_videos_clothes_leads_nowhere(tmp_path: Path, start_peer: Any) -> None:
    async def answer(*_: object) -> None:
        return None

    path = tmp_path / "a.mp4"
    async with start_peer(answer) as peer:
        path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{peer.url}/secret.ts\n#EXT-X-ENDLIST\n")
        assert await anyio.to_thread.run_sync(first_frame, path) is None
        assert peer.connections == 0
