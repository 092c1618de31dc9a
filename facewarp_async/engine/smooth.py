"""Calming a mesh over time without making it lag."""

from __future__ import annotations

import numpy as np

from facewarp_async.engine.arrays import Floats, as_floats

_MIN_CUTOFF = 1.5  # Hz, of a face at rest
_BETA = 15.0  # Hz more for each face size a second
_POINT_SHARE = 0.6  # of that for a point's own motion against the face
_SPEED_CUTOFF = 1.0  # Hz
_LONGEST_GAP_S = 0.5


class OneEuroFilter:
    """The One Euro filter (Casiez, Roussel and Vogel 2012) on a whole mesh.

    The slower the face moves, the more it is smoothed. What all points share is one motion with one cut-off, so that
    the mesh stays a mesh.
    """

    def __init__(self) -> None:
        self._mesh: Floats | None = None
        self._speed = np.zeros((1, 3), np.float32)
        self._time_s = 0.0

    def __call__(self, mesh: Floats, *, time_s: float, size: float) -> Floats:
        """Take the next mesh, (n, 3) float32, and give the calmed one.

        Args:
            mesh: Pixels.
            time_s: When it was seen; after a gap of half a second or a step back the filter starts anew.
            size: The face's size in pixels, which makes speeds comparable.
        """
        step, self._time_s = time_s - self._time_s, time_s
        if self._mesh is None or not 0 < step <= _LONGEST_GAP_S:
            self._mesh, self._speed = mesh, np.zeros_like(mesh)
            return mesh
        speed = (mesh - self._mesh) / (step * size)
        self._speed = as_floats(self._speed + _share(_SPEED_CUTOFF, step) * (speed - self._speed))
        common = self._speed.mean(0)
        own = np.linalg.norm((self._speed - common)[:, :2], axis=1, keepdims=True)
        cutoff = _MIN_CUTOFF + _BETA * (np.linalg.norm(common[:2]) + _POINT_SHARE * own)
        self._mesh = as_floats(self._mesh + _share(cutoff, step) * (mesh - self._mesh))
        return self._mesh


def _share(cutoff: float | Floats, step_s: float) -> Floats:
    """How much of the new value a low pass of that cut-off, in Hz, takes over."""
    return as_floats(1 / (1 + 1 / (2 * np.pi * np.asarray(cutoff) * step_s)))
