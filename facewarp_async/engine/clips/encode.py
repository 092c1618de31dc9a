"""Writing a clip: H.264 in MP4 with the medium's timing and sound, marked as synthetic."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

import av
import av.container
import av.error

from facewarp_async.engine.clips.base import Clip, Frame, SoundPacket
from facewarp_async.engine.clips.planes import Planes
from facewarp_async.engine.errors import TASK_FAILED, UNREADABLE_FILE, EngineError
from facewarp_async.engine.results import SYNTHETIC

# What players expect to find in MP4; anything else becomes AAC.
_COPIED_SOUND = frozenset({"aac", "mp3", "ac3", "eac3", "alac", "opus", "flac"})
_AAC_RATES = frozenset({8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000})
_LIMITED_RANGE = 1  # FFmpeg's AVCOL_RANGE_MPEG
_PRESETS = {False: {"crf": "21", "preset": "veryfast"}, True: {"crf": "17", "preset": "medium"}}


class ClipWriter:
    """Writes one file; use it as a context manager, which closes it, and `finish` when all frames are in.

    Every method may raise EngineError 701 where the medium's timing or sound cannot be written, 601 where the disk is
    full or the like.
    """

    def __init__(self, path: Path, clip: Clip, *, hd: bool) -> None:
        self._clip = clip
        self._hd = hd
        self._container = av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"})
        self._container.metadata["comment"] = SYNTHETIC
        self._video: av.VideoStream | None = None
        self._sound: _Sound | None = None
        self._waiting: deque[SoundPacket] = deque()
        self._start: int | None = None
        self._length = 0
        self._durations: dict[int, int] = {}
        self._first_dts: int | None = None

    def __enter__(self) -> ClipWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # After a failure nobody will look at the file; closing it may fail for the same reason.
        with suppress(av.FFmpegError, ValueError):
            self._container.close()

    def write(self, frame: Frame, planes: Planes) -> None:
        """Encode a frame with the pixels given."""
        with _typed_refusals():
            video = self._video or self._open_video(planes)
            image = av.VideoFrame.from_ndarray(planes.data, format="yuv420p")
            image.pts, image.time_base = frame.pts, self._clip.time_base
            usual = max(1, round(1 / (self._clip.rate * self._clip.time_base)))
            self._start = frame.pts if self._start is None else self._start
            self._durations[frame.pts] = frame.duration or usual
            self._length = frame.pts - self._start + self._durations[frame.pts]
            self._mux(video.encode(image))
            self._write_sound()

    def write_sound(self, packet: SoundPacket) -> None:
        """Take a packet of sound; it waits until the first frame has told what the file looks like."""
        self._waiting.append(packet)
        if self._video is not None:
            with _typed_refusals():
                self._write_sound()

    def finish(self) -> None:
        """Write out what the encoders still hold, and the file's index."""
        with _typed_refusals():
            if self._video is not None:
                self._mux(self._video.encode(), is_end=True)
            if self._sound is not None:
                self._sound.finish()
            self._container.close()

    def _mux(self, packets: list[av.Packet[av.VideoStream]], *, is_end: bool = False) -> None:
        """Write packets of the picture with the durations of their frames, which the encoder forgets.

        MP4 counts a track's length in the order of decoding: the packet that is decoded last makes up the rest.
        """
        for packet in packets:
            packet.duration = self._durations.pop(packet.pts or 0, 0)
            if self._first_dts is None:
                self._first_dts = packet.dts
            if is_end and packet is packets[-1] and packet.dts is not None and self._first_dts is not None:
                packet.duration = max(1, self._length - (packet.dts - self._first_dts))
            self._container.mux(packet)

    def _open_video(self, planes: Planes) -> av.VideoStream:
        clip = self._clip
        video = self._container.add_stream("libx264", rate=clip.rate, options=dict(_PRESETS[self._hd]))
        video.width, video.height, video.pix_fmt = planes.width, planes.height, "yuv420p"
        context = video.codec_context
        context.time_base = video.time_base = clip.time_base
        context.color_range = _LIMITED_RANGE
        context.color_primaries, context.color_trc = clip.colours.primaries, clip.colours.transfer
        context.colorspace = clip.colours.matrix
        if clip.aspect is not None:
            context.sample_aspect_ratio = clip.aspect
        self._video = video
        if clip.sound is not None:
            self._sound = _Sound(self._container, clip.sound)
        return video

    def _write_sound(self) -> None:
        while self._waiting and self._sound is not None:
            self._sound.write(self._waiting.popleft())


class _Sound:
    """The stream of sound: packets as they are where MP4 can carry them, AAC otherwise."""

    def __init__(self, container: av.container.OutputContainer, source: av.AudioStream) -> None:
        self._container = container
        self._last: int | None = None
        self._is_copied = source.codec_context.name in _COPIED_SOUND
        self._stream: av.AudioStream
        if self._is_copied:
            self._stream = container.add_stream_from_template(source)
        else:
            rate = source.rate if source.rate in _AAC_RATES else 48000
            self._stream = container.add_stream("aac", rate=rate)

    def write(self, packet: SoundPacket) -> None:
        """Write one packet; what is damaged or out of order is left out."""
        if not self._is_copied:
            with suppress(av.error.InvalidDataError):
                for frame in packet.decode():
                    self._container.mux(self._stream.encode(frame))
            return
        if packet.dts is None or (self._last is not None and packet.dts <= self._last):
            return
        self._last = packet.dts
        packet.stream = self._stream
        self._container.mux(packet)

    def finish(self) -> None:
        """Write out what the encoder still holds."""
        if not self._is_copied:
            self._container.mux(self._stream.encode())


@contextmanager
def _typed_refusals() -> Iterator[None]:
    try:
        yield
    except (av.error.InvalidDataError, av.error.ArgumentError, ValueError) as error:
        # The encoder refuses what it is given, and what it is given is what the medium holds.
        raise EngineError(UNREADABLE_FILE, "timing or sound of the clip is damaged") from error
    except av.FFmpegError as error:
        raise EngineError(TASK_FAILED, "the clip could not be encoded") from error
