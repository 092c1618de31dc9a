"""Files are looked at before anything is sent."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from facewarp_async.errors import (
    EmptyFileError,
    FaceWarpError,
    FileTooLargeError,
    InputError,
    MissingFileError,
    UnsupportedFormatError,
)
from facewarp_async.files import digest, inspect, is_same_file
from facewarp_async.models import MediaType
from facewarp_async.wire.media_types import MAX_FILE_BYTES

pytestmark = pytest.mark.anyio

MakeFile = Callable[..., Path]


async def test_a_file_is_known_by_its_first_bytes_and_not_its_name(make_file: MakeFile) -> None:
    path = make_file("photo.png").rename(make_file().with_name("photo.mp4"))
    file = await inspect(path)
    assert (file.media_type, file.size, file.path) == (MediaType.PNG, 1000, path)
    assert file.sent_name == "photo.png", "the service is told what it is"


def _missing(path: Path) -> None:
    pass


def _folder(path: Path) -> None:
    path.mkdir()


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def _dangling(path: Path) -> None:
    path.symlink_to("nowhere")


def _loop(path: Path) -> None:
    path.symlink_to(path.name)


def _empty(path: Path) -> None:
    path.touch()


def _large(path: Path) -> None:
    path.write_bytes(b"\x89PNG\r\n\x1a\n")
    os.truncate(path, MAX_FILE_BYTES + 1)


def _text(path: Path) -> None:
    path.write_text("<html>")


def _heic(path: Path) -> None:
    path.write_bytes(b"\x00\x00\x00\x18ftypheic" + bytes(100))


@pytest.mark.parametrize(
    ("make", "error", "code", "said"),
    [
        (_missing, MissingFileError, None, "No such file"),
        (_folder, MissingFileError, None, "is no regular file"),
        (_pipe, MissingFileError, None, "is no regular file"),
        (_socket, MissingFileError, None, "cannot be read"),
        (_dangling, MissingFileError, None, "No such file"),
        (_loop, MissingFileError, None, "cannot be read"),
        (_empty, EmptyFileError, None, "is empty, expected JPG, PNG"),
        (_large, FileTooLargeError, 704, "the service takes 500 MB"),
        (_text, UnsupportedFormatError, 703, "show no JPG, PNG"),
        (_heic, UnsupportedFormatError, 703, "show no JPG, PNG"),
    ],
)
async def test_a_file_that_cannot_be_used_is_told_with_its_name_and_the_reason(
    tmp_path: Path, make: Callable[[Path], None], error: type[FaceWarpError], code: int | None, said: str
) -> None:
    path = tmp_path / "me.jpg"
    make(path)
    with pytest.raises(error, match=said) as caught, anyio.fail_after(2):
        await inspect(path)
    assert isinstance(caught.value, InputError)
    assert caught.value.code == code
    assert str(path) in str(caught.value)


async def test_a_file_of_exactly_the_limit_is_taken(make_file: MakeFile) -> None:
    path = make_file()
    os.truncate(path, MAX_FILE_BYTES)
    assert (await inspect(path)).size == MAX_FILE_BYTES


@pytest.mark.parametrize("name", ["a\0b.png", "x" * 300 + ".png"])
async def test_a_name_that_no_file_can_have_is_a_missing_file(name: str) -> None:
    with pytest.raises(MissingFileError):
        await inspect(Path(name))


async def test_a_link_to_a_file_is_that_file(make_file: MakeFile, tmp_path: Path) -> None:
    target, link = make_file("real.png"), tmp_path / "link.png"
    link.symlink_to(target)
    assert (await inspect(link)).identity == (await inspect(target)).identity
    assert await is_same_file(link, target)


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("photo.png", "photo.png"),
        ("Grüße aus 東京.png", "Gr_e_aus.png"),
        ("..hidden...png", "hidden.png"),
        ("東京.png", "media.png"),
        ("a b&c=d?e#f.png", "a_b_c_d_e_f.png"),
        ("x" * 100 + ".png", "x" * 60 + ".png"),
    ],
)
async def test_the_name_told_to_the_service_is_plain(make_file: MakeFile, name: str, sent: str) -> None:
    assert (await inspect(make_file(name))).sent_name == sent


async def test_a_digest_is_that_of_the_whole_content(make_file: MakeFile) -> None:
    path = make_file(size=3_000_000)
    assert await digest(path) == hashlib.sha256(path.read_bytes()).digest()


async def test_the_digest_of_a_file_that_is_gone_is_a_typed_error(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError):
        await digest(tmp_path / "gone.png")


async def test_files_are_the_same_only_where_both_exist(make_file: MakeFile, tmp_path: Path) -> None:
    assert not await is_same_file(make_file("a.png"), make_file("b.png"))
    assert not await is_same_file(make_file("a.png"), tmp_path / "gone.png")
