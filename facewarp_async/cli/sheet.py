"""The contact sheet: what went in and what came out, side by side. Needs the extra ``local``; reads and writes disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from attrs import frozen

Pixels = npt.NDArray[Any]

_TILE = 136
_GAP = 8
_MARGIN = 24
_TITLE = 24
_ROWS_ACROSS = 3
_PAPER = 250
_INK = (70, 70, 70)
_QUALITY = 76
_HEADINGS = ("face", "before", "after")


@frozen
class Row:
    """A swap: the face or faces that were put in, the photo, the result."""

    faces: tuple[Path, ...]
    before: Path
    after: Path


def write_sheet(path: Path, rows: Sequence[Row]) -> None:
    """Draw rows of face, before and after, three of them across, and write them as JPEG."""
    strips = [_strip(row) for row in rows]
    strips += [np.full_like(strips[0], _PAPER)] * (-len(strips) % _ROWS_ACROSS)
    lines = [_across(strips[at : at + _ROWS_ACROSS]) for at in range(0, len(strips), _ROWS_ACROSS)]
    sheet = np.vstack([_titles(), *lines])
    sheet = cv2.copyMakeBorder(sheet, 0, _MARGIN, _MARGIN, _MARGIN, cv2.BORDER_CONSTANT, value=(_PAPER,) * 3)
    data = cv2.imencode(".jpg", sheet, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()
    path.write_bytes(data)


def _strip(row: Row) -> Pixels:
    faces = [_read(path) for path in row.faces]
    side = _TILE // len(faces)
    face = np.hstack([_fit(image, side, _TILE) for image in faces])
    tiles = [face, _fit(_read(row.before), _TILE, _TILE), _fit(_read(row.after), _TILE, _TILE)]
    return _joined(tiles, _GAP)


def _across(strips: Sequence[Pixels]) -> Pixels:
    line = _joined(strips, _MARGIN)
    return np.vstack([line, np.full((_GAP, line.shape[1], 3), _PAPER, np.uint8)])


def _joined(pictures: Sequence[Pixels], gap: int) -> Pixels:
    space = np.full((pictures[0].shape[0], gap, 3), _PAPER, np.uint8)
    parts = [part for picture in pictures for part in (space, picture)]
    return np.hstack(parts[1:])


def _titles() -> Pixels:
    strip = np.full((_TITLE + _GAP, 3 * _TILE + 2 * _GAP, 3), _PAPER, np.uint8)
    for column, heading in enumerate(_HEADINGS):
        at = (column * (_TILE + _GAP), _TITLE)
        cv2.putText(strip, heading, at, cv2.FONT_HERSHEY_SIMPLEX, 0.45, _INK, 1, cv2.LINE_AA)
    return _joined([strip] * _ROWS_ACROSS, _MARGIN)


def _fit(image: Pixels, width: int, height: int) -> Pixels:
    """Reduce a picture to a box, whole, on paper."""
    scale = min(width / image.shape[1], height / image.shape[0])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    left, upper = (width - size[0]) // 2, (height - size[1]) // 2
    right, lower = width - size[0] - left, height - size[1] - upper
    return cv2.copyMakeBorder(small, upper, lower, left, right, cv2.BORDER_CONSTANT, value=(_PAPER,) * 3)


def _read(path: Path) -> Pixels:
    image = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"{path}: is no picture")
    return image
