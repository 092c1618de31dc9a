"""Telling a file's format by its first bytes, not by its name (protocol code 703)."""

from __future__ import annotations

from facewarp_async.models import MediaType

SNIFF_BYTES = 64
"""How many of a file's first bytes `sniff` needs."""

MAX_FILE_BYTES = 500 * 1024 * 1024
"""The largest file that the service takes (code 704), in bytes."""

_MOV_BRANDS = {b"qt  "}
_M4V_BRANDS = {b"M4V ", b"M4VH", b"M4VP"}
_NOT_VIDEO_BRANDS = {b"heic", b"heix", b"heif", b"mif1", b"msf1", b"avif", b"avis", b"M4A ", b"M4B ", b"crx "}
_OLD_MOV_BOXES = {b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"}


def sniff(head: bytes) -> MediaType | None:
    """Tell a format by a file's first bytes; ``None`` for one that the service does not take."""
    if head.startswith(b"\xff\xd8\xff"):
        return MediaType.JPEG
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return MediaType.PNG
    if head.startswith((b"GIF87a", b"GIF89a")):
        return MediaType.GIF
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return MediaType.WEBP
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return MediaType.WEBM if b"webm" in head[:SNIFF_BYTES] else None
    return _sniff_iso(head)


def _sniff_iso(head: bytes) -> MediaType | None:
    box = head[4:8]
    if box in _OLD_MOV_BOXES:
        return MediaType.MOV
    if box != b"ftyp":
        return None
    brand = head[8:12]
    if brand in _NOT_VIDEO_BRANDS:
        return None
    if brand in _MOV_BRANDS:
        return MediaType.MOV
    return MediaType.M4V if brand in _M4V_BRANDS else MediaType.MP4
