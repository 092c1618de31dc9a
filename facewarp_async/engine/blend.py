"""Laying the new face over the medium."""

from __future__ import annotations

import cv2
import numpy as np

from facewarp_async.engine.arrays import Floats, Pixels, as_floats, as_pixels

_SMALLEST_BAND = 16
_DETAIL_SIGMA = 1.2


def blend_bands(over: Floats, under: Floats, opacity: Floats, levels: int) -> Floats:
    """Blend coarse structure over a wide rim and fine structure over a narrow one (Burt and Adelson 1983).

    Args:
        over: (h, w, 3) float32.
        under: (h, w, 3) float32.
        opacity: (h, w) float32, 0 to 1.
        levels: How many times the pictures are halved, at most.
    """
    # Blending is linear, so the difference alone needs a pyramid.
    bands, shares = [over - under], [opacity]
    while len(bands) <= levels and min(bands[-1].shape[:2]) >= _SMALLEST_BAND:
        bands.append(as_floats(cv2.pyrDown(bands[-1])))
        shares.append(as_floats(cv2.pyrDown(shares[-1])))
    result = bands[-1] * shares[-1][..., None]
    for band, coarser, share in zip(bands[-2::-1], bands[:0:-1], shares[-2::-1], strict=True):
        size = band.shape[1::-1]
        detail = band - as_floats(cv2.pyrUp(coarser, dstsize=size))
        result = as_floats(cv2.pyrUp(result, dstsize=size)) + detail * share[..., None]
    return under + result


def to_pixels(image: Floats) -> Pixels:
    """Round a picture in calculation to 0 to 255."""
    return as_pixels(np.clip(image + 0.5, 0, 255).astype(np.uint8))


def blend_into(target: Pixels, over: Pixels, opacity: Floats) -> None:
    """Lay a picture over another in place; where the opacity is 0 not one bit changes."""
    # Exact at 0 and 1, vectorised, and it lets other threads run.
    target[:] = cv2.blendLinear(over, target, opacity, 1 - opacity)


def match_detail(image: Floats, warped: Pixels, base: Pixels, core: Pixels) -> Floats:
    """Sharpen or soften the new face until its finest detail is as strong as the medium's.

    Args:
        image: (h, w, 3) float32, the relit new face.
        warped: (h, w, 3) uint8, the same before it was relit.
        base: (h, w, 3) uint8, the medium.
        core: (h, w) uint8, 255 where both are compared.
    """
    ratio = _detail(base, core) / (_detail(warped, core) + 1e-3)
    amount = float(np.clip(ratio - 1, -0.6, 0.8))
    soft = cv2.GaussianBlur(image, (0, 0), _DETAIL_SIGMA)
    return as_floats(cv2.addWeighted(image, 1 + amount, soft, -amount, 0))


def _detail(image: Pixels, core: Pixels) -> float:
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    fine = cv2.subtract(grey, cv2.GaussianBlur(grey, (0, 0), _DETAIL_SIGMA), dtype=cv2.CV_32F)
    return float(cv2.meanStdDev(fine, mask=core)[1][0, 0])
