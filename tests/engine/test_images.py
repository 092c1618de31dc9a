"""The tasks on pictures, from file to file."""

from __future__ import annotations

import hashlib
import multiprocessing
import struct
import threading
import zlib
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from facewarp_async import engine
from facewarp_async.engine import EngineError, images
from facewarp_async.engine.arrays import Pixels, as_pixels
from facewarp_async.engine.finder import local_finder
from facewarp_async.engine.swap import Source
from tests.engine.units import eye_distance

if TYPE_CHECKING:
    from .conftest import Measures, Save, SavePicture

BLANK = np.full((200, 300, 3), (90, 160, 70), np.uint8)


def read(path: Path) -> Pixels:
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert image is not None
    return as_pixels(image)


def test_jpeg_gives_jpeg_with_thumbnail(hopper_path: Path, collins_path: Path, folder: Path) -> None:
    result = engine.swap_image(hopper_path, collins_path, folder / "r.1")
    assert result.path == folder / "r.1.jpg"
    assert (result.width, result.height) == (512, 600)
    assert result.size == result.path.stat().st_size
    assert read(result.path).shape == (600, 512, 3)
    assert result.thumbnail.path == folder / "r.1_thumbnail.jpg"
    assert read(result.thumbnail.path).shape == (result.thumbnail.height, result.thumbnail.width, 3)
    assert (result.thumbnail.width, result.thumbnail.height) == (461, 540)
    assert {path.name for path in folder.iterdir()} == {"r.1.jpg", "r.1_thumbnail.jpg"}


@pytest.mark.parametrize("suffix", [".png", ".webp", ".gif"])
def test_other_pictures_give_png(
    save_picture: SavePicture, collins: Pixels, hopper_path: Path, folder: Path, suffix: str
) -> None:
    result = engine.swap_image(save_picture("m" + suffix, collins), hopper_path, folder / "r")
    assert result.path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert result.path.suffix == result.thumbnail.path.suffix == ".png"


def test_alpha_of_the_medium_is_kept(
    save_picture: SavePicture, collins: Pixels, hopper_path: Path, folder: Path
) -> None:
    alpha = np.full(collins.shape[:2], 255, np.uint8)
    alpha[300:] = 77
    result = engine.swap_image(save_picture("m.png", np.dstack([collins, alpha])), hopper_path, folder / "r")
    written = read(result.path)
    assert (written[..., 3] == alpha).all()
    assert (written[300:, :, :3] == collins[300:]).all()


@pytest.mark.parametrize("name", ["collins_path", "hopper_path"])
def test_results_say_that_they_are_synthetic(
    request: pytest.FixtureRequest, collins_path: Path, folder: Path, name: str
) -> None:
    result = engine.swap_image(request.getfixturevalue(name), collins_path, folder / "r")
    for path in (result.path, result.thumbnail.path):
        data = path.read_bytes()
        at = data.index(b"Synthetic media")
        if path.suffix == ".png":
            start = data.rindex(b"tEXt", 0, at) - 4
            (length,) = struct.unpack_from(">I", data, start)
            content = data[start + 4 : start + 8 + length]
            assert content.startswith(b"tEXtComment\x00Synthetic media")
            assert struct.unpack_from(">I", data, start + 8 + length)[0] == zlib.crc32(content)
        else:
            assert data[at - 4 : at - 2] == b"\xff\xfe"


def test_hd_differs_and_is_larger(hopper_path: Path, collins_path: Path, folder: Path) -> None:
    fast = engine.swap_image(hopper_path, collins_path, folder / "fast")
    fine = engine.swap_image(hopper_path, collins_path, folder / "fine", hd=True)
    assert fine.size > fast.size * 1.2


def test_no_face_says_in_which_file(save_picture: SavePicture, collins_path: Path, folder: Path) -> None:
    blank = save_picture("blank.png", BLANK)
    for media, face, where in ((blank, collins_path, "to change"), (collins_path, blank, "of the face")):
        with pytest.raises(EngineError, match=where) as caught:
            engine.swap_image(media, face, folder / "r")
        assert caught.value.code == 602
    assert not list(folder.iterdir())


@pytest.mark.slow
def test_several_comparable_faces_are_refused(group_path: Path, collins_path: Path, folder: Path) -> None:
    for media, face, where in ((group_path, collins_path, "to change"), (collins_path, group_path, "of the face")):
        with pytest.raises(EngineError, match=f"4 faces in the picture {where}") as caught:
            engine.swap_image(media, face, folder / "r")
        assert caught.value.code == 603
    assert not list(folder.iterdir())


def test_tiny_bystander_does_not_count(
    save_picture: SavePicture, collins: Pixels, hopper: Pixels, collins_path: Path, folder: Path
) -> None:
    scene = np.hstack([hopper, np.full((600, 200, 3), 128, np.uint8)])
    bystander = cv2.resize(collins[10:230, 110:330], (110, 110), interpolation=cv2.INTER_AREA)
    scene[300:410, 540:650] = bystander
    assert len(local_finder().find(scene)) == 2
    result = engine.swap_image(save_picture("m.png", scene), collins_path, folder / "r")
    changed = (read(result.path) != scene).any(axis=2)
    assert changed[:, :512].any()
    assert not changed[:, 512:].any()


