"""Whose proportions the painted face has: the medium's outline and expression, some of the new face's own features."""

from __future__ import annotations

import numpy as np

from facewarp_async.engine.arrays import Floats, as_floats
from facewarp_async.engine.topology import INNER_LIPS, LEFT_EYE, MEAN, OUTER_LIPS, OVAL, RIGHT_EYE

# Points nearer to the oval than this, in widths of the face, move less and less, those on it not at all.
_STIFF_RIM = 0.16
# How much of the difference across a slit (lips, eyelids) is taken over: the expression stays the medium's.
_SLIT_SHARE = 0.15


def _inner_weights() -> Floats:
    """(468, 1) float32, 0 on the oval to 1 in the middle of the face."""
    distance = np.linalg.norm(MEAN[:, None, :2] - MEAN[None, OVAL, :2], axis=2).min(1)
    share = np.clip(distance / _STIFF_RIM, 0, 1)
    return as_floats(share * share * (3 - 2 * share))[:, None]


_INNER = _inner_weights()
_SLITS = (np.concatenate([INNER_LIPS, OUTER_LIPS]), LEFT_EYE, RIGHT_EYE)


def fit_rigidly(mesh: Floats, onto: Floats) -> Floats:
    """Turn, scale and shift a mesh in space to lie as near as it can to another; (468, 3) float32 (Umeyama 1991)."""
    source, target = mesh.astype(np.float64), onto.astype(np.float64)
    source_mean, target_mean = source.mean(0), target.mean(0)
    source -= source_mean
    left, strength, right = np.linalg.svd(source.T @ (target - target_mean))
    if np.linalg.det(left @ right) < 0:  # a mirror image fits better than any turn does: take the best turn
        left[:, 2] *= -1
        strength[2] *= -1
    scale = strength.sum() / (source**2).sum()
    return as_floats(scale * source @ (left @ right) + target_mean)


def mix_shapes(base: Floats, face: Floats, *, share: float) -> Floats:
    """Move the medium's mesh a share of the way towards the new face's proportions in the medium's pose.

    Args:
        base: (468, 3) float32, the mesh in the medium.
        face: (468, 3) float32, the new face's mesh in its own picture.
        share: 0 keeps the medium's shape, 1 takes the new face's but for outline and expression.
    """
    move = (fit_rigidly(face, base) - base) * (_INNER * share)
    for slit in _SLITS:
        mean = move[slit].mean(0)
        move[slit] = mean + (move[slit] - mean) * as_floats([1, _SLIT_SHARE, 1])
    return base + as_floats(move)
