"""Every picture that a client may send becomes 8-bit upright colour, or one of the protocol's errors."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from facewarp_async.engine import EngineError, files
from facewarp_async.engine.arrays import Pixels
from facewarp_async.engine.media import MAX_PICTURE_PIXELS, read_picture
from facewarp_async.engine.results import reduce_picture, write_picture

if TYPE_CHECKING:
    from .conftest import Save, SavePicture

MakePng = Callable[..., bytes]


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def code_of(path: Path) -> int:
    with pytest.raises(EngineError) as caught:
        read_picture(path)
    return caught.value.code


@pytest.fixture
def small(collins: Pixels) -> Pixels:
    return collins[60:180, 160:290].copy()


@pytest.mark.parametrize("suffix", [".png", ".webp", ".gif", ".jpg"])
def test_each_format_is_read(save_picture: SavePicture, small: Pixels, suffix: str) -> None:
    picture = read_picture(save_picture("a" + suffix, small))
    assert picture.colour.shape == small.shape
    assert np.abs(picture.colour.astype(int) - small).mean() < (20 if suffix == ".gif" else 8)
    assert picture.is_jpeg == (suffix == ".jpg")
    assert picture.alpha is None


def test_name_does_not_matter_but_the_first_bytes_do(save: Save, small: Pixels) -> None:
    data = cv2.imencode(".png", small)[1].tobytes()
    assert (read_picture(save("really.mp4", data)).colour == small).all()
    # a picture behind another file's first bytes is that other file
    assert code_of(save("polyglot.png", b"%PDF-1.7\n" + data)) == 703
    assert code_of(save("polyglot2.png", b"GIF89a" + data)) == 701


@pytest.mark.parametrize("suffix", [".bmp", ".tiff", ".ppm", ".avif"])
def test_other_formats_are_unsupported(save_picture: SavePicture, small: Pixels, suffix: str) -> None:
    assert code_of(save_picture("a" + suffix, small)) == 703


def test_missing_empty_and_noise_files(save: Save, tmp_path: Path) -> None:
    assert code_of(tmp_path / "missing.png") == 701
    assert code_of(tmp_path) == 701
    assert code_of(save("empty.png", b"")) == 701
    assert code_of(save("noise.png", bytes(range(256)) * 9)) == 703


@pytest.mark.parametrize("suffix", [".png", ".webp", ".gif", ".jpg"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.97])
def test_truncated_file_is_unreadable(save: Save, small: Pixels, suffix: str, share: float) -> None:
    data = cv2.imencode(suffix, small)[1].tobytes()
    assert code_of(save("cut" + suffix, data[: max(12, int(len(data) * share))])) == 701


def test_damaged_data_behind_a_right_header_is_unreadable(save: Save, small: Pixels) -> None:
    data = bytearray(cv2.imencode(".png", small)[1].tobytes())
    middle = len(data) // 2
    data[middle : middle + 400] = bytes(400)
    assert code_of(save("damaged.png", bytes(data))) == 701


def test_damaged_webp_is_unreadable(save: Save, small: Pixels) -> None:
    data = bytearray(cv2.imencode(".webp", small)[1].tobytes())
    data[200:500] = bytes(300)
    assert code_of(save("damaged.webp", bytes(data))) == 701


def test_file_over_the_limit_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    with path.open("wb") as file:
        file.truncate(files.MAX_FILE_BYTES + 1)
    assert code_of(path) == 704


def test_too_many_pixels_are_refused_by_the_header(save: Save, small: Pixels, make_png: MakePng) -> None:
    side = int(MAX_PICTURE_PIXELS**0.5) + 1
    bomb = bytearray(cv2.imencode(".png", small)[1].tobytes())
    struct.pack_into(">II", bomb, 16, side, side)
    struct.pack_into(">I", bomb, 29, zlib.crc32(bomb[12:29]))
    assert code_of(save("bomb.png", bytes(bomb))) == 704
    gif = bytearray(cv2.imencode(".gif", small)[1].tobytes())
    struct.pack_into("<HH", gif, 6, 65535, 65535)
    assert code_of(save("bomb.gif", bytes(gif))) == 704
    jpg = bytearray(cv2.imencode(".jpg", small)[1].tobytes())
    struct.pack_into(">HH", jpg, jpg.index(b"\xff\xc0") + 5, 65000, 65000)
    assert code_of(save("bomb.jpg", bytes(jpg))) == 704


def test_sixteen_bits_become_eight(save_picture: SavePicture, small: Pixels) -> None:
    assert (read_picture(save_picture("deep.png", small.astype(np.uint16) * 257)).colour == small).all()
    grey = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY).astype(np.uint16) * 257
    assert (read_picture(save_picture("grey.png", grey)).colour == (grey >> 8)[..., None]).all()


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_grey_becomes_three_equal_channels(save_picture: SavePicture, small: Pixels, suffix: str) -> None:
    colour = read_picture(save_picture("grey" + suffix, cv2.cvtColor(small, cv2.COLOR_BGR2GRAY))).colour
    assert colour.shape == small.shape
    assert (colour[..., 0] == colour[..., 2]).all()


def test_palette_and_its_transparency_are_expanded(save: Save, make_png: MakePng) -> None:
    palette = chunk(b"PLTE", bytes([10, 20, 30, 200, 100, 50])) + chunk(b"tRNS", bytes([0, 255]))
    data = make_png([b"\x00\x01", b"\x01\x01"], width=2, depth=8, colour_type=3, extra=palette)
    picture = read_picture(save("palette.png", data))
    assert picture.colour.tolist() == [[[30, 20, 10], [50, 100, 200]], [[50, 100, 200], [50, 100, 200]]]
    assert picture.alpha is not None
    assert picture.alpha.tolist() == [[0, 255], [255, 255]]


def test_grey_with_alpha_is_read(save: Save, make_png: MakePng) -> None:
    picture = read_picture(save("ga.png", make_png([b"\x64\x80"], width=1, depth=8, colour_type=4)))
    assert picture.colour.tolist() == [[[100, 100, 100]]]
    assert picture.alpha is not None
    assert picture.alpha.tolist() == [[128]]


def test_one_bit_palette_is_read(save: Save, make_png: MakePng) -> None:
    palette = chunk(b"PLTE", bytes([1, 2, 3, 4, 5, 6]))
    picture = read_picture(save("bits.png", make_png([b"\x40"], width=2, depth=1, colour_type=3, extra=palette)))
    assert picture.colour.tolist() == [[[3, 2, 1], [6, 5, 4]]]


def test_alpha_is_kept_apart_and_written_again(save_picture: SavePicture, small: Pixels, folder: Path) -> None:
    alpha = np.tile(np.arange(small.shape[1], dtype=np.uint8), (small.shape[0], 1))
    picture = read_picture(save_picture("alpha.png", np.dstack([small, alpha])))
    assert (picture.colour == small).all()
    path, _ = write_picture(picture, folder / "result", quality=88)
    written = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert written is not None
    assert (written == np.dstack([small, alpha])).all()


def test_transparent_parts_are_looked_at_on_grey(save_picture: SavePicture, small: Pixels) -> None:
    alpha = np.full(small.shape[:2], 255, np.uint8)
    alpha[:, :50] = 0
    seen = read_picture(save_picture("alpha.png", np.dstack([small, alpha]))).flattened()
    assert (seen[:, :50] == 128).all()
    assert (seen[:, 50:] == small[:, 50:]).all()


def cmyk_jpeg(planes: list[Pixels]) -> bytes:
    """Four grey JPEG files as the four components of one, each with a scan of its own."""
    parts = [cv2.imencode(".jpg", plane, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes() for plane in planes]
    first = parts[0]
    frame, tables_end = first.index(b"\xff\xc0"), first.index(b"\xff\xda")
    (frame_length,) = struct.unpack_from(">H", first, frame + 2)
    tables = first[20:frame] + first[frame + 2 + frame_length : tables_end]
    height, width = planes[0].shape
    size = struct.pack(">BHHB", 8, height, width, 4) + b"".join(bytes((n, 0x11, 0)) for n in range(1, 5))
    adobe = b"Adobe" + struct.pack(">HHHB", 100, 0, 0, 0)
    data = b"\xff\xd8\xff\xee" + struct.pack(">H", len(adobe) + 2) + adobe + tables
    data += b"\xff\xc0" + struct.pack(">H", len(size) + 2) + size
    for number, part in enumerate(parts, 1):
        scan = part.index(b"\xff\xda")
        data += b"\xff\xda\x00\x08\x01" + bytes((number, 0, 0, 63, 0)) + part[scan + 10 : -2]
    return data + b"\xff\xd9"


def test_cmyk_becomes_colour(save: Save, small: Pixels) -> None:
    full = np.full(small.shape[:2], 255, np.uint8)
    data = cmyk_jpeg([np.ascontiguousarray(small[..., 2 - n]) for n in range(3)] + [full])  # Adobe stores it inverted
    colour = read_picture(save("cmyk.jpg", data)).colour
    assert colour.shape == small.shape
    assert np.abs(colour.astype(int) - small).mean() < 4


def oriented(small: Pixels, orientation: int) -> Pixels:
    """How a camera held that way stores the picture, as the EXIF specification draws it."""
    stored: dict[int, Pixels] = {
        1: small,
        2: small[:, ::-1],
        3: small[::-1, ::-1],
        4: small[::-1],
        5: small.swapaxes(0, 1),
        6: np.rot90(small, 1),
        7: np.rot90(small, 2).swapaxes(0, 1),
        8: np.rot90(small, 3),
    }
    return np.ascontiguousarray(stored[orientation])


def exif_block(orientation: int) -> bytes:
    return b"MM\x00*" + struct.pack(">IHHHIHH", 8, 1, 0x0112, 3, 1, orientation, 0) + b"\x00" * 4


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_to_png(save: Save, small: Pixels, orientation: int) -> None:
    data = cv2.imencode(".png", oriented(small, orientation))[1].tobytes()
    data = data[:33] + chunk(b"eXIf", exif_block(orientation)) + data[33:]
    assert (read_picture(save("turned.png", data)).colour == small).all()


@pytest.mark.parametrize("orientation", [3, 6])
def test_orientation_is_applied_to_jpeg_and_webp(save: Save, small: Pixels, orientation: int) -> None:
    stored = oriented(small, orientation)
    block = b"Exif\x00\x00" + exif_block(orientation)
    data = cv2.imencode(".jpg", stored)[1].tobytes()
    data = data[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + data[2:]
    colour = read_picture(save("turned.jpg", data)).colour
    assert colour.shape == small.shape
    assert np.abs(colour.astype(int) - small).mean() < 6
    body = cv2.imencode(".webp", stored, [cv2.IMWRITE_WEBP_QUALITY, 101])[1].tobytes()[12:]
    size = struct.pack("<I", stored.shape[1] - 1)[:3] + struct.pack("<I", stored.shape[0] - 1)[:3]
    body = b"WEBPVP8X" + struct.pack("<I", 10) + b"\x08\x00\x00\x00" + size + body
    body += b"EXIF" + struct.pack("<I", len(exif_block(orientation))) + exif_block(orientation)
    webp = b"RIFF" + struct.pack("<I", len(body)) + body
    assert (read_picture(save("turned.webp", webp)).colour == small).all()


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_first_picture_of_an_animation_is_taken(tmp_path: Path, small: Pixels, suffix: str) -> None:
    animation = cv2.Animation()
    animation.frames = [np.dstack([image, np.full(small.shape[:2], 255, np.uint8)]) for image in (small, small[::-1])]
    animation.durations = [40, 40]
    path = tmp_path / ("two" + suffix)
    assert cv2.imwriteanimation(str(path), animation)
    colour = read_picture(path).colour
    assert np.abs(colour.astype(int) - small).mean() < 20
    assert np.abs(colour.astype(int) - small[::-1]).mean() > 40


def test_profile_of_an_rgb_picture_is_carried_over(save: Save, small: Pixels, folder: Path) -> None:
    for space, kept in ((b"RGB ", True), (b"GRAY", False)):
        profile = b"\x00" * 16 + space + b"\x00" * 108
        packed = chunk(b"iCCP", b"p\x00\x00" + zlib.compress(profile))
        data = cv2.imencode(".png", small)[1].tobytes()
        picture = read_picture(save("profile.png", data[:33] + packed + data[33:]))
        path, _ = write_picture(picture, folder / "result", quality=88)
        assert (read_picture(path).profile == profile) is kept


def test_profile_that_inflates_without_end_is_dropped(save: Save, small: Pixels) -> None:
    data = cv2.imencode(".png", small)[1].tobytes()
    bomb = chunk(b"iCCP", b"p\x00\x00" + zlib.compress(b"\x00" * (5 << 20)))
    assert read_picture(save("bomb.png", data[:33] + bomb + data[33:])).profile is None


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [(1080, 200, (540, 100)), (4, 3000, (1, 540)), (540, 9, (540, 9)), (100, 50, (100, 50))],
)
def test_reduction_keeps_the_proportions(
    save_picture: SavePicture, width: int, height: int, expected: tuple[int, int]
) -> None:
    picture = reduce_picture(read_picture(save_picture("a.png", np.zeros((height, width, 3), np.uint8))), 540)
    assert picture.colour.shape[1::-1] == expected


def test_failed_write_leaves_nothing(folder: Path) -> None:
    def write_half() -> None:
        with files.atomic_path(folder / "result.png") as temporary:
            temporary.write_bytes(b"half")
            raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="full"):
        write_half()
    assert not list(folder.iterdir())


def test_decoder_gets_no_say_in_what_a_gif_is(save: Save) -> None:
    """A playlist behind GIF's first bytes would make a guessing demuxer open other files."""
    stream = io.BytesIO(b"GIF89a" + struct.pack("<HHBBB", 10, 10, 0, 0, 0) + b"#EXTM3U\nfile:///etc/hostname\n")
    assert code_of(save("playlist.gif", stream.getvalue())) == 701
