"""Clips: decoding and encoding them as a stream, with their timing and sound."""

from facewarp_async.engine.clips.base import Clip, Frame
from facewarp_async.engine.clips.encode import ClipWriter
from facewarp_async.engine.clips.opening import Samples, open_clip, read_frames

__all__ = ["Clip", "ClipWriter", "Frame", "Samples", "open_clip", "read_frames"]
