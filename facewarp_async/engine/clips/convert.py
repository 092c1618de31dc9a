"""From what a decoder gives, in any of FFmpeg's formats, to upright 8-bit planes."""

from __future__ import annotations

import av
import cv2
import numpy as np

from facewarp_async.engine.arrays import Pixels, as_floats, as_pixels
from facewarp_async.engine.clips.planes import Planes

_FULL_RANGE = 2  # FFmpeg's AVCOL_RANGE_JPEG


def to_planes(frame: av.VideoFrame, size: tuple[int, int]) -> Planes:
    """Bring a decoded frame to 8-bit limited-range planes, upright."""
    if (frame.width, frame.height) != size:
        frame = frame.reformat(width=size[0], height=size[1])
    if frame.format.is_rgb or frame.format.name == "pal8":
        # FFmpeg's own conversion darkens by more than a level; OpenCV's does not.
        planes = Planes.of_picture(on_white(as_pixels(frame.to_ndarray(format="bgra"))))
    else:
        if frame.format.name != "yuv420p" or frame.color_range == _FULL_RANGE:
            frame = frame.reformat(format="yuv420p", dst_color_range="MPEG")
        y, u, v = (_plane(frame, number) for number in range(3))
        planes = Planes.of_parts(y, u, v)
    return planes.turned(int(frame.rotation))


def _plane(frame: av.VideoFrame, number: int) -> Pixels:
    """View one plane, (h, w) uint8, without copying it."""
    plane = frame.planes[number]
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)  # type: ignore[call-overload]  # a buffer
    return as_pixels(rows[: plane.height, : plane.width])


def on_white(image: Pixels) -> Pixels:
    """Lay (h, w, 4) uint8 on white ground, as a browser shows it."""
    alpha = image[..., 3]
    if (alpha == 255).all():
        return image[..., :3]
    share = as_floats(cv2.cvtColor(alpha, cv2.COLOR_GRAY2BGR)) / 255
    return (image[..., :3] * share + 255 * (1 - share) + 0.5).astype(np.uint8)
