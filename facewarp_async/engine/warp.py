"""Bending one face's pixels onto another's mesh, triangle by triangle."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from attrs import frozen

from facewarp_async.engine.arrays import Floats, Pixels, as_pixels
from facewarp_async.engine.topology import MEAN, TRIANGLES

# Sub-pixel bits of OpenCV's polygon functions.
SHIFT = 4
# Lower triangles, in pixels, are left to their neighbours: stretched over a whole pixel they would show far-off ones.
_LEAST_HEIGHT = 0.5


def _facing(corners: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Twice the signed area of triangles, (n, 3, 2) in, (n,) out."""
    across, down = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return np.asarray(across[:, 0] * down[:, 1] - across[:, 1] * down[:, 0])


_FRONT = np.sign(_facing(MEAN[TRIANGLES, :2].astype(np.float64)))
"""The sign of each triangle's area where it faces the viewer."""


@frozen(kw_only=True, eq=False)
class WarpMap:
    """Where each pixel of the target comes from.

    Attributes:
        x: (h, w) float32, columns in the source.
        y: (h, w) float32, rows in the source.
        inside: (h, w) bool, the pixels that the mesh covers; elsewhere x and y mean nothing.
    """

    x: Floats
    y: Floats
    inside: npt.NDArray[np.bool_]

    def apply(self, image: Pixels, interpolation: int) -> Pixels:
        """Bend the source picture; the result has the target's size."""
        return as_pixels(cv2.remap(image, self.x, self.y, interpolation, borderMode=cv2.BORDER_REFLECT_101))


def map_mesh(target: Floats, source: Floats, shape: tuple[int, int]) -> WarpMap:
    """Map a picture of `shape` (height, width) that shows `target` back to the one that shows `source`.

    Both meshes are (468, 3) float32 in pixels of their pictures. Where triangles lie over each other, as on a turned
    head, the nearest one is seen; those that face away are not.
    """
    corners, origins = target[TRIANGLES, :2].astype(np.float64), source[TRIANGLES, :2].astype(np.float64)
    edges = corners[:, 1:] - corners[:, :1]
    longest = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max(1)
    solid = _facing(corners) * _FRONT > np.maximum(longest, 1e-3) * _LEAST_HEIGHT
    labels = np.full(shape, len(TRIANGLES), np.int32)
    outlines = np.round(corners * (1 << SHIFT)).astype(np.int32)
    for number in np.argsort(-target[TRIANGLES, 2].mean(1)):  # far ones first
        if solid[number]:
            cv2.fillConvexPoly(labels, outlines[number], int(number), cv2.LINE_8, SHIFT)
    inverse = np.linalg.inv(np.where(solid[:, None, None], edges, np.eye(2)))
    linear = inverse @ (origins[:, 1:] - origins[:, :1])
    offset = origins[:, 0] - np.einsum("ni,nij->nj", corners[:, 0], linear)
    # One row a triangle: x from x, y from x, x from y, y from y, and the two offsets; the last row is 'no triangle'.
    table = np.zeros((len(TRIANGLES) + 1, 6), np.float32)
    table[:-1] = np.concatenate([linear[:, 0], linear[:, 1], offset], axis=1)
    affine = table[labels]
    columns, rows = np.arange(shape[1], dtype=np.float32)[None, :], np.arange(shape[0], dtype=np.float32)[:, None]
    return WarpMap(
        x=affine[..., 0] * columns + affine[..., 2] * rows + affine[..., 4],
        y=affine[..., 1] * columns + affine[..., 3] * rows + affine[..., 5],
        inside=labels < len(TRIANGLES),
    )
