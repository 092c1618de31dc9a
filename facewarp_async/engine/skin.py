"""How far up the forehead bare skin reaches before a fringe, a hat or the hairline begins."""

from __future__ import annotations

import numpy as np

from facewarp_async.engine.arrays import Floats, Pixels, as_floats
from facewarp_async.engine.topology import CHEEKS, FOREHEAD, SKIN_SPOTS

_TOPS = np.array([10, 338, 297, 332, 109, 67, 103])
_LOWS = np.array([FOREHEAD[int(top)] for top in _TOPS])
_HEIGHTS = np.linspace(0.05, 1.0, 12, dtype=np.float32)
# Skin differs from the cheeks by less than this in the logarithm of brightness, and of colour.
_DARKER, _BRIGHTER, _CHROMA = -0.45, 0.6, 0.22
_CLEARANCE = 0.08
# Two of the seven lines may be wrong: a lock of hair, a shadow.
_TRUSTED_LINE = 2


def measure_reach(image: Pixels, mesh: Floats) -> float:
    """Follow seven lines from the brows to the top of the oval.

    Returns:
        0 where hair begins right above the brows, 1 where the whole forehead is bare.
    """
    high, wide = image.shape[:2]
    left, right = CHEEKS
    step = max(1, int(np.linalg.norm(mesh[right, :2] - mesh[left, :2]) / 96))
    around = np.array([(x, y) for x in (-step, 0, step) for y in (-step, 0, step)], np.float32)

    def sample(points: Floats) -> Floats:
        where = np.clip(np.round(points), 0, [wide - 1, high - 1]).astype(int)
        return as_floats(image[where[..., 1], where[..., 0]])

    skin = np.median(sample(mesh[SKIN_SPOTS, None, :2] + around).reshape(-1, 3), axis=0) + 8
    lines = mesh[_LOWS, None, :2] + (mesh[_TOPS, None, :2] - mesh[_LOWS, None, :2]) * _HEIGHTS[None, :, None]
    ratio = np.log((sample(lines[:, :, None] + around).mean(2) + 8) / skin)
    light = ratio.mean(2)
    chroma = np.abs(ratio - light[..., None]).max(2)
    covered = (light < _DARKER) | (light > _BRIGHTER) | (chroma > _CHROMA)
    reach = np.where(covered.any(1), _HEIGHTS[np.argmax(covered, axis=1)] - _CLEARANCE, 1.0)
    return float(np.clip(np.sort(reach)[_TRUSTED_LINE], 0.0, 1.0))
