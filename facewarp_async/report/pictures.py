"""Small copies of pictures for a page, where the extra ``local`` is there to make them; in threads, off the loop."""

from __future__ import annotations

import base64
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_LONGEST_SIDE = 560
_QUALITY = 72
_MOST_BYTES = 64 * 1024 * 1024
"""Larger files are not read whole."""
_HALVED_FROM, _QUARTERED_FROM = 500_000, 3_000_000
"""From how many bytes on a JPEG is decoded at half its size and at a quarter, which is much faster."""


def can_copy() -> bool:
    """Tell whether small copies can be made."""
    return all(find_spec(name) is not None for name in ("cv2", "av"))


def small_picture(path: Path) -> str | None:
    """Return a small copy of a picture as a ``data:`` address; ``None`` where it cannot be read as one."""
    import cv2  # noqa: PLC0415 - an extra
    import numpy as np  # noqa: PLC0415 - the same

    from facewarp_async.engine import EngineError  # noqa: PLC0415 - it needs the extra too
    from facewarp_async.engine.media import check_picture  # noqa: PLC0415 - the same

    try:
        size = path.stat().st_size
        if size > _MOST_BYTES:
            return None
        data = path.read_bytes()
        check_picture(data)  # a small file may hold a billion pixels
        image = cv2.imdecode(np.frombuffer(data, np.uint8), _reading(cv2, size))
    except (OSError, cv2.error, EngineError):
        return None
    return None if image is None else _address(cv2, image)


def first_frame(path: Path) -> str | None:
    """Return a small copy of a video's first picture; as `small_picture`."""
    import av  # noqa: PLC0415 - an extra
    import cv2  # noqa: PLC0415 - the same

    from facewarp_async.engine.clips.base import MAX_CLIP_PIXELS  # noqa: PLC0415 - it needs the extra too

    try:
        with av.open(str(path), options={"protocol_whitelist": "file"}) as container:
            stream = container.streams.video[0]
            if stream.width * stream.height > MAX_CLIP_PIXELS:
                return None
            frame = next(iter(container.decode(stream)), None)
        return None if frame is None else _address(cv2, frame.to_ndarray(format="bgr24"))
    except (OSError, ValueError, IndexError, av.FFmpegError):
        return None


def _reading(cv2: Any, size: int) -> int:
    if size >= _QUARTERED_FROM:
        return int(cv2.IMREAD_REDUCED_COLOR_4)
    return int(cv2.IMREAD_REDUCED_COLOR_2 if size >= _HALVED_FROM else cv2.IMREAD_COLOR)


def _address(cv2: Any, image: Any) -> str:
    height, width = image.shape[:2]
    scale = _LONGEST_SIDE / max(height, width)
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()
    return "data:image/jpeg;base64," + base64.b64encode(data).decode("ascii")
