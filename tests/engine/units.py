"""In what the tests measure faces."""

from __future__ import annotations

import numpy as np

from facewarp_async.engine.face import Face


def eye_distance(face: Face) -> float:
    """Pixels between the centres of the eyes."""
    left, right = face.landmarks[:2]
    return float(np.linalg.norm(right - left))
