"""Formats told by the first bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facewarp_async.models import MediaType
from facewarp_async.wire.media_types import MAX_FILE_BYTES, SNIFF_BYTES, sniff


def iso(brand: bytes) -> bytes:
    return b"\x00\x00\x00\x20ftyp" + brand + b"\x00\x00\x02\x00isomiso2"


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", MediaType.JPEG),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", MediaType.PNG),
        (b"RIFF\x24\x00\x00\x00WEBPVP8 ", MediaType.WEBP),
        (b"GIF87a", MediaType.GIF),
        (b"GIF89a", MediaType.GIF),
        (iso(b"isom"), MediaType.MP4),
        (iso(b"mp42"), MediaType.MP4),
        *((iso(brand), MediaType.M4V) for brand in (b"M4V ", b"M4VH", b"M4VP")),
        (iso(b"qt  "), MediaType.MOV),
        *((b"\x00\x00\x00\x08" + box, MediaType.MOV) for box in (b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")),
        (b"\x1a\x45\xdf\xa3\x01\x00\x00\x00\x00\x00\x00\x1f\x42\x86\x81\x01\x42\x82\x84webm", MediaType.WEBM),
        (b"\x1a\x45\xdf\xa3\x01\x00\x00\x00\x00\x00\x00\x1f\x42\x86\x81\x01\x42\x82\x88matroska", None),
        (b"\x1a\x45\xdf\xa3" + b"-" * 56 + b"webm", MediaType.WEBM),
        (b"\x1a\x45\xdf\xa3" + b"-" * 57 + b"webm", None),  # a word of the media, and not of its head
        *((iso(brand), None) for brand in (b"heic", b"heix", b"heif", b"mif1", b"msf1", b"avif", b"avis")),
        *((iso(brand), None) for brand in (b"M4A ", b"M4B ", b"crx ")),
        (b"RIFF\x24\x00\x00\x00WAVEfmt ", None),
        (b"BM\x00\x00", None),
        (b"%PDF-1.7", None),
        (b"", None),
    ],
)
def test_a_format_is_told_by_its_first_bytes(head: bytes, expected: MediaType | None) -> None:
    assert sniff(head) is expected


def test_a_file_of_five_hundred_megabytes_is_the_largest() -> None:
    assert MAX_FILE_BYTES == 524_288_000


@given(st.binary(max_size=SNIFF_BYTES))
def test_any_bytes_have_a_format_or_none(head: bytes) -> None:
    assert sniff(head) in {None, *MediaType}
