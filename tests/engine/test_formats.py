"""Headers are read, and lies in them are survived, without decoding anything."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable

import cv2
import numpy as np
import pytest

from facewarp_async.engine import EngineError
from facewarp_async.engine.arrays import Pixels
from facewarp_async.engine.formats import Kind, gif, jpeg, png, sniff, webp
from facewarp_async.engine.formats.exif import parse_orientation
from facewarp_async.engine.formats.kinds import Header

PARSERS: dict[str, Callable[[bytes], Header]] = {
    ".jpg": jpeg.parse_header,
    ".png": png.parse_header,
    ".webp": webp.parse_header,
    ".gif": gif.parse_header,
}


def encoded(suffix: str) -> bytes:
    ramp = np.linspace(0, 255, 40 * 30 * 3).reshape(30, 40, 3).astype(np.uint8)
    return cv2.imencode(suffix, ramp)[1].tobytes()


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\xff\xd8\xff\xe0\x00\x10JFIF\x00", Kind.JPEG),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", Kind.PNG),
        (b"GIF87a", Kind.GIF),
        (b"GIF89a", Kind.GIF),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", Kind.WEBP),
        (b"\x00\x00\x00\x20ftypisom", Kind.MP4),
        (b"\x00\x00\x00\x20ftypM4V ", Kind.MP4),
        (b"\x00\x00\x00\x14ftypqt  ", Kind.MP4),
        (b"\x00\x00\x00\x08wide\x00\x00", Kind.MP4),
        (b"\x1a\x45\xdf\xa3\x9fB\x86\x81\x01B\x82\x84webm", Kind.WEBM),
        (b"\x1a\x45\xdf\xa3\x9fB\x86\x81\x01B\x82\x88matroska", None),
        (b"\x00\x00\x00\x1cftypavif", None),
        (b"\x00\x00\x00\x18ftypheic", None),
        (b"RIFF\x00\x00\x00\x00AVI LIST", None),
        (b"BM\x00\x00", None),
        (b"II*\x00", None),
        (b"%PDF-1.7", None),
        (b"", None),
    ],
)
def test_first_bytes_tell_the_kind(head: bytes, kind: Kind | None) -> None:
    assert sniff(head) is kind


@pytest.mark.parametrize("suffix", PARSERS)
def test_header_states_the_size(suffix: str) -> None:
    header = PARSERS[suffix](encoded(suffix))
    assert (header.width, header.height, header.orientation) == (40, 30, 1)


@pytest.mark.parametrize("suffix", PARSERS)
def test_file_cut_anywhere_is_refused(suffix: str) -> None:
    data = encoded(suffix)
    whole = len(data) - (1 if suffix == ".gif" else 0)  # a GIF's trailer says nothing about its first picture
    for end in range(12, whole, 7):
        with pytest.raises(EngineError) as caught:
            PARSERS[suffix](data[:end])
        assert caught.value.code == 701


@pytest.mark.parametrize("suffix", PARSERS)
def test_any_damaged_byte_ends_in_a_header_or_in_the_engines_error(suffix: str) -> None:
    data = encoded(suffix)
    for at in range(0, min(len(data), 700)):
        damaged = data[:at] + bytes((data[at] ^ 0xFF,)) + data[at + 1 :]
        with contextlib.suppress(EngineError):
            header = PARSERS[suffix](damaged)
            assert header.width > 0
            assert header.height > 0


def test_thumbnail_inside_a_jpeg_does_not_count_as_its_end() -> None:
    data = encoded(".jpg")
    thumbnail = struct.pack(">BBH", 0xFF, 0xE1, len(data) + 2) + data
    with pytest.raises(EngineError) as caught:
        jpeg.parse_header(data[:2] + thumbnail + data[2:-2])
    assert caught.value.code == 701


def test_largest_of_several_sizes_counts(collins: Pixels) -> None:
    """A file may state a small size where one looks first, and a large one where the decoder looks."""
    small, data = struct.pack("<I", 0)[:3], encoded(".webp")
    canvas = b"VP8X" + struct.pack("<I", 10) + b"\x00" * 4 + small + small
    header = webp.parse_header(data[:4] + struct.pack("<I", len(data) + 10) + data[8:12] + canvas + data[12:])
    assert (header.width, header.height) == (40, 30)
    gif_data = bytearray(encoded(".gif"))
    struct.pack_into("<HH", gif_data, 6, 1, 1)
    header = gif.parse_header(bytes(gif_data))
    assert (header.width, header.height) == (40, 30)


def exif(order: str, orientation: int, kind: int = 3) -> bytes:
    mark = {"<": b"II*\x00", ">": b"MM\x00*"}[order]
    other = struct.pack(f"{order}HHI4s", 0x010F, 2, 4, b"abc\x00")
    entry = struct.pack(f"{order}HHIHH", 0x0112, kind, 1, orientation, 0)
    return mark + struct.pack(f"{order}IH", 8, 2) + other + entry


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_read_in_both_byte_orders(order: str, orientation: int) -> None:
    assert parse_orientation(exif(order, orientation)) == orientation
    assert parse_orientation(b"Exif\x00\x00" + exif(order, orientation)) == orientation


@pytest.mark.parametrize(
    "block", [b"", b"Exif\x00\x00", exif("<", 6)[:-8], exif("<", 9), exif("<", 0), exif("<", 6, kind=4), b"XX" * 20]
)
def test_damaged_orientation_counts_as_upright(block: bytes) -> None:
    assert parse_orientation(block) == 1


@pytest.mark.parametrize("size", [10, 65519, 65520, 200_000])
def test_profile_goes_into_both_formats_and_comes_back(size: int) -> None:
    profile = bytes(range(256)) * (size // 256 + 1)
    profile = profile[:size]
    for suffix, annotate, parse in (
        (".jpg", jpeg.annotate, jpeg.parse_header),
        (".png", png.annotate, png.parse_header),
    ):
        data = annotate(encoded(suffix), comment="a note", profile=profile)
        assert parse(data).profile == profile
        assert b"a note" in data
        assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) is not None
