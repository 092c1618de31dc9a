"""What kind of file the first bytes show. Names and content types are not looked at: they lie."""

from __future__ import annotations

import enum

from attrs import frozen

SNIFF_BYTES = 64

# Still pictures in the same box structure as MP4; ISO/IEC 23008-12 and the AVIF specification name these brands.
_PICTURE_BRANDS = (
    b"heic",
    b"heix",
    b"heim",
    b"heis",
    b"hevc",
    b"hevx",
    b"mif1",
    b"msf1",
    b"avif",
    b"avis",
    b"jxl ",
    b"crx ",
)
# A QuickTime file from before the `ftyp` box existed starts with one of these atoms.
_QUICKTIME_ATOMS = (b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")


class Kind(enum.Enum):
    """The formats that the protocol's code 703 names, MP4, M4V and MOV being one container."""

    JPEG = "JPEG"
    PNG = "PNG"
    WEBP = "WEBP"
    GIF = "GIF"
    MP4 = "MP4"
    WEBM = "WEBM"


@frozen(kw_only=True)
class Header:
    """What a picture claims about itself before it is decoded.

    Attributes:
        width: Pixels, as stored (before the orientation is applied); the largest value where a file names several.
        height: Pixels, the same.
        orientation: EXIF's number from 1 (upright) to 8.
        profile: The ICC profile of an RGB picture, or None.
    """

    width: int
    height: int
    orientation: int = 1
    profile: bytes | None = None


def sniff(head: bytes) -> Kind | None:
    """Name the kind of file that starts with `head` (at least `SNIFF_BYTES`, where the file has them).

    Returns:
        None for everything that is not supported, such as BMP, TIFF, HEIC, AVIF or Matroska.
    """
    if head[:3] == b"\xff\xd8\xff":
        return Kind.JPEG
    if head[:8] == b"\x89PNG\r\n\x1a\n":
        return Kind.PNG
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return Kind.GIF
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return Kind.WEBP
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return Kind.WEBM if b"webm" in head[:SNIFF_BYTES] else None
    if head[4:8] == b"ftyp":
        return None if head[8:12] in _PICTURE_BRANDS else Kind.MP4
    return Kind.MP4 if head[4:8] in _QUICKTIME_ATOMS else None
