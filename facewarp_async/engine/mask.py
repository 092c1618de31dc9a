"""Which pixels are painted, and how strongly."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from attrs import frozen

from facewarp_async.engine.arrays import Floats, Pixels, as_floats
from facewarp_async.engine.face import Face
from facewarp_async.engine.topology import (
    FOREHEAD,
    INNER_LIPS,
    LEFT_BROW,
    LEFT_EYE,
    OUTER_LIPS,
    OVAL,
    RIGHT_BROW,
    RIGHT_EYE,
)
from facewarp_async.engine.warp import SHIFT

_FEATHER = 0.06  # of the face's size
_MIN_FEATHER = 1.5
_MOUTH_BLUR = 0.006
_LIP_RIM = 0.008
# Features that are no skin, and how much larger than their points they are cut out.
_FEATURES = ((LEFT_EYE, 1.5), (RIGHT_EYE, 1.5), (LEFT_BROW, 1.2), (RIGHT_BROW, 1.2), (OUTER_LIPS, 1.15))


@frozen(kw_only=True)
class Edges:
    """Which sides of the crop are sides of the picture: a face cut off there is not feathered."""

    left: bool = False
    top: bool = False
    right: bool = False
    bottom: bool = False


@frozen(kw_only=True, eq=False)
class Mask:
    """The area to paint.

    Attributes:
        hard: (h, w) uint8, 255 inside the outline.
        skin: (h, w) uint8, 255 on its skin: without brows, eyes and mouth.
        depth: (h, w) float32, the distance to the outline in pixels.
        feather: The width of the soft rim in pixels.
        mouth: (h, w) float32, 0 where the medium's own open mouth stays, 1 elsewhere; None where none does.
    """

    hard: Pixels
    skin: Pixels
    depth: Floats
    feather: float
    mouth: Floats | None

    def ramp(self, start: float, stop: float) -> Floats:
        """Rise smoothly from 0 to 1 between two depths, given in feathers."""
        share = np.clip((self.depth - start * self.feather) / ((stop - start) * self.feather), 0, 1)
        share *= share * (3 - 2 * share)
        return as_floats(share)

    def opacity(self, start: float, stop: float) -> Floats:
        """The same ramp with the medium's mouth left out."""
        ramp = self.ramp(start, stop)
        return ramp if self.mouth is None else ramp * self.mouth


def draw_polygon(target: Pixels, points: Floats, value: int) -> None:
    """Fill a polygon with smooth edges."""
    corners = np.round(points[:, :2] * (1 << SHIFT)).astype(np.int32)
    cv2.fillPoly(target, [corners], (value,), cv2.LINE_AA, SHIFT)


def trace_outline(mesh: Floats, forehead: float) -> Floats:
    """The oval, (36, 2) float32, its top at `forehead`: 0 is just above the brows, 1 the mesh's own top."""
    points = mesh[:, :2].copy()
    for top, low in FOREHEAD.items():
        points[top] = points[low] + (points[top] - points[low]) * forehead
    return points[OVAL]


def make_mask(
    mesh: Floats, *, inside: npt.NDArray[np.bool_], size: float, forehead: float, edges: Edges, mouth: Floats | None
) -> Mask:
    """Build the mask of a face.

    Args:
        mesh: (468, 3) float32, the mesh as it will be painted, in pixels of the crop.
        inside: (h, w) bool, where the warp has something to show.
        size: The face's size in pixels.
        forehead: How far up the mask reaches, 0 to 1.
        edges: The sides at which the picture itself ends.
        mouth: What `keep_mouth` gave.
    """
    hard = np.zeros(inside.shape, np.uint8)
    draw_polygon(hard, trace_outline(mesh, forehead), 255)
    hard[~inside] = 0
    _close_border(hard, edges)
    depth = as_floats(cv2.distanceTransform(hard, cv2.DIST_L2, 3))
    skin = np.where(depth > 1.5, np.uint8(255), np.uint8(0))
    for feature, grow in _FEATURES:
        hull = as_floats(cv2.convexHull(mesh[feature, :2])).reshape(-1, 2)
        middle = hull.mean(0)
        draw_polygon(skin, (hull - middle) * grow + middle, 0)
    return Mask(hard=hard, skin=skin, depth=depth, feather=max(_MIN_FEATHER, _FEATHER * size), mouth=mouth)


def _close_border(hard: Pixels, edges: Edges) -> None:
    """Clear the crop's outermost pixels, except where the picture ends with them."""
    hard[:, 0] = hard[:, 1] if edges.left else 0
    hard[0] = hard[1] if edges.top else 0
    hard[:, -1] = hard[:, -2] if edges.right else 0
    hard[-1] = hard[-2] if edges.bottom else 0


def keep_mouth(face: Face, painted: Floats, *, source_gap: float, shape: tuple[int, int]) -> Floats | None:
    """Say where the medium's mouth stays because the new face has nothing to show there.

    That is so when it is open and the new face's is shut, and the other way round, where a strip of squeezed teeth
    would show between closed lips.

    Args:
        face: The face in the crop.
        painted: (468, 3) float32, the mesh as it will be painted.
        source_gap: The opening of the new face's mouth.
        shape: Height and width of the crop.

    Returns:
        (h, w) float32, 0 in the mouth to 1 outside, or None where the new mouth is painted.
    """
    gap = face.mouth_gap
    keep = float(np.clip((gap - max(source_gap, 0.04) * 1.6) / 0.08, 0, 1))
    if gap < 0.09 and source_gap > 0.12:
        keep = float(np.clip((0.09 - gap) / 0.04, 0, 1))
    if keep <= 0:
        return None
    opening = np.zeros(shape, np.uint8)
    width = max(1, round(face.size * _LIP_RIM))
    # Where the painted lips part is not quite where the medium's do: neither may show what is squeezed between them.
    for mesh in (face.mesh, painted):
        draw_polygon(opening, mesh[INNER_LIPS], 255)
        corners = np.round(mesh[INNER_LIPS, :2] * (1 << SHIFT)).astype(np.int32)
        cv2.polylines(opening, [corners], True, (255,), width, cv2.LINE_AA, SHIFT)
    blurred = cv2.GaussianBlur(as_floats(opening), (0, 0), max(0.8, face.size * _MOUTH_BLUR))
    return as_floats(1 - keep / 255 * as_floats(blurred))
