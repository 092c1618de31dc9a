"""Clips that FFmpeg reads: MP4, M4V, MOV, WEBM and GIF."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import cast

import av
import av.container

from facewarp_async.engine.clips.base import (
    MAX_CLIP_PIXELS,
    ColourTags,
    Frame,
    Item,
    SoundPacket,
    check_length,
    check_size,
)
from facewarp_async.engine.errors import UNREADABLE_FILE, UNSUPPORTED_FORMAT, EngineError

_FEW_DAMAGED = 3
_DAMAGED_SHARE = 0.1


class FileClip:
    """A clip that FFmpeg reads."""

    def __init__(self, container: av.container.InputContainer) -> None:
        streams = [stream for stream in container.streams.video if _is_known(stream) and not _is_cover(stream)]
        if not streams:
            raise EngineError(UNSUPPORTED_FORMAT, "the file holds no moving picture")
        self._container = container
        self._stream = stream = streams[0]
        self.time_base: Fraction = stream.time_base or Fraction(1, 90_000)
        rate = stream.average_rate or stream.guessed_rate
        self.rate: Fraction = rate if rate and 0 < rate <= 1000 else Fraction(25)
        self.duration_s: float | None = None if container.duration is None else container.duration / av.time_base
        context = stream.codec_context
        self.colours: ColourTags = ColourTags(
            primaries=context.color_primaries, transfer=context.color_trc, matrix=context.colorspace
        )
        self.aspect: Fraction | None = stream.sample_aspect_ratio or None
        self.sound: av.AudioStream | None = next(filter(_is_known, container.streams.audio), None)
        check_size(stream.width, stream.height)
        check_length(self.duration_s or 0.0, 0)
        context.thread_type = "AUTO"
        # The stream may hold larger frames than its header states.
        context.options = {"max_pixels": str(MAX_CLIP_PIXELS)}

    def read(self) -> Iterator[Item]:
        """Yield frames and packets of sound once, from the start."""
        wanted = [self._stream] if self.sound is None else [self._stream, self.sound]
        order = _Order(self)
        try:
            for packet in self._container.demux(wanted):
                if isinstance(packet.stream, av.AudioStream):
                    if packet.dts is not None:
                        yield cast("SoundPacket", packet)
                elif isinstance(packet.stream, av.VideoStream):
                    yield from order.decode(cast("av.Packet[av.VideoStream]", packet))
        except av.FFmpegError as error:
            raise EngineError(UNREADABLE_FILE, "the clip is damaged") from error
        order.finish()


def _is_known(stream: av.VideoStream | av.AudioStream) -> bool:
    """Whether FFmpeg knows the codec; PyAV gives no context otherwise, though its stubs promise one."""
    return getattr(stream, "codec_context", None) is not None


def _is_cover(stream: av.VideoStream) -> bool:
    """Whether a 'video' is the cover picture of a song."""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


class _Order:
    """Decodes packets, keeps time running forwards, and counts what is damaged."""

    def __init__(self, clip: FileClip) -> None:
        self._clip = clip
        self._first = self._last = 0
        self._frames = self._damaged = 0
        self._size = (0, 0)

    def decode(self, packet: av.Packet[av.VideoStream]) -> Iterator[Frame]:
        """Give the frames that a packet completes; a damaged one completes none."""
        try:
            decoded = packet.decode()
        except (av.FFmpegError, ValueError, MemoryError):  # ValueError: PyAV 19, of a codec that would not open
            self._damaged += 1
            return
        for image in decoded:
            frame = self._next(image)
            if frame is not None:
                yield frame

    def _next(self, image: av.VideoFrame) -> Frame | None:
        unit = self._clip.time_base
        usual = max(1, round(1 / (self._clip.rate * unit)))
        pts = self._last + usual if image.pts is None else image.pts
        if not self._frames:
            self._first, self._size = pts, (image.width, image.height)
        elif pts <= self._last:  # two frames at one time: the muxer could not tell them apart
            return None
        self._last = pts
        self._frames += 1
        time_s = float((pts - self._first) * unit)
        check_length(time_s + float(max(0, image.duration or 0) * unit), self._frames)
        check_size(image.width, image.height)
        return Frame(pts=pts, duration=image.duration or 0, time_s=time_s, pixels=image, size=self._size)

    def finish(self) -> None:
        """Raise 701 where too little of the clip could be decoded."""
        if not self._frames or self._damaged > max(_FEW_DAMAGED, self._frames * _DAMAGED_SHARE):
            raise EngineError(UNREADABLE_FILE, "the clip is damaged")
