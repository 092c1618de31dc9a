"""What a clip is to the rest of the engine: frames, sound, and the limits that it must keep."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Protocol, TypeAlias

import av
import numpy as np
from attrs import frozen

from facewarp_async.engine.arrays import Pixels
from facewarp_async.engine.clips.convert import on_white, to_planes
from facewarp_async.engine.clips.planes import Planes
from facewarp_async.engine.errors import TOO_LARGE, UNREADABLE_FILE, EngineError

MAX_CLIP_SECONDS = 600.0
MAX_CLIP_FRAMES = 36_000
MAX_CLIP_PIXELS = 3840 * 2160


@frozen(kw_only=True)
class ColourTags:
    """How the clip says its numbers are to be seen, in FFmpeg's numbers; 2 is 'not said'."""

    primaries: int = 2
    transfer: int = 2
    matrix: int = 2


@frozen(kw_only=True, eq=False)
class Frame:
    """One frame, its pixels still as the decoder left them.

    Attributes:
        pts: When it is shown, in the clip's time base.
        duration: How long, in the same unit; 0 where it is not known.
        time_s: Seconds since the clip's first frame.
        pixels: The decoder's frame, or (h, w, 4) uint8 of an animation.
        size: Width and height that every frame of the clip is brought to.
    """

    pts: int
    duration: int
    time_s: float
    pixels: av.VideoFrame | Pixels
    size: tuple[int, int]

    def planes(self) -> Planes:
        """Give the frame upright as planes that may be written to."""
        if isinstance(self.pixels, np.ndarray):
            return Planes.of_picture(on_white(self.pixels))
        return to_planes(self.pixels, self.size)


SoundPacket: TypeAlias = "av.Packet[av.AudioStream]"
Item: TypeAlias = "Frame | SoundPacket"


class Clip(Protocol):
    """What can be read frame by frame.

    Attributes:
        time_base: Seconds a unit of time.
        rate: Frames a second, on average.
        duration_s: As the header states it; None where it does not.
        colours: The colour tags.
        aspect: Width of a pixel over its height; None where that is not said.
        sound: The stream of sound that comes with it, or None.
    """

    time_base: Fraction
    rate: Fraction
    duration_s: float | None
    colours: ColourTags
    aspect: Fraction | None
    sound: av.AudioStream | None

    def read(self) -> Iterator[Item]:
        """Yield frames and packets of sound once, from the start."""


def check_size(width: int, height: int) -> None:
    """Refuse frames that would not fit.

    Raises:
        EngineError: 701 no size at all, 704 too many pixels.
    """
    if width < 2 or height < 2:
        raise EngineError(UNREADABLE_FILE, "the clip states no size")
    if width * height > MAX_CLIP_PIXELS:
        raise EngineError(TOO_LARGE, f"the clip has {width}x{height} pixels, more than {MAX_CLIP_PIXELS}")


def check_length(seconds: float, frames: int) -> None:
    """Refuse what would take for ever.

    Raises:
        EngineError: 704.
    """
    if seconds > MAX_CLIP_SECONDS:
        raise EngineError(TOO_LARGE, f"the clip is longer than {MAX_CLIP_SECONDS:.0f} s")
    if frames > MAX_CLIP_FRAMES:
        raise EngineError(TOO_LARGE, f"the clip has more than {MAX_CLIP_FRAMES} frames")
