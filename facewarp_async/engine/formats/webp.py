"""WebP: its chunks, its size, and the pictures of an animated file as files of their own."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from attrs import frozen

from facewarp_async.engine.errors import UNREADABLE_FILE, EngineError
from facewarp_async.engine.formats.exif import parse_orientation
from facewarp_async.engine.formats.kinds import Header

_FRAME_HEADER = 16


@frozen(kw_only=True)
class Frame:
    """One picture of an animation.

    Attributes:
        left: Pixels from the canvas's left edge.
        top: Pixels from its top.
        width: Pixels.
        height: Pixels.
        duration_ms: How long it is shown.
        blends: It is laid over the canvas by its alpha; otherwise it replaces what is there.
        clears: Its area becomes transparent once it has been shown.
        still: A WebP file with this picture alone.
    """

    left: int
    top: int
    width: int
    height: int
    duration_ms: int
    blends: bool
    clears: bool
    still: bytes


def _int24(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 3], "little")


def _chunks(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield name and content of each chunk between two positions.

    Raises:
        EngineError: 701 when a chunk runs over the end.
    """
    while at + 8 <= end:
        name, length = struct.unpack_from("<4sI", data, at)
        if at + 8 + length > end:
            raise EngineError(UNREADABLE_FILE, "the WEBP file is cut short")
        yield name, data[at + 8 : at + 8 + length]
        at += 8 + length + length % 2


def _top_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    size = 8 + int.from_bytes(data[4:8], "little")
    if size > len(data):
        raise EngineError(UNREADABLE_FILE, "the WEBP file is cut short")
    return _chunks(data, 12, size)


def _chunk_size(name: bytes, content: bytes) -> tuple[int, int]:
    """Width and height as one chunk states them; (0, 0) if it states none."""
    if name == b"VP8X" and len(content) >= 10:
        return 1 + _int24(content, 4), 1 + _int24(content, 7)
    if name == b"VP8L" and len(content) >= 5:
        bits = int.from_bytes(content[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if name == b"VP8 " and len(content) >= 10:
        wide, high = struct.unpack_from("<HH", content, 6)
        return wide & 0x3FFF, high & 0x3FFF
    if name == b"ANMF" and len(content) >= _FRAME_HEADER:
        left, top = 2 * _int24(content, 0), 2 * _int24(content, 3)
        inner = max((_chunk_size(*part) for part in _chunks(content, _FRAME_HEADER, len(content))), default=(0, 0))
        return left + max(1 + _int24(content, 6), inner[0]), top + max(1 + _int24(content, 9), inner[1])
    return 0, 0


def parse_header(data: bytes) -> Header:
    """Read size, orientation and colour profile; `data` is the whole file.

    Raises:
        EngineError: 701 for a file that is cut short or states no size.
    """
    width = height = 0
    orientation, profile = 1, None
    for name, content in _top_chunks(data):
        wide, high = _chunk_size(name, content)
        width, height = max(width, wide), max(height, high)
        if name == b"EXIF":
            orientation = parse_orientation(content)
        elif name == b"ICCP":
            profile = content
    if not width or not height:
        raise EngineError(UNREADABLE_FILE, "the WEBP file states no size")
    return Header(width=width, height=height, orientation=orientation, profile=profile)


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\x00" * (len(content) % 2)


def _still(width: int, height: int, parts: list[tuple[bytes, bytes]]) -> bytes:
    """Wrap one frame's alpha and picture chunks into a file of their own."""
    has_alpha = any(name == b"ALPH" for name, _ in parts)
    body = b"WEBP"
    if has_alpha:
        canvas = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
        body += _chunk(b"VP8X", b"\x10\x00\x00\x00" + canvas)
    body += b"".join(_chunk(name, content) for name, content in parts)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def parse_frames(data: bytes) -> Iterator[Frame]:
    """Yield the pictures of an animated file in order; none for a still one.

    Raises:
        EngineError: 701 for a file that is cut short.
    """
    for name, content in _top_chunks(data):
        if name != b"ANMF" or len(content) < _FRAME_HEADER:
            continue
        width, height = 1 + _int24(content, 6), 1 + _int24(content, 9)
        parts = [
            part for part in _chunks(content, _FRAME_HEADER, len(content)) if part[0] in (b"ALPH", b"VP8 ", b"VP8L")
        ]
        yield Frame(
            left=2 * _int24(content, 0),
            top=2 * _int24(content, 3),
            width=width,
            height=height,
            duration_ms=_int24(content, 12),
            blends=not content[15] & 2,
            clears=bool(content[15] & 1),
            still=_still(width, height, parts),
        )
