"""Detector, mesh and finder: where faces are, and that none is invented or listed twice."""

from __future__ import annotations

import threading

import cv2
import numpy as np
import pytest

from facewarp_async.engine import finder as finder_module
from facewarp_async.engine.arrays import Floats, Pixels, as_floats, as_pixels
from facewarp_async.engine.detect import Detector, tiles_for
from facewarp_async.engine.face import Face, nearest_face
from facewarp_async.engine.finder import local_finder
from facewarp_async.engine.mesh import Mesher, Region
from tests.engine.units import eye_distance


def turned(image: Pixels, degrees: float) -> tuple[Pixels, Floats]:
    high, wide = image.shape[:2]
    matrix = as_floats(cv2.getRotationMatrix2D((wide / 2, high / 2), degrees, 1.0))
    return as_pixels(cv2.warpAffine(image, matrix, (wide, high), borderMode=cv2.BORDER_REPLICATE)), matrix


@pytest.mark.parametrize("degrees", [-40, -15, 20, 45])
def test_points_follow_a_turned_head(hopper: Pixels, hopper_face: Face, degrees: float) -> None:
    image, matrix = turned(hopper, degrees)
    (face,) = local_finder().find(image)
    expected = hopper_face.landmarks @ matrix[:, :2].T + matrix[:, 2]
    assert np.abs(face.landmarks - expected).max() < 0.12 * eye_distance(hopper_face)


def test_mirrored_picture_gives_mirrored_points(collins: Pixels, collins_face: Face) -> None:
    (face,) = local_finder().find(np.ascontiguousarray(collins[:, ::-1]))
    mirrored = collins_face.landmarks[[1, 0, 2, 4, 3]] * [-1, 1] + [collins.shape[1] - 1, 0]
    assert np.abs(face.landmarks - mirrored).max() < 0.1 * eye_distance(collins_face)


def test_landmarks_have_sub_pixel_precision_on_a_large_face(hopper: Pixels, hopper_face: Face) -> None:
    """The reduction in whole steps shifts the mesh by half a pixel if it is done carelessly."""
    factor = 4
    large = as_pixels(cv2.resize(hopper, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC))
    region = Region.of_mesh(hopper_face.mesh)
    mesh, _ = Mesher().read(hopper, region)
    scaled = Region(
        x=(region.x + 0.5) * factor - 0.5,
        y=(region.y + 0.5) * factor - 0.5,
        side=region.side * factor,
        angle=region.angle,
    )
    large_mesh, _ = Mesher().read(large, scaled)
    off = (large_mesh[:, :2] + 0.5) / factor - 0.5 - mesh[:, :2]
    assert np.abs(off.mean(0)).max() < 0.2


def test_no_face_is_invented(hopper: Pixels) -> None:
    rng = np.random.default_rng(7)
    noise = as_pixels(cv2.GaussianBlur(rng.integers(0, 256, (600, 800, 3), np.uint8), (0, 0), 3))
    for picture in (noise, np.zeros((300, 300, 3), np.uint8), np.ascontiguousarray(hopper[450:])):
        assert local_finder().find(picture) == []


def test_what_only_the_detector_takes_for_a_face_is_none(hopper: Pixels) -> None:
    chest, shape = np.ascontiguousarray(hopper[280:480]), as_pixels(cv2.GaussianBlur(hopper, (0, 0), 15))
    for picture in (chest, shape):
        assert Detector().find(picture, tiles=0)
        assert local_finder().find(picture) == []


def test_tiny_face_in_a_large_picture_needs_the_tiles(collins: Pixels) -> None:
    scene = np.full((1080, 1920, 3), 120, np.uint8)
    head = cv2.resize(collins[20:220, 120:320], (84, 84), interpolation=cv2.INTER_AREA)
    for left, top in ((30, 40), (925, 505), (1800, 970)):
        scene[top : top + 84, left : left + 84] = head
    assert len(local_finder().find(scene)) == 3
    assert len(Detector().find(scene, tiles=0)) < 3


@pytest.mark.parametrize(("size", "tiles"), [((640, 480), 0), ((1000, 10), 2), ((10, 2599), 2), ((2600, 100), 3)])
def test_tiles_by_the_longer_side(size: tuple[int, int], tiles: int) -> None:
    assert tiles_for(*size) == tiles


def test_face_seen_in_several_tiles_is_listed_once(hopper: Pixels) -> None:
    large = as_pixels(cv2.resize(hopper, None, fx=2.4, fy=2.4, interpolation=cv2.INTER_LINEAR))
    assert len(local_finder().find(large)) == 1
    assert len(Detector().find(large, tiles=3)) == 1  # a part of it, seen at a tile's edge, is no face of its own


def test_number_of_faces_is_limited(group: Pixels, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finder_module, "MAX_FACES", 2)
    assert len(local_finder().find(group)) == 2


def test_finders_are_not_shared_between_threads() -> None:
    here, there = local_finder(), []
    thread = threading.Thread(target=lambda: there.append(local_finder()))
    thread.start()
    thread.join()
    assert local_finder() is here
    assert there[0] is not here


def test_nearest_face_is_the_named_one(group: Pixels) -> None:
    faces = local_finder().find(group)
    for number, face in enumerate(faces):
        unit = eye_distance(face)
        named = [(float(x), float(y)) for x, y in face.landmarks + as_floats([0.3 * unit, 0])]
        assert nearest_face(faces, named) == number
        away = [(float(x), float(y)) for x, y in face.landmarks + as_floats([0, 1.2 * unit])]
        assert nearest_face(faces, away) is None
    assert nearest_face([], [(0.0, 0.0)] * 5) is None
