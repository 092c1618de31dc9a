"""A frame as its planes of brightness and colour, of which only the painted part is ever converted back."""

from __future__ import annotations

import cv2
import numpy as np
from attrs import frozen

from facewarp_async.engine.arrays import Box, Pixels, as_pixels


@frozen(eq=False)
class Planes:
    """A frame in YUV 4:2:0, limited range, 8 bits, of even width and height.

    Attributes:
        data: (h * 3 / 2, w) uint8: the plane of brightness, then the two of colour; OpenCV's and FFmpeg's I420.
    """

    data: Pixels

    @classmethod
    def of_parts(cls, y: Pixels, u: Pixels, v: Pixels) -> Planes:
        """Join three planes; an odd last row or column is left off."""
        height, width = y.shape[0] // 2 * 2, y.shape[1] // 2 * 2
        joined = cls(np.empty((height * 3 // 2, width), np.uint8))
        for target, part in zip(joined.parts(), (y, u, v), strict=True):
            target[:] = part[: target.shape[0], : target.shape[1]]
        return joined

    @classmethod
    def of_picture(cls, image: Pixels) -> Planes:
        """Convert (h, w, 3) uint8; an odd last row or column is left off."""
        height, width = image.shape[0] // 2 * 2, image.shape[1] // 2 * 2
        return cls(as_pixels(cv2.cvtColor(np.ascontiguousarray(image[:height, :width]), cv2.COLOR_BGR2YUV_I420)))

    @property
    def width(self) -> int:
        """Pixels."""
        return int(self.data.shape[1])

    @property
    def height(self) -> int:
        """Pixels."""
        return int(self.data.shape[0]) * 2 // 3

    def parts(self) -> tuple[Pixels, Pixels, Pixels]:
        """Views of the three planes: writing to them changes the frame."""
        flat, size = self.data.ravel(), self.width * self.height
        half = (self.height // 2, self.width // 2)
        y = flat[:size].reshape(self.height, self.width)
        return y, flat[size : size + size // 4].reshape(half), flat[size + size // 4 :].reshape(half)

    def turned(self, degrees: int) -> Planes:
        """Turn counter-clockwise by a multiple of 90 degrees."""
        quarters = degrees // 90 % 4
        if not quarters:
            return self
        y, u, v = (np.rot90(part, quarters) for part in self.parts())
        return Planes.of_parts(y, u, v)

    def to_picture(self) -> Pixels:
        """Convert to (h, w, 3) uint8.

        The matrix is that of BT.601 whatever the clip says: what counts is that the way there and back is exact, and
        the clip's own colour tags are copied to the result.
        """
        return as_pixels(cv2.cvtColor(self.data, cv2.COLOR_YUV2BGR_I420))

    def put(self, image: Pixels, box: Box) -> None:
        """Take a part of a picture over: left, top, right, bottom, widened to even numbers."""
        x0, y0, x1, y1 = box[0] // 2 * 2, box[1] // 2 * 2, (box[2] + 1) // 2 * 2, (box[3] + 1) // 2 * 2
        part = Planes.of_picture(image[y0:y1, x0:x1])
        for target, new, step in zip(self.parts(), part.parts(), (1, 2, 2), strict=True):
            target[y0 // step : y1 // step, x0 // step : x1 // step] = new
