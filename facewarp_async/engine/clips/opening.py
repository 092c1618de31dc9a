"""Opening a clip, whatever its container, and picking frames from it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import av.container

from facewarp_async.engine.clips.animation import Animation
from facewarp_async.engine.clips.base import Clip, Frame
from facewarp_async.engine.clips.decode import FileClip
from facewarp_async.engine.errors import UNREADABLE_FILE, UNSUPPORTED_FORMAT, EngineError
from facewarp_async.engine.files import check_file, read_file
from facewarp_async.engine.formats import Kind
from facewarp_async.engine.formats.clips import check_whole
from facewarp_async.engine.media import sniff_file

_DEMUXERS = {Kind.MP4: "mp4", Kind.WEBM: "matroska", Kind.GIF: "gif"}
_SAMPLES = 9
_ROUNDING_S = 1e-6


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
        yield Animation.of(read_file(path))
        return
    demuxer = None if kind is None else _DEMUXERS.get(kind)
    if kind is None or demuxer is None:
        raise EngineError(UNSUPPORTED_FORMAT, "not a clip in MP4, M4V, MOV, WEBM or GIF")
    check_whole(path, kind)
    with _open_container(path, demuxer) as container:
        yield FileClip(container)


def _open_container(path: Path, demuxer: str) -> av.container.InputContainer:
    try:
        # The demuxer is named, and only files may be opened: a playlist in disguise gets nothing to fetch.
        return av.open(str(path), "r", format=demuxer, options={"protocol_whitelist": "file"})
    except (av.FFmpegError, ValueError, OSError) as error:
        raise EngineError(UNREADABLE_FILE, "the clip is damaged") from error


def read_frames(clip: Clip) -> Iterator[Frame]:
    """Yield the frames of a clip without its sound."""
    return (item for item in clip.read() if isinstance(item, Frame))


class Samples:
    """Picks nine frames spread evenly over a clip; always the same ones."""

    def __init__(self, clip: Clip) -> None:
        step = 1.0 if not clip.duration_s else clip.duration_s / _SAMPLES
        self._due = [step * number for number in range(_SAMPLES)]

    def is_due(self, frame: Frame) -> bool:
        """Say whether a frame is the first at or after the next of the times."""
        is_due = False
        while self._due and frame.time_s >= self._due[0] - _ROUNDING_S:
            self._due.pop(0)
            is_due = True
        return is_due
