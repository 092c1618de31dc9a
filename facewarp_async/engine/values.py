"""What the engine hands back: values that name the files it wrote."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from attrs import frozen

Landmarks: TypeAlias = Sequence[tuple[float, float]]
"""Five points (x, y) in pixels of the medium: left eye, right eye, nose, left and right corner of the mouth, where left
is the left side of the picture."""


@frozen(kw_only=True)
class Thumbnail:
    """A reduced picture beside a result; it keeps the result's proportions.

    Attributes:
        path: The file.
        width: Pixels.
        height: Pixels.
    """

    path: Path
    width: int
    height: int


@frozen(kw_only=True)
class SwappedImage:
    """A picture with its face or faces changed.

    Attributes:
        path: The file: `.jpg` where the medium was a JPEG, `.png` otherwise.
        width: Pixels.
        height: Pixels.
        size: Bytes of the file.
        thumbnail: The reduced copy, in the same format.
    """

    path: Path
    width: int
    height: int
    size: int
    thumbnail: Thumbnail


@frozen(kw_only=True)
class SwappedVideo:
    """A clip with its face or faces changed.

    Attributes:
        path: The file, always `.mp4`.
        width: Pixels.
        height: Pixels.
        size: Bytes of the file.
        duration_s: Length in seconds.
        cover: The first frame that shows a changed face, in full size.
        cover_thumbnail: The cover reduced.
    """

    path: Path
    width: int
    height: int
    size: int
    duration_s: float
    cover: Thumbnail
    cover_thumbnail: Thumbnail


@frozen(kw_only=True)
class FaceCrop:
    """One face that was found in a medium, cut out of it.

    Attributes:
        path: The crop, a PNG file.
        width: Pixels of the crop.
        height: Pixels of the crop.
        size: Bytes of the crop's file.
        keypoints: Left eye, right eye, nose, left and right corner of the mouth, as seen in the picture, in pixels of
            the crop and inside it.
        landmarks: The same five points in pixels of the medium; they name this face in a multiple swap.
    """

    path: Path
    width: int
    height: int
    size: int
    keypoints: tuple[tuple[int, int], ...]
    landmarks: tuple[tuple[float, float], ...]
