"""Faces in a picture: each place that the detector names, confirmed and measured by the mesh."""

from __future__ import annotations

import threading

import numpy as np

from facewarp_async.engine.arrays import Floats, Pixels
from facewarp_async.engine.detect import Detection, Detector, tiles_for
from facewarp_async.engine.errors import NO_FACE, SEVERAL_FACES, EngineError
from facewarp_async.engine.face import Face
from facewarp_async.engine.mesh import Mesher, Region

MAX_FACES = 32
_MIN_PRESENCE = 0.5
_MIN_SIDE = 12
# Two meshes whose middles are nearer than this, in widths of the face, are one face.
_SAME_FACE = 0.4
# A bystander smaller than this, against the largest face, does not make a picture ambiguous.
_BYSTANDER = 0.35


class FaceFinder:
    """Detector and mesh network; one per thread, because OpenCV's networks keep their buffers."""

    def __init__(self) -> None:
        self.detector: Detector = Detector()
        self.mesher: Mesher = Mesher()

    def measure(self, image: Pixels, detection: Detection) -> tuple[Floats, float]:
        """Read the mesh where a detection points, once more from where the first reading lies; and its presence."""
        mesh, _ = self.mesher.read(image, Region.of_detection(detection))
        return self.mesher.read(image, Region.of_mesh(mesh))

    def find(self, image: Pixels) -> list[Face]:
        """Find up to 32 faces in (h, w, 3) uint8, ordered from left to right."""
        faces: list[Face] = []
        for detection in self.detector.find(image, tiles=tiles_for(*image.shape[1::-1])):
            mesh, presence = self.measure(image, detection)
            face = Face(mesh=mesh)
            low, high = face.bounds
            if presence < _MIN_PRESENCE or (high - low).min() < _MIN_SIDE:
                continue
            # Two detections may end in one mesh.
            if not any(is_same_place(face, other) for other in faces):
                faces.append(face)
        return sorted(faces[:MAX_FACES], key=lambda face: float(face.bounds[0][0]))


def is_same_place(one: Face, other: Face) -> bool:
    """Whether two faces lie so near to each other that they must be one."""
    distance = float(np.linalg.norm(one.centre - other.centre))
    return distance < _SAME_FACE * max(one.width, other.width)


_per_thread = threading.local()


def local_finder() -> FaceFinder:
    """Give the finder of the running thread; the networks are loaded the first time."""
    finder: FaceFinder | None = getattr(_per_thread, "finder", None)
    if finder is None:
        finder = _per_thread.finder = FaceFinder()
    return finder


def pick_single(faces: list[Face], *, where: str) -> Face:
    """Give the one face that is meant; bystanders far in the background do not count.

    Raises:
        EngineError: 602 there is none, 603 there are several of comparable size; `where` says in which file.
    """
    if not faces:
        raise EngineError(NO_FACE, f"no face in the {where}")
    largest = max(faces, key=lambda face: face.size)
    comparable = [face for face in faces if face.size > _BYSTANDER * largest.size]
    if len(comparable) > 1:
        raise EngineError(SEVERAL_FACES, f"{len(comparable)} faces in the {where} where one is expected")
    return largest
