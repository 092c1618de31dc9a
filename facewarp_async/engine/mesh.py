"""The mesh of 468 points: a network that reads it from a turned square region of the picture."""

from __future__ import annotations

import cv2
import numpy as np
from attrs import frozen

from facewarp_async.engine.arrays import Floats, Pixels, as_floats, as_pixels
from facewarp_async.engine.detect import Detection
from facewarp_async.engine.nets import load_net, run_net
from facewarp_async.engine.topology import OUTER_EYE_CORNERS

_SIDE = 192
_GROW = 1.5
_OUTPUTS = ("conv2d_21", "conv2d_31")


@frozen(kw_only=True)
class Region:
    """A turned square in a picture.

    Attributes:
        x: Centre, pixels.
        y: Centre, pixels.
        side: Pixels.
        angle: Radians, clockwise as one sees it.
    """

    x: float
    y: float
    side: float
    angle: float

    @classmethod
    def of_detection(cls, detection: Detection) -> Region:
        """Give the square around a detection, turned so that the eyes lie level."""
        across = detection.eyes[1] - detection.eyes[0]
        x, y = detection.centre
        return cls(x=float(x), y=float(y), side=detection.side * _GROW, angle=float(np.arctan2(across[1], across[0])))

    @classmethod
    def of_mesh(cls, mesh: Floats) -> Region:
        """Give the square around a mesh, turned so that the eyes lie level."""
        left, right = OUTER_EYE_CORNERS
        across = mesh[right, :2] - mesh[left, :2]
        angle = float(np.arctan2(across[1], across[0]))
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        level = mesh[:, :2] @ turn
        low, high = level.min(0), level.max(0)
        x, y = turn @ ((low + high) / 2)
        return cls(x=float(x), y=float(y), side=float((high - low).max() * _GROW), angle=angle)

    def to_picture(self) -> Floats:
        """The affine map, (2, 3) float32, from pixels of the network's input to pixels of the picture."""
        scale = self.side / _SIDE
        cos, sin = np.cos(self.angle) * scale, np.sin(self.angle) * scale
        half = _SIDE / 2
        return as_floats([[cos, -sin, self.x - (cos - sin) * half], [sin, cos, self.y - (sin + cos) * half]])


class Mesher:
    """The mesh network; one per thread."""

    def __init__(self) -> None:
        self._net = load_net("face_landmark.tflite")

    def read(self, image: Pixels, region: Region) -> tuple[Floats, float]:
        """Read the mesh of the face in a region.

        Returns:
            (468, 3) float32 in pixels of the picture, z growing away from the viewer in the same unit; and how sure the
            network is that there is a face, 0 to 1.
        """
        back = region.to_picture()
        blob = cv2.dnn.blobFromImage(_cut(image, region), 1 / 255, (_SIDE, _SIDE), (0, 0, 0), swapRB=True)
        points, logit = run_net(self._net, as_floats(blob), _OUTPUTS)
        points = points.reshape(-1, 3)
        flat = points[:, :2] @ back[:, :2].T + back[:, 2]
        presence = 1 / (1 + np.exp(-np.clip(logit.item(), -80, 80)))
        return as_floats(np.column_stack([flat, points[:, 2] * region.side / _SIDE])), float(presence)


def _cut(image: Pixels, region: Region) -> Pixels:
    """Cut a region out as the network's input, without aliasing where it is much larger than that."""
    back = region.to_picture()
    factor = int(region.side / _SIDE)
    if factor >= 2:
        reach = region.side * 0.75  # half the diagonal, and a little
        centre = np.array([region.x, region.y])
        x0, y0 = np.floor(np.maximum(centre - reach, 0)).astype(int)
        x1, y1 = np.ceil(np.minimum(centre + reach, image.shape[1::-1])).astype(int)
        wide, high = (x1 - x0) // factor, (y1 - y0) // factor
        if wide > 4 and high > 4:
            # OpenCV averages by whole numbers several times faster than by others.
            part = image[y0 : y0 + high * factor, x0 : x0 + wide * factor]
            image = as_pixels(cv2.resize(part, (wide, high), interpolation=cv2.INTER_AREA))
            back[:, 2] = (back[:, 2] + 0.5 - np.array([x0, y0])) / factor - 0.5
            back[:, :2] /= factor
    return as_pixels(cv2.warpAffine(image, back, (_SIDE, _SIDE), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP))
