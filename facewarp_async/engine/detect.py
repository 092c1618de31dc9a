"""Finding where faces are: two BlazeFace networks over the whole picture and over overlapping tiles of a large one."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import numpy.typing as npt
from attrs import field, frozen

from facewarp_async.engine.arrays import Floats, Pixels, as_floats
from facewarp_async.engine.nets import load_net, run_net

_THRESHOLD = 0.5
_MIN_FACE = 20
_SAME_FACE_IOU = 0.3
_TILE_EDGE = 2
_OUTPUTS = ("regressors", "classificators")


@frozen(kw_only=True, eq=False)
class Detection:
    """A place where a face seems to be.

    Attributes:
        box: (4,) float32, left, top, right, bottom in pixels.
        eyes: (2, 2) float32, the left and the right eye of the picture.
        score: 0 to 1.
    """

    box: Floats
    eyes: Floats
    score: float

    @property
    def centre(self) -> Floats:
        """(2,) float32."""
        return as_floats((self.box[:2] + self.box[2:]) / 2)

    @property
    def side(self) -> float:
        """The longer side of the box in pixels."""
        return float((self.box[2:] - self.box[:2]).max())


def _anchors(size: int, layers: tuple[tuple[int, int], ...]) -> Floats:
    """The centres that the network's answers are relative to, (n, 2) in shares of its input."""
    centres = []
    for stride, count in layers:
        cells = size // stride
        y, x = np.mgrid[0:cells, 0:cells]
        grid = np.stack([(x + 0.5) / cells, (y + 0.5) / cells], -1).reshape(-1, 2)
        centres.append(np.repeat(grid, count, axis=0))
    return as_floats(np.concatenate(centres))


@frozen(eq=False)
class _BlazeFace:
    """One detector network; `size` is the side of its square input."""

    name: str
    size: int
    layers: tuple[tuple[int, int], ...]
    net: cv2.dnn.Net = field(init=False)
    anchors: Floats = field(init=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "net", load_net(self.name))
        object.__setattr__(self, "anchors", _anchors(self.size, self.layers))

    def find(self, image: Pixels) -> Floats:
        """Give (n, 9) float32: box, score, both eyes; in pixels of `image`."""
        height, width = image.shape[:2]
        scale = self.size / max(height, width)
        wide, high = max(1, round(width * scale)), max(1, round(height * scale))
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        left, top = (self.size - wide) // 2, (self.size - high) // 2
        canvas = np.zeros((self.size, self.size, 3), np.uint8)
        canvas[top : top + high, left : left + wide] = cv2.resize(image, (wide, high), interpolation=method)
        blob = cv2.dnn.blobFromImage(canvas, 1 / 127.5, (self.size, self.size), (127.5,) * 3, swapRB=True)
        regressors, logits = run_net(self.net, as_floats(blob), _OUTPUTS)
        score = 1 / (1 + np.exp(-np.clip(logits.reshape(-1), -80, 80)))
        hit = np.flatnonzero(score > _THRESHOLD)
        values, anchors = regressors.reshape(-1, 16)[hit] / self.size, self.anchors[hit]
        centre, half = values[:, :2] + anchors, values[:, 2:4] / 2
        points = np.concatenate([centre - half, centre + half, values[:, 4:6] + anchors, values[:, 6:8] + anchors], 1)
        points = (points * self.size - np.array([left, top] * 4)) / scale
        return as_floats(np.column_stack([points[:, :4], score[hit], points[:, 4:]]))


def _tiles(width: int, height: int, count: int) -> Iterator[tuple[int, int, int, int]]:
    """Left, top, width and height of count x count tiles that overlap by a quarter."""
    wide, high = int(width / (count * 0.75 + 0.25)), int(height / (count * 0.75 + 0.25))
    for column in range(count):
        for row in range(count):
            yield int((width - wide) * column / (count - 1)), int((height - high) * row / (count - 1)), wide, high


def _is_whole(found: Floats, tile: tuple[int, int, int, int], width: int, height: int) -> npt.NDArray[np.bool_]:
    """Which boxes are not cut by an inner edge of their tile: the others belong to a neighbour."""
    left, top, wide, high = tile
    return (
        ((found[:, 0] > left + _TILE_EDGE) | (left == 0))
        & ((found[:, 1] > top + _TILE_EDGE) | (top == 0))
        & ((found[:, 2] < left + wide - _TILE_EDGE) | (left + wide >= width))
        & ((found[:, 3] < top + high - _TILE_EDGE) | (top + high >= height))
    )


def tiles_for(width: int, height: int) -> int:
    """How many tiles a side a picture of this size is also searched in; 0 is none."""
    longest = max(width, height)
    return 0 if longest < 1000 else 2 if longest < 2600 else 3


class Detector:
    """Both detectors; one per thread."""

    def __init__(self) -> None:
        self._networks = (
            _BlazeFace("face_detection_back.tflite", 256, ((16, 2), (32, 6))),
            _BlazeFace("face_detection_short_range.tflite", 128, ((8, 2), (16, 6))),
        )

    def find(self, image: Pixels, *, tiles: int) -> list[Detection]:
        """Find faces of at least 20 pixels in `image`, best first; none is listed twice."""
        height, width = image.shape[:2]
        found = [network.find(image) for network in self._networks]
        for tile in _tiles(width, height, tiles) if tiles > 1 else ():
            left, top, wide, high = tile
            view = image[top : top + high, left : left + wide]
            for network in self._networks:
                inside = network.find(view)
                inside += as_floats([left, top, left, top, 0, left, top, left, top])
                found.append(inside[_is_whole(inside, tile, width, height)])
        candidates = np.concatenate(found)
        return _merge(candidates[candidates[:, 2] - candidates[:, 0] >= _MIN_FACE])


def _merge(found: Floats) -> list[Detection]:
    """Average the boxes that mean the same face, weighted by their scores."""
    found = found[np.argsort(-found[:, 4])]
    merged = []
    while len(found):
        same = _overlap(found[0], found) > _SAME_FACE_IOU
        same[0] = True  # an empty box does not even overlap itself
        mean = as_floats(np.average(found[same], axis=0, weights=found[same, 4]))
        merged.append(Detection(box=mean[:4], eyes=mean[5:].reshape(2, 2), score=float(found[0, 4])))
        found = found[~same]
    return merged


def _overlap(one: Floats, many: Floats) -> Floats:
    """Intersection over union of one box with each of many."""
    low, high = np.maximum(one[:2], many[:, :2]), np.minimum(one[2:4], many[:, 2:4])
    common = np.clip(high - low, 0, None).prod(1)
    area = (one[2:4] - one[:2]).prod() + (many[:, 2:4] - many[:, :2]).prod(1) - common
    return as_floats(common / (area + 1e-9))
