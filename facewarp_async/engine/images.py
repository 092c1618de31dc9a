"""Pictures in, pictures out: the tasks on stills."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import av
import cv2
import numpy as np
from attrs import evolve

from facewarp_async.engine.errors import NO_FACE, TASK_FAILED, EngineError
from facewarp_async.engine.face import Face, nearest_face
from facewarp_async.engine.finder import local_finder, pick_single
from facewarp_async.engine.media import Picture, read_picture
from facewarp_async.engine.results import write_picture, write_thumbnail
from facewarp_async.engine.swap import FAST, HD, Quality, Source, swap_face
from facewarp_async.engine.values import Landmarks, SwappedImage


@contextmanager
def typed_failures() -> Iterator[None]:
    """Turn whatever the native libraries throw into the engine's own error: a task may fail, the worker may not.

    Raises:
        EngineError: 601 for an error of OpenCV, FFmpeg, numpy or the disk, or for lack of memory.
    """
    try:
        yield
    except (cv2.error, av.FFmpegError, np.linalg.LinAlgError, MemoryError, OSError) as error:
        raise EngineError(TASK_FAILED, f"the face could not be swapped: {type(error).__name__}") from error


def read_source(face: Path) -> Source:
    """Read the picture of a face to put in.

    Raises:
        EngineError: 602 or 603 for no or several faces; 701, 703 or 704 for the file.
    """
    image = read_picture(face).flattened()
    return Source.of(image, pick_single(local_finder().find(image), where="picture of the face"))


def swap_image(media: Path, face: Path, out: Path, *, hd: bool = False) -> SwappedImage:
    """Replace the face in a picture.

    Args:
        media: The picture to be changed; of an animation its first picture is used.
        face: The picture of the face to put in.
        out: A stem: the result is written beside it with its extension, and the thumbnail as `…_thumbnail`.
        hd: Work at full resolution; otherwise a large face is computed reduced.

    Raises:
        EngineError: 602 no face, 603 several faces in either picture; 701 unreadable, 703 not a supported picture, 704
            too large; 601 anything else. No file stays then.
    """
    with typed_failures():
        picture = read_picture(media)
        image = picture.flattened()
        found = pick_single(local_finder().find(image), where="picture to change")
        quality = HD if hd else FAST
        return _write_result(_changed(picture, [(found, read_source(face))], quality), out, quality)


def swap_faces(media: Path, pairs: Sequence[tuple[Landmarks, Path]], out: Path, *, hd: bool = False) -> SwappedImage:
    """Replace several faces in a picture, and leave every other pixel as it is.

    Args:
        media: The picture to be changed.
        pairs: The landmarks of a face in it, as `find_faces` gave them, and the picture of the face to put there. Where
            two pairs name one face, the later one counts.
        out: A stem, as for `swap_image`.
        hd: As for `swap_image`.

    Raises:
        EngineError: 602 no face near the landmarks, or none in a picture of a face; 603, 701, 703, 704, 601 as for
            `swap_image`. No file stays then.
    """
    with typed_failures():
        picture = read_picture(media)
        faces = local_finder().find(picture.flattened())
        sources: dict[int, Path] = {}
        for landmarks, face in pairs:
            index = nearest_face(faces, landmarks)
            if index is None:
                raise EngineError(NO_FACE, "no face in the picture to change at the given place")
            sources[index] = face
        quality = HD if hd else FAST
        jobs = [(faces[index], read_source(face)) for index, face in sources.items()]
        return _write_result(_changed(picture, jobs, quality), out, quality)


def _changed(picture: Picture, jobs: Sequence[tuple[Face, Source]], quality: Quality) -> Picture:
    """Give a copy of a picture with the faces painted."""
    colour = picture.colour.copy()
    for face, source in jobs:
        if swap_face(picture.colour, face, source, quality, colour) is None:
            raise EngineError(NO_FACE, "the face lies outside the picture")
    return evolve(picture, colour=colour)


def _write_result(picture: Picture, out: Path, quality: Quality) -> SwappedImage:
    """Write result and thumbnail; both or neither."""
    path, size = write_picture(picture, out, quality=quality.jpeg_quality)
    try:
        thumbnail = write_thumbnail(picture, out.with_name(out.name + "_thumbnail"))
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    height, width = picture.colour.shape[:2]
    return SwappedImage(path=path, width=width, height=height, size=size, thumbnail=thumbnail)
