"""PNG: its chunks, and the chunks that a result carries."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from facewarp_async.engine.errors import UNREADABLE_FILE, EngineError
from facewarp_async.engine.formats.exif import parse_orientation
from facewarp_async.engine.formats.kinds import Header

_SIGNATURE_BYTES = 8
_HEADER_END = 33
_MAX_PROFILE = 4 << 20


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield type and content of each chunk up to and with the closing one.

    Raises:
        EngineError: 701 when the file ends before it.
    """
    at = _SIGNATURE_BYTES
    while at + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        if at + 12 + length > len(data):
            break
        # The picture's own data may be hundreds of megabytes, and nobody here reads it.
        yield name, b"" if name == b"IDAT" else data[at + 8 : at + 8 + length]
        if name == b"IEND":
            return
        at += 12 + length
    raise EngineError(UNREADABLE_FILE, "the PNG file is cut short")


def _inflate_profile(content: bytes) -> bytes | None:
    """Unpack an iCCP chunk; None where it is damaged or absurdly large."""
    _, _, packed = content.partition(b"\x00")
    inflater = zlib.decompressobj()
    try:
        profile = inflater.decompress(packed[1:], _MAX_PROFILE)
    except zlib.error:
        return None
    return profile if inflater.eof else None


def parse_header(data: bytes) -> Header:
    """Read size, orientation and colour profile; `data` is the whole file.

    Raises:
        EngineError: 701 for a file that is cut short or does not begin with its header.
    """
    orientation, profile = 1, None
    for number, (name, content) in enumerate(_chunks(data)):
        if number == 0 and (name != b"IHDR" or len(content) != 13):
            raise EngineError(UNREADABLE_FILE, "the PNG file does not begin with its header")
        if name == b"eXIf":
            orientation = parse_orientation(content)
        elif name == b"iCCP":
            profile = _inflate_profile(content)
    width, height = struct.unpack_from(">II", data, 16)
    if not width or not height:
        raise EngineError(UNREADABLE_FILE, "the PNG file states no size")
    return Header(width=width, height=height, orientation=orientation, profile=profile)


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def annotate(data: bytes, *, comment: str, profile: bytes | None) -> bytes:
    """Put a comment, and a colour profile where there is one, into an encoded PNG file."""
    extra = b"" if profile is None else _chunk(b"iCCP", b"ICC profile\x00\x00" + zlib.compress(profile))
    extra += _chunk(b"tEXt", b"Comment\x00" + comment.encode("latin-1", "replace"))
    return data[:_HEADER_END] + extra + data[_HEADER_END:]
