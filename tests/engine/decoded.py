"""What is read back of clips and pictures."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from facewarp_async.engine import EngineError
from facewarp_async.engine.arrays import Pixels, as_pixels
from facewarp_async.engine.clips import Frame, open_clip, read_frames


def read(path: Path) -> list[Frame]:
    with open_clip(path) as clip:
        return list(read_frames(clip))


def pictures(path: Path) -> list[Pixels]:
    with open_clip(path) as clip:
        return [frame.planes().to_picture() for frame in read_frames(clip)]


def code_of(path: Path) -> int:
    with pytest.raises(EngineError) as caught:
        pictures(path)
    return caught.value.code


def times(path: Path) -> list[Fraction]:
    """When each frame is shown, exactly, by a reader of its own."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.time_base is not None
        return sorted(frame.pts * stream.time_base for frame in container.decode(stream) if frame.pts is not None)


def difference(one: list[Pixels], other: list[Pixels]) -> float:
    assert len(one) == len(other)
    return float(np.mean([np.abs(a.astype(int) - b).mean() for a, b in zip(one, other, strict=True)]))


def decode_picture(path: Path) -> Pixels:
    image = cv2.imread(str(path))
    assert image is not None
    return as_pixels(image)
