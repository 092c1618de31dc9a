"""What a task gives a runner to do, and what comes back: values that also travel to worker processes as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cattrs
from attrs import frozen

from facewarp_async.models import TaskKind

Landmarks = tuple[tuple[float, float], ...]
"""Left eye, right eye, nose, left and right corner of the mouth, in pixels of the media."""


@frozen
class FacePlan:
    """A face of the media, and the picture of the one to put in its place."""

    landmarks: Landmarks
    face: Path


@frozen(kw_only=True)
class Work:
    """One task's work.

    Attributes:
        kind: What to make.
        media: The image or video to be changed, or to be searched for faces.
        face: The face to put in, for the two single swaps.
        pairs: The faces to change, for the two multiple swaps.
        hd: Whether to take pains.
        folder: Where to put what is made. The inputs are in it too, as ``input0.…`` and so on.
    """

    kind: TaskKind
    media: Path
    folder: Path
    face: Path | None = None
    pairs: tuple[FacePlan, ...] = ()
    hd: bool = False


@frozen
class MadePicture:
    """A picture in the work's folder, with its width and height in pixels."""

    path: Path
    width: int
    height: int


@frozen(kw_only=True)
class MadeImage:
    """A swapped image."""

    image: MadePicture
    thumbnail: MadePicture


@frozen(kw_only=True)
class MadeVideo:
    """A swapped video, its duration in seconds, and pictures to show for it."""

    path: Path
    width: int
    height: int
    duration_s: float
    cover: MadePicture
    cover_thumbnail: MadePicture


@frozen(kw_only=True)
class MadeFace:
    """A face that was found.

    Attributes:
        crop: Its picture.
        keypoints: Five points in whole pixels of the crop.
        landmarks: The same five points in pixels of the media.
    """

    crop: MadePicture
    keypoints: tuple[tuple[int, int], ...]
    landmarks: Landmarks


@frozen
class MadeFaces:
    """The faces found in the media, perhaps none."""

    faces: tuple[MadeFace, ...]


Made = MadeImage | MadeVideo | MadeFaces
"""What a task has made."""


class WorkError(Exception):
    """The work cannot be done; the code is one of the protocol's, the message is for the task's owner."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message


def _build() -> cattrs.Converter:
    converter = cattrs.Converter(detailed_validation=False)
    converter.register_unstructure_hook_func(lambda type_: issubclass(type_, Path), str)
    converter.register_structure_hook(Path, lambda value, _type: Path(value))
    return converter


_CONVERTER = _build()
_MADE: dict[str, type[Made]] = {cls.__name__: cls for cls in (MadeImage, MadeVideo, MadeFaces)}


def dump_work(work: Work) -> dict[str, Any]:
    """Return work as JSON values."""
    plain: dict[str, Any] = _CONVERTER.unstructure(work)
    return plain


def load_work(plain: dict[str, Any]) -> Work:
    """Reverse `dump_work`."""
    return _CONVERTER.structure(plain, Work)


def dump_made(made: Made) -> dict[str, Any]:
    """Return what was made as JSON values."""
    return {"type": type(made).__name__, "value": _CONVERTER.unstructure(made)}


def load_made(plain: dict[str, Any]) -> Made:
    """Reverse `dump_made`."""
    return _CONVERTER.structure(plain["value"], _MADE[plain["type"]])
