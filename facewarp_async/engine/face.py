"""A face in a picture."""

from __future__ import annotations

import numpy as np
from attrs import frozen

from facewarp_async.engine.arrays import Floats, as_floats
from facewarp_async.engine.topology import (
    CHEEKS,
    INNER_MOUTH_CORNERS,
    LEFT_EYE,
    LIP_SLIT,
    MOUTH_CORNERS,
    NOSE_TIP,
    OVAL,
    RIGHT_EYE,
)
from facewarp_async.engine.values import Landmarks


@frozen(kw_only=True, eq=False)
class Face:
    """A face, known by its mesh.

    Attributes:
        mesh: (468, 3) float32 in pixels of the picture.
        reach: How far up the forehead its skin is bare, 0 at the brows to 1 at the top of the oval; None leaves it to
            be measured in the picture.
    """

    mesh: Floats
    reach: float | None = None

    @property
    def landmarks(self) -> Floats:
        """(5, 2) float32: left eye, right eye, nose, left and right corner of the mouth, as seen in the picture."""
        flat = self.mesh[:, :2]
        eyes = [flat[LEFT_EYE].mean(0), flat[RIGHT_EYE].mean(0)]
        return as_floats(np.stack([*eyes, flat[NOSE_TIP], flat[MOUTH_CORNERS[0]], flat[MOUTH_CORNERS[1]]]))

    @property
    def bounds(self) -> tuple[Floats, Floats]:
        """Upper left and lower right corner of the oval, each (2,) float32."""
        oval = self.mesh[OVAL, :2]
        return oval.min(0), oval.max(0)

    @property
    def centre(self) -> Floats:
        """(2,) float32, the middle of the mesh."""
        return as_floats(self.mesh[:, :2].mean(0))

    @property
    def width(self) -> float:
        """Pixels between the cheeks."""
        left, right = CHEEKS
        return float(np.linalg.norm(self.mesh[right, :2] - self.mesh[left, :2]))

    @property
    def size(self) -> float:
        """The diagonal of the oval's box in pixels: it hardly changes when the head turns."""
        low, high = self.bounds
        return float(np.linalg.norm(high - low))

    @property
    def mouth_gap(self) -> float:
        """The opening between the lips, in widths of the mouth."""
        (upper, lower), (left, right) = LIP_SLIT, INNER_MOUTH_CORNERS
        gap = np.linalg.norm(self.mesh[lower, :2] - self.mesh[upper, :2])
        return float(gap / (np.linalg.norm(self.mesh[right, :2] - self.mesh[left, :2]) + 1e-6))


# A mean distance of the five points, in distances of the eyes, beyond which a face is not the one that was named.
_NEAR = 0.6


def nearest_face(faces: list[Face], landmarks: Landmarks) -> int | None:
    """Give the position in `faces` of the one that five points name; None where none is near."""
    named = as_floats(landmarks).reshape(5, 2)
    unit = float(np.linalg.norm(named[1] - named[0])) + 1e-3
    distances = [float(np.linalg.norm(face.landmarks - named, axis=1).mean()) / unit for face in faces]
    best = int(np.argmin(distances)) if distances else -1
    return best if best >= 0 and distances[best] < _NEAR else None
