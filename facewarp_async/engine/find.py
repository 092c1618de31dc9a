"""The task of finding faces, in pictures and clips."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from facewarp_async.engine.arrays import Floats, Pixels, as_floats
from facewarp_async.engine.clips import Samples, open_clip, read_frames
from facewarp_async.engine.face import Face
from facewarp_async.engine.files import write_file
from facewarp_async.engine.finder import is_same_place, local_finder
from facewarp_async.engine.formats import Kind
from facewarp_async.engine.images import typed_failures
from facewarp_async.engine.media import read_picture, sniff_file
from facewarp_async.engine.track import Tracker
from facewarp_async.engine.values import FaceCrop

_CROP_MARGIN = 0.3  # of the face's size, on each side


def find_faces(media: Path, out_dir: Path) -> list[FaceCrop]:
    """Find the faces of a medium and write a crop of each into a folder.

    Args:
        media: A picture, of which an animated one counts by its first picture, or a clip, of which nine frames spread
            over it are looked at; a face that was listed before, or another in its place, is not listed again.
        out_dir: An existing folder; the crops are named `face-00.png` and so on.

    Returns:
        One entry a face, ordered from left to right; an empty list where there is none.

    Raises:
        EngineError: 701 unreadable, 703 not a supported format, 704 too large; 601 anything else. No file stays then.
    """
    with typed_failures():
        is_clip = sniff_file(media) in (Kind.MP4, Kind.WEBM)
        found = _in_clip(media) if is_clip else _in_picture(media)
        found.sort(key=lambda item: float(item[1].bounds[0][0]))
        return _write_crops(found, out_dir)


def _in_picture(media: Path) -> list[tuple[Pixels, Face]]:
    image = read_picture(media).flattened()
    return [(image, face) for face in local_finder().find(image)]


def _in_clip(media: Path) -> list[tuple[Pixels, Face]]:
    """Look at the samples, and follow the faces in between: a face that moves is listed once."""
    found: list[tuple[Pixels, Face]] = []
    known: set[int] = set()
    with open_clip(media) as clip:
        samples, tracker = Samples(clip), Tracker(local_finder())
        for frame in read_frames(clip):
            image = frame.planes().to_picture()
            tracked = tracker.step(image, frame.time_s)
            for item in tracked if samples.is_due(frame) else ():
                if item.track not in known and not any(is_same_place(item.face, other) for _, other in found):
                    found.append((image, item.face))
                known.add(item.track)
    return found


def _write_crops(found: Sequence[tuple[Pixels, Face]], out_dir: Path) -> list[FaceCrop]:
    """Write a crop of each face, taken from the picture that stands beside it; all or none."""
    crops: list[FaceCrop] = []
    try:
        for number, (image, face) in enumerate(found):
            crops.append(_write_crop(image, face, out_dir / f"face-{number:02d}.png"))
    except BaseException:
        for crop in crops:
            crop.path.unlink(missing_ok=True)
        raise
    return crops


def _write_crop(image: Pixels, face: Face, path: Path) -> FaceCrop:
    low, high = face.bounds
    margin = face.size * _CROP_MARGIN
    height, width = image.shape[:2]
    x0, y0 = np.floor(np.clip(low - margin, 0, (width - 1, height - 1))).astype(int)
    x1, y1 = np.ceil(np.clip(high + margin, 1, (width, height))).astype(int)
    crop = image[y0:y1, x0:x1]
    data = cv2.imencode(".png", crop)[1].tobytes()
    write_file(path, data)
    return FaceCrop(
        path=path,
        width=int(x1 - x0),
        height=int(y1 - y0),
        size=len(data),
        keypoints=_keypoints(face.landmarks, as_floats([x0, y0]), as_floats([x1 - x0, y1 - y0])),
        landmarks=tuple((float(x), float(y)) for x, y in face.landmarks),
    )


def _keypoints(landmarks: Floats, corner: Floats, size: Floats) -> tuple[tuple[int, int], ...]:
    """Whole pixels of the crop; a point beyond the picture's edge is moved onto it."""
    points = np.clip(np.round(landmarks - corner), 0, size - 1).astype(int)
    return tuple((int(x), int(y)) for x, y in points)
