"""Names for the array types that the engine passes around, and the way back from OpenCV's loose ones."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Pixels: TypeAlias = npt.NDArray[np.uint8]
"""(h, w, 3) in the order blue, green, red; or (h, w) for a mask or an alpha channel, 0 to 255."""

Floats: TypeAlias = npt.NDArray[np.float32]
"""Points, meshes, fields and pictures in calculation."""

Indices: TypeAlias = npt.NDArray[np.int32]
"""Numbers of mesh points."""

Box: TypeAlias = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels."""


def as_pixels(array: npt.ArrayLike) -> Pixels:
    """Give OpenCV's answer its real type, without a copy where it is uint8 already."""
    return np.asarray(array, np.uint8)


def as_floats(array: npt.ArrayLike) -> Floats:
    """Give OpenCV's or numpy's answer the type float32, without a copy where it has it already."""
    return np.asarray(array, np.float32)
