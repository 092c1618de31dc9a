"""Clips read as a stream: frames in the order in which they are shown, and packets of sound between them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Protocol, TypeAlias, cast

import av
import av.container
import cv2
import numpy as np
from attrs import define, field, frozen

from facewarp_async.engine.arrays import Pixels, as_floats, as_pixels
from facewarp_async.engine.errors import TOO_LARGE, UNREADABLE_FILE, UNSUPPORTED_FORMAT, EngineError
from facewarp_async.engine.files import check_file, read_file
from facewarp_async.engine.formats import Kind, webp
from facewarp_async.engine.formats.clips import check_whole
from facewarp_async.engine.media import compose_frame, decode_still, sniff_file
from facewarp_async.engine.planes import Planes

MAX_CLIP_SECONDS = 600.0
MAX_CLIP_FRAMES = 36_000
MAX_CLIP_PIXELS = 3840 * 2160

_DEMUXERS = {Kind.MP4: "mp4", Kind.WEBM: "matroska", Kind.GIF: "gif"}
_FULL_RANGE = 2  # FFmpeg's AVCOL_RANGE_JPEG
_FEW_DAMAGED = 3
_DAMAGED_SHARE = 0.1


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
            return Planes.of_picture(_on_white(self.pixels))
        return _planes(self.pixels, self.size)


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


@contextmanager
def open_clip(path: Path) -> Iterator[Clip]:
    """Open MP4, M4V, MOV, WEBM, GIF or an animated WEBP.

    Raises:
        EngineError: 701 empty, cut short or damaged; 703 another format, or no moving picture in it; 704 more than
            500 MB, or too long or too large by what its header states.
    """
    check_file(path)
    kind = sniff_file(path)
    if kind is Kind.WEBP:
        yield _Animation.of(read_file(path))
        return
    demuxer = None if kind is None else _DEMUXERS.get(kind)
    if kind is None or demuxer is None:
        raise EngineError(UNSUPPORTED_FORMAT, "not a clip in MP4, M4V, MOV, WEBM or GIF")
    check_whole(path, kind)
    with _open_container(path, demuxer) as container:
        yield _FileClip(container)


def _open_container(path: Path, demuxer: str) -> av.container.InputContainer:
    try:
        # The demuxer is named, and only files may be opened: a playlist in disguise gets nothing to fetch.
        return av.open(str(path), "r", format=demuxer, options={"protocol_whitelist": "file"})
    except (av.FFmpegError, ValueError, OSError) as error:
        raise EngineError(UNREADABLE_FILE, "the clip is damaged") from error


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


class _FileClip:
    """A clip that FFmpeg reads."""

    def __init__(self, container: av.container.InputContainer) -> None:
        streams = [stream for stream in container.streams.video if not _is_cover(stream)]
        if not streams or streams[0].codec_context is None:
            raise EngineError(UNSUPPORTED_FORMAT, "the file holds no moving picture")
        self._container = container
        self._stream = stream = streams[0]
        self.time_base = stream.time_base or Fraction(1, 90_000)
        rate = stream.average_rate or stream.guessed_rate
        self.rate = rate if rate and 0 < rate <= 1000 else Fraction(25)
        self.duration_s = None if container.duration is None else container.duration / av.time_base
        context = stream.codec_context
        self.colours = ColourTags(
            primaries=context.color_primaries, transfer=context.color_trc, matrix=context.colorspace
        )
        self.aspect = stream.sample_aspect_ratio or None
        self.sound = next(iter(container.streams.audio), None)
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


def _is_cover(stream: av.VideoStream) -> bool:
    """Whether a 'video' is the cover picture of a song."""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


class _Order:
    """Decodes packets, keeps time running forwards, and counts what is damaged."""

    def __init__(self, clip: _FileClip) -> None:
        self._clip = clip
        self._first = self._last = 0
        self._frames = self._damaged = 0
        self._size = (0, 0)

    def decode(self, packet: av.Packet[av.VideoStream]) -> Iterator[Frame]:
        """Give the frames that a packet completes; a damaged one completes none."""
        try:
            decoded = packet.decode()
        except (av.FFmpegError, MemoryError):
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
        check_length(time_s, self._frames)
        check_size(image.width, image.height)
        return Frame(pts=pts, duration=image.duration or 0, time_s=time_s, pixels=image, size=self._size)

    def finish(self) -> None:
        """Raise 701 where too little of the clip could be decoded."""
        if not self._frames or self._damaged > max(_FEW_DAMAGED, self._frames * _DAMAGED_SHARE):
            raise EngineError(UNREADABLE_FILE, "the clip is damaged")


def _planes(frame: av.VideoFrame, size: tuple[int, int]) -> Planes:
    """Bring a decoded frame to 8-bit limited-range planes, upright."""
    if (frame.width, frame.height) != size:
        frame = frame.reformat(width=size[0], height=size[1])
    if frame.format.is_rgb or frame.format.name == "pal8":
        # FFmpeg's own conversion darkens by more than a level; OpenCV's does not.
        planes = Planes.of_picture(_on_white(as_pixels(frame.to_ndarray(format="bgra"))))
    else:
        if frame.format.name != "yuv420p" or frame.color_range == _FULL_RANGE:
            frame = frame.reformat(format="yuv420p", dst_color_range="MPEG")
        y, u, v = (_plane(frame, number) for number in range(3))
        planes = Planes.of_parts(y, u, v)
    return planes.turned(int(frame.rotation))


def _plane(frame: av.VideoFrame, number: int) -> Pixels:
    """View one plane, (h, w) uint8, without copying it."""
    plane = frame.planes[number]
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)  # type: ignore[call-overload]  # a buffer
    return as_pixels(rows[: plane.height, : plane.width])


def _on_white(image: Pixels) -> Pixels:
    """Lay (h, w, 4) uint8 on white ground, as a browser shows it."""
    alpha = image[..., 3]
    if (alpha == 255).all():
        return image[..., :3]
    share = as_floats(cv2.cvtColor(alpha, cv2.COLOR_GRAY2BGR)) / 255
    return (image[..., :3] * share + 255 * (1 - share) + 0.5).astype(np.uint8)


@define(kw_only=True, eq=False)
class _Animation:
    """An animated WEBP, which FFmpeg cannot read; its time unit is a millisecond."""

    data: bytes
    duration_s: float | None
    rate: Fraction
    time_base: Fraction = Fraction(1, 1000)
    colours: ColourTags = field(factory=ColourTags)
    aspect: Fraction | None = None
    sound: av.AudioStream | None = None

    @classmethod
    def of(cls, data: bytes) -> _Animation:
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
