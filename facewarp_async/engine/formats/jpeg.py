"""JPEG: segments up to the picture's data, and the segments that a result carries."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from facewarp_async.engine.errors import UNREADABLE_FILE, EngineError
from facewarp_async.engine.formats.exif import parse_orientation
from facewarp_async.engine.formats.kinds import Header

_SOI, _EOI, _SOS, _APP1, _APP2, _COM = 0xD8, 0xD9, 0xDA, 0xE1, 0xE2, 0xFE
# Start of frame: all of C0 to CF but the tables DHT (C4), JPG (C8) and DAC (CC).
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ICC_PREFACE = b"ICC_PROFILE\x00"
_MAX_SEGMENT = 65533


def _segments(data: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Yield marker, content and end of each segment, the last being the start of scan.

    Raises:
        EngineError: 701 when the file ends or loses its structure before that.
    """
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        (length,) = struct.unpack_from(">H", data, at + 2)
        end = at + 2 + length
        if length < 2 or end > len(data):
            break
        yield marker, data[at + 4 : end], end
        if marker == _SOS:
            return
        at = end
    raise EngineError(UNREADABLE_FILE, "the JPEG file is cut short or damaged")


def parse_header(data: bytes) -> Header:
    """Read size, orientation and colour profile; `data` is the whole file.

    Raises:
        EngineError: 701 for a file that is cut short: decoders would fill the rest with grey and call it a success.
    """
    width = height = end = 0
    orientation = 1
    profile: dict[int, bytes] = {}
    for marker, content, end in _segments(data):  # noqa: B007  # the end of the last one is what is needed below
        if marker in _FRAMES and len(content) >= 5:
            high, wide = struct.unpack_from(">HH", content, 1)
            width, height = max(width, wide), max(height, high)
        elif marker == _APP1 and content.startswith(b"Exif\x00\x00"):
            orientation = parse_orientation(content)
        elif marker == _APP2 and content.startswith(_ICC_PREFACE) and len(content) > 14:
            profile[content[12]] = content[14:]
    # An EXIF thumbnail has an end marker of its own: only one behind the start of scan counts.
    if data.find(bytes((0xFF, _EOI)), end) < 0:
        raise EngineError(UNREADABLE_FILE, "the JPEG file is cut short")
    if not width or not height:
        raise EngineError(UNREADABLE_FILE, "the JPEG file states no size")
    icc = b"".join(profile[number] for number in sorted(profile))
    return Header(width=width, height=height, orientation=orientation, profile=icc or None)


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def annotate(data: bytes, *, comment: str, profile: bytes | None) -> bytes:
    """Put a comment, and a colour profile where there is one, into an encoded JPEG file."""
    extra = b""
    if profile is not None:
        room = _MAX_SEGMENT - len(_ICC_PREFACE) - 2
        parts = [profile[at : at + room] for at in range(0, len(profile), room)]
        if len(parts) < 256:  # the parts are numbered with one byte
            for number, part in enumerate(parts, 1):
                extra += _segment(_APP2, _ICC_PREFACE + bytes((number, len(parts))) + part)
    extra += _segment(_COM, comment.encode())
    # Behind JFIF's own segment, which must stay the first.
    at = 2
    if data[2:4] == b"\xff\xe0":
        at = 4 + struct.unpack_from(">H", data, 4)[0]
    return data[:at] + extra + data[at:]
