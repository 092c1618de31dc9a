"""The first bytes of files, by which they are known for pictures and clips."""

from __future__ import annotations

PNG = b"\x89PNG\r\n\x1a\n"
MP4 = b"\x00\x00\x00\x20ftypisom"
