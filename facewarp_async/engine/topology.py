"""The 468 points of the face mesh: which of them lie on what, their mean layout and the triangles between them."""

from __future__ import annotations

from importlib import resources

import numpy as np

from facewarp_async.engine.arrays import Floats, Indices, as_floats

# fmt: off
OVAL = np.array([
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149, 150,
    136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
], np.int32)
INNER_LIPS = np.array(
    [78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191], np.int32)
OUTER_LIPS = np.array(
    [61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185], np.int32)
# fmt: on
# Left and right are those of the picture.
LEFT_EYE = np.array([33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246], np.int32)
RIGHT_EYE = np.array([263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466], np.int32)
LEFT_BROW = np.array([70, 63, 105, 66, 107, 55, 65, 52, 53, 46], np.int32)
RIGHT_BROW = np.array([300, 293, 334, 296, 336, 285, 295, 282, 283, 276], np.int32)

NOSE_TIP = 1
MOUTH_CORNERS = (61, 291)
OUTER_EYE_CORNERS = (33, 263)
CHEEKS = (234, 454)
LIP_SLIT = (13, 14)
INNER_MOUTH_CORNERS = (78, 308)

# Bare skin in almost every face: the cheeks beside and below the nose, its bridge, and between the brows.
SKIN_SPOTS = np.array([50, 280, 101, 330, 36, 266, 205, 425, 151, 9], np.int32)
# Each point of the oval over the forehead, and the one just above the brow beneath it.
FOREHEAD = {
    10: 151, 338: 337, 297: 299, 332: 333, 284: 298, 251: 301, 389: 368,
    109: 108, 67: 69, 103: 104, 54: 68, 21: 71, 162: 139,
}  # fmt: skip


def _load() -> tuple[Floats, Indices]:
    with resources.as_file(resources.files(__package__) / "data" / "topology.npz") as path, np.load(path) as file:
        return as_floats(file["mean"]), np.asarray(file["tri"], np.int32)


MEAN, TRIANGLES = _load()
"""The mean frontal mesh, (468, 3) float32, one wide between the cheeks; and (896, 3) int32 point numbers."""
