"""The service with the real engine: faces are really swapped, in worker processes."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import facewarp_async
from facewarp_async.server import EngineRunner

if TYPE_CHECKING:
    from tests.server.conftest import Serve

pytest.importorskip("cv2")
pytestmark = [pytest.mark.anyio, pytest.mark.slow]

PORTRAITS = Path(facewarp_async.__file__).parent / "engine" / "data" / "portraits"


def _plain_png(width: int, height: int) -> bytes:
    """Return a grey picture, in which there is no face."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = (b"\x00" + b"\x80" * width) * height
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


async def test_swaps_detects_and_tells_failures(serve: Serve) -> None:
    """A swap, a detection and a multiple swap give pictures of the media's size; no face is 602, rubbish 701."""
    media, face = (PORTRAITS / "collins.png").read_bytes(), (PORTRAITS / "hopper.jpg").read_bytes()
    size = struct.unpack(">II", media[16:24])
    async with serve(runner=EngineRunner()) as harness:
        face_key, media_key = await harness.upload(face, "hopper.jpg"), await harness.upload(media, "collins.png")
        swap = await harness.create("/v1/task/face-swap", main_key=media_key, target_key=face_key, is_hd=1)
        detection = await harness.create("/v1/task/get-face", main_key=media_key)
        blank = await harness.create(
            "/v1/task/face-swap", main_key=await harness.upload(_plain_png(320, 240)), target_key=face_key
        )
        rubbish = await harness.create("/v1/task/get-face", main_key=await harness.upload())
        fields, faces = await harness.finish(swap), await harness.finish(detection)
        pairs = [{"target_part_key": faces[0]["avatar_part_key"], "avatar_part_key": face_key}]
        multi = await harness.create("/v1/task/multiple-face-swap", avatar_key=pairs, get_face_id=detection, is_hd=2)
        for result in (fields, await harness.finish(multi)):
            body = (await harness.request("GET", result["merge_url"])).body
            assert struct.unpack(">II", body[16:24]) == (result["width"], result["height"]) == size
            assert len(body) == result["size"]
            assert body != media
        assert [(await harness.detail(task)).code for task in (blank, rubbish)] == [602, 701]
        points = faces[0]["kps"]
        assert points["1"]["x"] < points["2"]["x"] < faces[0]["width"]
        assert points["1"]["y"] < points["3"]["y"] < points["4"]["y"] < faces[0]["height"]
