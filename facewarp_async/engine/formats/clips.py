"""Whether a clip's file is all there: its outermost boxes are walked, nothing is decoded."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from facewarp_async.engine.errors import UNREADABLE_FILE, EngineError
from facewarp_async.engine.formats.kinds import Kind

_SEGMENT = b"\x18\x53\x80\x67"
_MAX_BOXES = 100_000


def check_whole(path: Path, kind: Kind) -> None:
    """Refuse a file that ends before its own boxes do: the demuxers would call what is left a shorter clip.

    Raises:
        EngineError: 701 for a file that is cut short.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        is_whole = (
            _is_whole_mp4(file, size) if kind is Kind.MP4 else kind is not Kind.WEBM or _is_whole_webm(file, size)
        )
    if not is_whole:
        raise EngineError(UNREADABLE_FILE, f"the {kind.value} file is cut short")


def _is_whole_mp4(file: BinaryIO, size: int) -> bool:
    at = 0
    for _ in range(_MAX_BOXES):
        if at + 8 > size:
            break
        file.seek(at)
        header = file.read(16)
        (length,) = struct.unpack_from(">I", header)
        if length == 0:  # to the end of the file
            return True
        if length == 1 and len(header) == 16:
            (length,) = struct.unpack_from(">Q", header, 8)
        if length < 8:
            return False
        at += length
    return at <= size


def _is_whole_webm(file: BinaryIO, size: int) -> bool:
    head = file.read(256)
    at = head.find(_SEGMENT)
    if at < 0:
        return False
    length = head[at + 4 : at + 12]
    if not length or not length[0]:
        return False
    count = 9 - length[0].bit_length()  # the leading zeros say how many bytes the number has
    value = int.from_bytes(length[:count], "big") & ((1 << 7 * count) - 1)
    is_unknown = value == (1 << 7 * count) - 1  # a live recording
    return is_unknown or at + 4 + count + value <= size
