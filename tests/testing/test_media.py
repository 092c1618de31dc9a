"""The small files: other programs can open them, and they differ."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import pytest

from facewarp_async.files import inspect_now
from facewarp_async.models import MediaType
from facewarp_async.testing import MediaFolder, jpeg, mp4, png


@pytest.mark.parametrize("name", ["a.jpg", "b.jpeg", "c.PNG"])
def test_pictures_can_be_opened(tmp_path: Path, name: str) -> None:
    path = MediaFolder(tmp_path).make(name)
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    assert picture is not None
    assert picture.shape == (8, 8, 3)
    assert 160 < picture.mean() < 180


def test_a_clip_can_be_played(tmp_path: Path) -> None:
    path = MediaFolder(tmp_path).make("holiday/clip.mp4")
    with av.open(str(path)) as clip:
        assert [(frame.width, frame.height) for frame in clip.decode(video=0)] == [(16, 16)] * 2


@pytest.mark.parametrize(("make", "media_type"), [(jpeg, MediaType.JPEG), (png, MediaType.PNG), (mp4, MediaType.MP4)])
def test_they_are_small_differ_with_the_salt_and_are_what_they_are(
    tmp_path: Path, make: object, media_type: MediaType
) -> None:
    assert callable(make)
    bodies = {make(salt) for salt in ("", "a", "b", "ä" * 100)}
    assert len(bodies) == 4
    assert make("a") in bodies
    assert max(len(body) for body in bodies) < 2000
    (tmp_path / "file").write_bytes(make("a"))
    assert inspect_now(tmp_path / "file").media_type is media_type


def test_files_differ_with_their_names_unless_salt_is_given(tmp_path: Path) -> None:
    folder = MediaFolder(tmp_path)
    names = [("a.png", None), ("b.png", None), ("c.png", "same"), ("d.png", "same")]
    a, b, c, d = [folder.make(name, salt=salt).read_bytes() for name, salt in names]
    assert len({a, b, c, d}) == 3
    assert c == d


def test_another_extension_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.txt: expected a name that ends in \.jpg"):
        MediaFolder(tmp_path).make("a.txt")
