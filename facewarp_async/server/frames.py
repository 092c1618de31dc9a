"""JSON documents on a pipe, each behind its length."""

from __future__ import annotations

import struct
from typing import Any, BinaryIO

from facewarp_async.wire.json import dumps, loads

HEADER_BYTES = 4
_HEADER = struct.Struct(">I")


def pack(document: Any) -> bytes:
    """Return a document as a frame."""
    body = dumps(document)
    return _HEADER.pack(len(body)) + body


def body_length(header: bytes) -> int:
    """Return how many bytes follow a header."""
    length: int = _HEADER.unpack(header)[0]
    return length


def unpack(body: bytes) -> Any:
    """Return a frame's document."""
    return loads(body)


def read_frame(file: BinaryIO) -> Any:
    """Read one document; ``None`` at the end of the file, also in the middle of a frame. Blocks."""
    header = file.read(HEADER_BYTES)
    if len(header) < HEADER_BYTES:
        return None
    length = body_length(header)
    body = file.read(length)
    return unpack(body) if len(body) == length else None
