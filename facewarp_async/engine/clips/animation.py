"""Animated WEBP as a clip: FFmpeg cannot read it."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import av
import cv2
from attrs import define, field

from facewarp_async.engine.arrays import Pixels
from facewarp_async.engine.clips.base import ColourTags, Frame, Item, check_length, check_size
from facewarp_async.engine.errors import UNREADABLE_FILE, UNSUPPORTED_FORMAT, EngineError
from facewarp_async.engine.formats import webp
from facewarp_async.engine.media import compose_frame, decode_still


@define(kw_only=True, eq=False)
class Animation:
    """An animated WEBP; its time unit is a millisecond."""

    data: bytes
    duration_s: float | None
    rate: Fraction
    time_base: Fraction = Fraction(1, 1000)
    colours: ColourTags = field(factory=ColourTags)
    aspect: Fraction | None = None
    sound: av.AudioStream | None = None

    @classmethod
    def of(cls, data: bytes) -> Animation:
        """Check a file and its size and length."""
        header = webp.parse_header(data)
        check_size(header.width, header.height)
        durations = [max(1, frame.duration_ms) for frame in webp.parse_frames(data)]
        if not durations:
            raise EngineError(UNSUPPORTED_FORMAT, "the file holds no moving picture")
        check_length(sum(durations) / 1000, len(durations))
        return cls(data=data, duration_s=sum(durations) / 1000, rate=Fraction(1000 * len(durations), sum(durations)))

    def read(self) -> Iterator[Item]:
        """Yield the frames."""
        header = webp.parse_header(self.data)
        canvas: Pixels | None = None
        pts = 0
        for part in webp.parse_frames(self.data):
            try:
                canvas = compose_frame(canvas, part, decode_still(part.still), header)
            except (cv2.error, MemoryError) as error:
                raise EngineError(UNREADABLE_FILE, "the WEBP file is damaged") from error
            duration = max(1, part.duration_ms)
            size = (header.width, header.height)
            yield Frame(pts=pts, duration=duration, time_s=pts / 1000, pixels=canvas, size=size)
            pts += duration
            if part.clears:
                canvas = canvas.copy()
                canvas[part.top : part.top + part.height, part.left : part.left + part.width] = 0