@pytest.mark.parametrize(
    ("data", "code"), [(b"", 701), (b"\x89PNG\r\n\x1a\n\x00", 701), (b"what is this?" * 9, 703), (b"\x00" * 99, 703)]
)
def test_broken_files_keep_their_codes(save: Save, collins_path: Path, folder: Path, data: bytes, code: int) -> None:
    broken = save("broken.png", data)
    for media, face in ((broken, collins_path), (collins_path, broken)):
        with pytest.raises(EngineError) as caught:
            engine.swap_image(media, face, folder / "r")
        assert caught.value.code == code
    assert not list(folder.iterdir())


def test_video_is_no_picture(save: Save, collins_path: Path, folder: Path) -> None:
    clip = save("clip.jpg", b"\x00\x00\x00\x20ftypisom" + bytes(100))
    with pytest.raises(EngineError) as caught:
        engine.swap_image(clip, collins_path, folder / "r")
    assert caught.value.code == 703


def test_failure_of_a_library_becomes_the_engines_error(
    collins_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise cv2.error("out of ideas")

    monkeypatch.setattr(images, "swap_face", fail)
    with pytest.raises(EngineError) as caught:
        engine.swap_image(collins_path, collins_path, folder / "r")
    assert caught.value.code == 601
    assert not list(folder.iterdir())


def test_result_without_thumbnail_does_not_stay(
    collins_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(images, "write_thumbnail", fail)
    with pytest.raises(EngineError) as caught:
        engine.swap_image(collins_path, collins_path, folder / "r")
    assert caught.value.code == 601
    assert not list(folder.iterdir())


@pytest.mark.parametrize("size", [(1, 1), (2, 900), (900, 1), (40, 40)])
def test_odd_little_pictures_have_no_face(
    save_picture: SavePicture, collins_path: Path, folder: Path, size: tuple[int, int]
) -> None:
    with pytest.raises(EngineError) as caught:
        engine.swap_image(save_picture("m.png", np.zeros((*size, 3), np.uint8)), collins_path, folder / "r")
    assert caught.value.code == 602


def test_small_face_is_swapped(save_picture: SavePicture, collins: Pixels, hopper_path: Path, folder: Path) -> None:
    small = cv2.resize(collins, (160, 160), interpolation=cv2.INTER_AREA)
    result = engine.swap_image(save_picture("m.png", small), hopper_path, folder / "r")
    assert (read(result.path) != small).any()


@pytest.mark.parametrize("hd", [False, True])
def test_face_cut_by_the_pictures_edge_is_swapped_up_to_it(
    save_picture: SavePicture, hopper: Pixels, collins_path: Path, folder: Path, hd: bool
) -> None:
    cut = np.ascontiguousarray(hopper[:, 200:])
    result = engine.swap_image(save_picture("m.png", cut), collins_path, folder / "r", hd=hd)
    assert (read(result.path)[240:280, 0] != cut[240:280, 0]).any(axis=1).mean() > 0.8


def test_faces_are_found_from_left_to_right(group_path: Path, folder: Path) -> None:
    crops = engine.find_faces(group_path, folder)
    assert [crop.path.name for crop in crops] == [f"face-{number:02d}.png" for number in range(4)]
    lefts = [crop.landmarks[0][0] for crop in crops]
    assert lefts == sorted(lefts)
    assert {path.name for path in folder.iterdir()} == {crop.path.name for crop in crops}


def test_keypoints_lie_on_the_features_of_the_crop(group_path: Path, group: Pixels, folder: Path) -> None:
    for crop in engine.find_faces(group_path, folder):
        image = read(crop.path)
        assert (crop.width, crop.height, crop.size) == (image.shape[1], image.shape[0], crop.path.stat().st_size)
        assert all(0 <= x < crop.width and 0 <= y < crop.height for x, y in crop.keypoints)
        (face,) = local_finder().find(image)
        found = face.landmarks - np.array(crop.keypoints)
        assert np.abs(found).max() < 0.12 * eye_distance(face)
        left, right, nose, corner_left, corner_right = crop.keypoints
        assert left[0] < nose[0] < right[0]
        assert corner_left[0] < corner_right[0]
        assert max(left[1], right[1]) < nose[1] < min(corner_left[1], corner_right[1])
        # the crop is the medium's own pixels, and the landmarks are those of the medium
        shift = np.array(crop.landmarks[2]) - nose
        x, y = np.round(shift).astype(int)
        assert (group[y : y + crop.height, x : x + crop.width] == image).all()


@pytest.mark.slow
def test_crop_serves_as_the_picture_of_a_face(group_path: Path, collins_path: Path, folder: Path) -> None:
    for crop in engine.find_faces(group_path, folder):
        engine.swap_image(collins_path, crop.path, folder / f"with-{crop.path.stem}")


def test_no_faces_is_an_empty_list(save_picture: SavePicture, folder: Path) -> None:
    assert engine.find_faces(save_picture("blank.png", BLANK), folder) == []
    assert not list(folder.iterdir())


def test_find_faces_refuses_what_is_no_picture(save: Save, folder: Path) -> None:
    with pytest.raises(EngineError) as caught:
        engine.find_faces(save("text.png", b"hello"), folder)
    assert caught.value.code == 703


@pytest.mark.slow
@pytest.mark.parametrize("hd", [False, True])
def test_only_the_named_faces_change(
    group_path: Path, group: Pixels, collins_path: Path, hopper_path: Path, folder: Path, hd: bool
) -> None:
    faces = engine.find_faces(group_path, folder)
    pairs = [(faces[1].landmarks, collins_path), (faces[2].landmarks, hopper_path)]
    result = engine.swap_faces(group_path, pairs, folder / "r", hd=hd)
    changed = (read(result.path) != group).any(axis=2)
    for number, face in enumerate(local_finder().find(group)):
        low, high = np.floor(face.bounds[0]).astype(int), np.ceil(face.bounds[1]).astype(int)
        inside = changed[low[1] : high[1], low[0] : high[0]]
        assert (inside.mean() > 0.4) if number in (1, 2) else not inside.any()
        if number in (1, 2):
            extra = round(0.05 * face.size)
            changed[low[1] - extra : high[1] + extra, low[0] - extra : high[0] + extra] = False
    assert not changed.any()


@pytest.mark.slow
def test_each_face_gets_the_one_it_is_paired_with(
    group_path: Path,
    hopper_path: Path,
    collins_path: Path,
    collins_source: Source,
    hopper_source: Source,
    folder: Path,
    measures: Measures,
) -> None:
    faces = engine.find_faces(group_path, folder)
    pairs = [(faces[0].landmarks, hopper_path), (faces[1].landmarks, collins_path)]
    image = read(engine.swap_faces(group_path, pairs, folder / "r", hd=True).path)
    found = local_finder().find(image)
    for face, right, wrong in ((found[0], hopper_source, collins_source), (found[1], collins_source, hopper_source)):
        like = measures.likeness(image, face, right.image, right.face)
        assert like > measures.likeness(image, face, wrong.image, wrong.face)


def test_hd_counts_for_several_faces_too(hopper_path: Path, collins_path: Path, folder: Path) -> None:
    (face,) = engine.find_faces(hopper_path, folder)
    fast = engine.swap_faces(hopper_path, [(face.landmarks, collins_path)], folder / "fast")
    fine = engine.swap_faces(hopper_path, [(face.landmarks, collins_path)], folder / "fine", hd=True)
    assert fine.size > fast.size * 1.2


def test_later_pair_for_one_face_counts(collins_path: Path, hopper_path: Path, folder: Path) -> None:
    (face,) = engine.find_faces(collins_path, folder)
    twice = [(face.landmarks, collins_path), (face.landmarks, hopper_path)]
    both = engine.swap_faces(collins_path, twice, folder / "both")
    last = engine.swap_faces(collins_path, twice[1:], folder / "last")
    assert (read(both.path) == read(last.path)).all()


def test_place_without_a_face_is_refused(group_path: Path, collins_path: Path, folder: Path) -> None:
    nowhere = [(10.0, 450.0), (40.0, 450.0), (25.0, 460.0), (12.0, 470.0), (38.0, 470.0)]
    with pytest.raises(EngineError) as caught:
        engine.swap_faces(group_path, [(nowhere, collins_path)], folder / "r")
    assert caught.value.code == 602
    assert not list(folder.iterdir())


def digest(media: Path, face: Path, out: Path) -> str:
    """Swap and give the result's hash; a plain function, so that a spawned process can import it."""
    return hashlib.sha256(engine.swap_image(media, face, out).path.read_bytes()).hexdigest()


@pytest.mark.slow
def test_threads_and_processes_give_the_same_result(collins_path: Path, hopper_path: Path, folder: Path) -> None:
    expected = digest(collins_path, hopper_path, folder / "here")
    start = threading.Barrier(2)

    def swap(number: int) -> str:
        start.wait()
        return digest(collins_path, hopper_path, folder / f"thread-{number}")

    with ThreadPoolExecutor(2) as threads:
        assert set(threads.map(swap, range(2))) == {expected}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, initializer=engine.warm_up) as pool:
        result = pool.submit(engine.swap_image, collins_path, hopper_path, folder / "process").result()
        assert hashlib.sha256(result.path.read_bytes()).hexdigest() == expected
        with pytest.raises(EngineError) as caught:
            pool.submit(engine.swap_image, folder / "missing", hopper_path, folder / "r").result()
        assert caught.value.code == 701
