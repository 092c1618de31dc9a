"""GIF: its screen, and whether its first picture is whole."""

from __future__ import annotations

import struct

from facewarp_async.engine.errors import UNREADABLE_FILE, EngineError
from facewarp_async.engine.formats.kinds import Header

_EXTENSION, _IMAGE = 0x21, 0x2C


def _table_bytes(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _skip_blocks(data: bytes, at: int) -> int:
    """Give the position behind a chain of data blocks."""
    while data[at]:
        at += 1 + data[at]
    return at + 1


def parse_header(data: bytes) -> Header:
    """Read the size of the screen or of the first picture on it, whichever is larger; `data` is the whole file.

    Raises:
        EngineError: 701 for a file that ends before its first picture does.
    """
    try:
        width, height, flags = struct.unpack_from("<HHB", data, 6)
        at = 13 + _table_bytes(flags)
        while data[at] == _EXTENSION:
            at = _skip_blocks(data, at + 2)
        marker, left, top, wide, high, flags = struct.unpack_from("<BHHHHB", data, at)
        if marker == _IMAGE:
            _skip_blocks(data, at + 10 + _table_bytes(flags) + 1)
    except (IndexError, struct.error) as error:
        raise EngineError(UNREADABLE_FILE, "the GIF file is cut short") from error
    if marker != _IMAGE or not wide or not high:
        raise EngineError(UNREADABLE_FILE, "the GIF file holds no picture")
    return Header(width=max(width, left + wide), height=max(height, top + high))
