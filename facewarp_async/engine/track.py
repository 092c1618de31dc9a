"""Following faces from frame to frame: the mesh is read where it last was, and the detector looks for new ones."""

from __future__ import annotations

import numpy as np
from attrs import define, field, frozen

from facewarp_async.engine.arrays import Pixels, as_floats
from facewarp_async.engine.detect import tiles_for
from facewarp_async.engine.face import Face
from facewarp_async.engine.finder import MAX_FACES, FaceFinder, is_same_place
from facewarp_async.engine.mesh import Region
from facewarp_async.engine.skin import measure_reach
from facewarp_async.engine.smooth import OneEuroFilter

_DETECT_EVERY = 12  # frames
_TILES_EVERY = 48
_KEEP_PRESENCE = 0.5
_NEW_PRESENCE = 0.6
_KEEP_INSIDE = 0.6  # of the points
_LARGEST_JUMP = 0.6  # of the face's size
_QUICK = 0.04  # of the face's size
_MOST_READINGS = 3
_REACH_STEP = 0.08
MEMORY_S = 3.0


@frozen(kw_only=True, eq=False)
class Tracked:
    """A face in one frame.

    Attributes:
        track: Its number; the same face has the same one as long as it can be followed.
        face: The calmed mesh.
    """

    track: int
    face: Face


@define(kw_only=True, eq=False)
class _Track:
    number: int
    raw: Face
    seen_s: float
    filter: OneEuroFilter = field(factory=OneEuroFilter)
    reach: float | None = None

    def calmed(self, image: Pixels) -> Face:
        """Smooth mesh and forehead over time."""
        mesh = self.filter(self.raw.mesh, time_s=self.seen_s, size=self.raw.size)
        reach = measure_reach(image, mesh)
        self.reach = reach if self.reach is None else self.reach + _REACH_STEP * (reach - self.reach)
        return Face(mesh=mesh, reach=self.reach)


class Tracker:
    """The faces of one clip; give it every frame in order. The numbers depend on the frames alone."""

    def __init__(self, finder: FaceFinder) -> None:
        self._finder = finder
        self._tracks: list[_Track] = []
        self._lost: list[_Track] = []
        self._frames = 0
        self._count = 0

    def step(self, image: Pixels, time_s: float) -> list[Tracked]:
        """Find the faces of the next frame, (h, w, 3) uint8, which is shown at a time in seconds."""
        followed = [track for track in self._tracks if self._follow(track, image, time_s)]
        lost = [track for track in self._tracks if track not in followed]
        self._lost = [track for track in self._lost + lost if time_s - track.seen_s < MEMORY_S]
        self._tracks = followed
        if lost or not followed or self._frames % _DETECT_EVERY == 0:
            self._look(image, time_s)
        self._frames += 1
        return [Tracked(track=track.number, face=track.calmed(image)) for track in self._tracks]

    def _follow(self, track: _Track, image: Pixels, time_s: float) -> bool:
        """Read the mesh where the track was; say whether there still is the face."""
        face, presence = track.raw, 0.0
        for _ in range(_MOST_READINGS):
            mesh, presence = self._finder.mesher.read(image, Region.of_mesh(face.mesh))
            before, face = face, Face(mesh=mesh)
            # Off the middle of its region a face is read too near to it: a quick one would be left behind.
            if np.linalg.norm(face.centre - before.centre) < _QUICK * before.size:
                break
        points, size = face.mesh[:, :2], as_floats(image.shape[1::-1])
        inside = ((points > -10) & (points < size + 10)).all(1).mean()
        jump = float(np.linalg.norm(face.centre - track.raw.centre)) / (track.raw.size + 1e-3)
        if presence <= _KEEP_PRESENCE or inside <= _KEEP_INSIDE or jump >= _LARGEST_JUMP:
            return False
        track.raw, track.seen_s = face, time_s
        return True

    def _look(self, image: Pixels, time_s: float) -> None:
        """Start a track for each face that has none."""
        tiles = tiles_for(*image.shape[1::-1]) if self._frames % _TILES_EVERY == 0 else 0
        for detection in self._finder.detector.find(image, tiles=tiles):
            if len(self._tracks) >= MAX_FACES:
                return
            reach = 0.5 * max(detection.side, 8)
            if any(np.linalg.norm(detection.centre - track.raw.centre) < reach for track in self._tracks):
                continue
            mesh, presence = self._finder.measure(image, detection)
            face = Face(mesh=mesh)
            if presence > _NEW_PRESENCE and not any(is_same_place(face, track.raw) for track in self._tracks):
                self._tracks.append(_Track(number=self._number_for(face), raw=face, seen_s=time_s))

    def _number_for(self, face: Face) -> int:
        """Give a face that is back in its old place its old number; otherwise a new one."""
        for track in reversed(self._lost):
            if is_same_place(face, track.raw):
                self._lost.remove(track)
                return track.number
        self._count += 1
        return self._count - 1
