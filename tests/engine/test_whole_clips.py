"""Whether a clip's file is all there, told by its outermost boxes."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from facewarp_async.engine.errors import EngineError
from facewarp_async.engine.formats.clips import check_whole
from facewarp_async.engine.formats.kinds import Kind


def box(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", 8 + len(body)) + name + body


def large_box(name: bytes, body: bytes) -> bytes:
    """A box whose length has 64 bits."""
    return struct.pack(">I", 1) + name + struct.pack(">Q", 16 + len(body)) + body


MP4 = box(b"ftyp", b"isom" * 4) + large_box(b"mdat", b"x" * 50) + box(b"moov", b"y" * 30)
ENDLESS = box(b"ftyp", b"isom") + struct.pack(">I", 0) + b"mdat" + b"x" * 50
SEGMENT = b"\x1a\x45\xdf\xa3\x80" + b"\x18\x53\x80\x67"
WEBM = SEGMENT + b"\x90" + b"x" * 16
LONG_WEBM = SEGMENT + b"\x01" + (300).to_bytes(7, "big") + b"x" * 300
LIVE_WEBM = SEGMENT + b"\x01" + b"\xff" * 7 + b"x" * 20


def is_whole(tmp_path: Path, body: bytes, kind: Kind) -> bool:
    path = tmp_path / "clip"
    path.write_bytes(body)
    try:
        check_whole(path, kind)
    except EngineError as error:
        return (error.code, error.message) != (701, f"the {kind.value} file is cut short")
    return True


@pytest.mark.parametrize(("body", "kind"), [(MP4, Kind.MP4), (WEBM, Kind.WEBM), (LONG_WEBM, Kind.WEBM)])
def test_a_file_is_whole_and_is_not_once_a_byte_is_missing(tmp_path: Path, body: bytes, kind: Kind) -> None:
    assert is_whole(tmp_path, body, kind)
    assert is_whole(tmp_path, body + b"rubbish"[: 0 if kind is Kind.MP4 else 7], kind)
    assert not is_whole(tmp_path, body[:-1], kind)


@pytest.mark.parametrize(("body", "kind"), [(ENDLESS, Kind.MP4), (LIVE_WEBM, Kind.WEBM)])
def test_a_recording_that_does_not_know_its_end_is_whole_wherever_it_ends(
    tmp_path: Path, body: bytes, kind: Kind
) -> None:
    assert is_whole(tmp_path, body, kind)
    assert is_whole(tmp_path, body[:-10], kind)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (box(b"ftyp", b"isom") + struct.pack(">I", 7) + b"mdat" + b"x" * 50, Kind.MP4),
        (b"\x1a\x45\xdf\xa3\x80" + b"x" * 300, Kind.WEBM),
        (SEGMENT, Kind.WEBM),
        (SEGMENT + b"\x00" * 9, Kind.WEBM),
    ],
    ids=["a box shorter than its head", "no segment", "no length", "a length that is none"],
)
def test_boxes_that_make_no_sense_are_no_whole_file(tmp_path: Path, body: bytes, kind: Kind) -> None:
    assert not is_whole(tmp_path, body, kind)


def test_of_a_gif_only_the_decoder_knows(tmp_path: Path) -> None:
    assert is_whole(tmp_path, b"GIF89a", Kind.GIF)
