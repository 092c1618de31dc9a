"""Writing pictures: each result says that it is synthetic."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from facewarp_async.engine.arrays import as_pixels
from facewarp_async.engine.files import write_file
from facewarp_async.engine.formats import jpeg, png
from facewarp_async.engine.media import Picture
from facewarp_async.engine.values import Thumbnail

SYNTHETIC = "Synthetic media: a face in this file was replaced by software (facewarp-async)."
THUMBNAIL_SIDE = 540


def encode_picture(picture: Picture, *, quality: int) -> bytes:
    """Encode as JPEG where the picture came from one, as PNG with its alpha otherwise, marked as synthetic."""
    if picture.is_jpeg:
        encoded = cv2.imencode(".jpg", picture.colour, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
        return jpeg.annotate(encoded, comment=SYNTHETIC, profile=picture.profile)
    image = picture.colour if picture.alpha is None else np.dstack([picture.colour, picture.alpha])
    encoded = cv2.imencode(".png", image)[1].tobytes()
    return png.annotate(encoded, comment=SYNTHETIC, profile=picture.profile)


def write_picture(picture: Picture, stem: Path, *, quality: int) -> tuple[Path, int]:
    """Write a picture under `stem` with the extension of its format.

    Returns:
        The file and its size in bytes.
    """
    data = encode_picture(picture, quality=quality)
    path = stem.with_name(stem.name + (".jpg" if picture.is_jpeg else ".png"))
    write_file(path, data)
    return path, len(data)


def reduce_picture(picture: Picture, side: int) -> Picture:
    """Reduce a picture so that its longer side has at most `side` pixels; a smaller one is given back as it is."""
    height, width = picture.colour.shape[:2]
    if max(height, width) <= side:
        return picture
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    alpha = picture.alpha
    return Picture(
        colour=as_pixels(cv2.resize(picture.colour, size, interpolation=cv2.INTER_AREA)),
        alpha=None if alpha is None else as_pixels(cv2.resize(alpha, size, interpolation=cv2.INTER_AREA)),
        is_jpeg=picture.is_jpeg,
        profile=picture.profile,
    )


def write_thumbnail(picture: Picture, stem: Path) -> Thumbnail:
    """Write the reduced copy of a picture beside it."""
    small = reduce_picture(picture, THUMBNAIL_SIDE)
    path, _ = write_picture(small, stem, quality=88)
    height, width = small.colour.shape[:2]
    return Thumbnail(path=path, width=width, height=height)
