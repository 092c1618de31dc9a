"""Faces are followed from frame to frame: calmly, under one number, and without lagging behind."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from facewarp_async.engine.arrays import Floats, Pixels, as_floats
from facewarp_async.engine.face import Face
from facewarp_async.engine.finder import local_finder
from facewarp_async.engine.smooth import OneEuroFilter
from facewarp_async.engine.topology import OVAL
from facewarp_async.engine.track import Tracked, Tracker
from tests.engine.units import eye_distance

Moving = Callable[..., list[Pixels]]
SwayMap = Callable[[Pixels, tuple[int, int], float], Floats]
SIZE = (320, 240)


def follow(frames: list[Pixels], rate: float = 25) -> list[list[Tracked]]:
    tracker = Tracker(local_finder())
    return [tracker.step(frame, number / rate) for number, frame in enumerate(frames)]


def jitter(tracked: list[list[Tracked]], image: Pixels, size: tuple[int, int], sway_map: SwayMap) -> float:
    """Mean change from frame to frame of the error against the known motion, in % of the eyes' distance."""
    face = tracked[0][0].face
    first = sway_map(image, size, 0)
    inverse = cv2.invertAffineTransform(first)
    on_still = face.mesh[:, :2] @ inverse[:, :2].T + inverse[:, 2]
    errors = []
    for number, items in enumerate(tracked):
        matrix = sway_map(image, size, number / len(tracked))
        errors.append(items[0].face.mesh[:, :2] - (on_still @ matrix[:, :2].T + matrix[:, 2]))
    steps = np.linalg.norm(np.diff(np.array(errors), axis=0), axis=2)
    return float(100 * steps.mean() / eye_distance(face))


@pytest.mark.slow
def test_landmarks_do_not_tremble(
    moving: Moving, hopper: Pixels, sway_map: SwayMap, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = (640, 480)
    frames = moving(hopper, frames=75, size=size, noise=6)
    calmed = jitter(follow(frames), hopper, size, sway_map)
    monkeypatch.setattr(OneEuroFilter, "__call__", lambda _, mesh, **__: mesh)
    control = jitter(follow(frames), hopper, size, sway_map)
    print("jitter", calmed, "control", control)
    assert calmed < 0.6
    assert control > 0.6


def test_face_keeps_its_number_while_it_moves(moving: Moving, hopper: Pixels) -> None:
    tracked = follow(moving(hopper, frames=30, size=SIZE))
    assert [[item.track for item in items] for items in tracked] == [[0]] * 30


@pytest.mark.slow
def test_mesh_stays_on_a_moving_face(moving: Moving, hopper: Pixels, sway_map: SwayMap, hopper_face: Face) -> None:
    frames = moving(hopper, frames=30, size=SIZE)
    for number, items in enumerate(follow(frames)):
        matrix = sway_map(hopper, SIZE, number / 30)
        expected = hopper_face.mesh[:, :2] @ matrix[:, :2].T + matrix[:, 2]
        error = np.linalg.norm(items[0].face.mesh[OVAL, :2] - expected[OVAL], axis=1).mean()
        assert error < 0.12 * eye_distance(items[0].face)


@pytest.mark.slow
def test_quick_face_is_not_left_behind(collins: Pixels) -> None:
    """It moves by nearly the distance of its eyes from one frame to the next."""
    frames = []
    head = cv2.resize(collins, (240, 240), interpolation=cv2.INTER_AREA)
    for number in range(12):
        frame = np.full((300, 640, 3), (150, 140, 130), np.uint8)
        frame[30:270, 20 + 18 * number : 260 + 18 * number] = head
        frames.append(frame)
    for frame, items in zip(frames, follow(frames), strict=True):
        (found,) = local_finder().find(frame)
        (item,) = items
        assert item.track == 0
        assert np.linalg.norm(item.face.centre - found.centre) < 0.2 * eye_distance(found)


def test_networks_run_on_every_frame_but_the_detector_does_not(
    moving: Moving, hopper: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    finder = local_finder()
    looks = []
    find = finder.detector.find

    def counted(image: Pixels, *, tiles: int) -> object:
        looks.append(tiles)
        return find(image, tiles=tiles)

    monkeypatch.setattr(finder.detector, "find", counted)
    follow(moving(hopper, frames=30, size=SIZE))
    assert len(looks) == 3


def test_second_face_that_enters_is_found(collins: Pixels, hopper: Pixels) -> None:
    one = np.full((300, 700, 3), 120, np.uint8)
    one[:, :220] = hopper[100:400, 150:370]
    both = one.copy()
    both[:220, 420:640] = collins[10:230, 110:330]
    tracked = follow([one] * 3 + [both] * 12)
    assert len(tracked[2]) == 1
    assert len(tracked[-1]) == 2
    assert tracked[-1][0].track == 0


def test_face_that_leaves_is_dropped_and_known_when_it_is_back(collins: Pixels) -> None:
    empty = np.full_like(collins, 110)
    tracked = follow([collins] * 3 + [empty] * 5 + [collins] * 3)
    assert [len(items) for items in tracked] == [1] * 3 + [0] * 5 + [1] * 3
    assert tracked[-1][0].track == 0


def test_face_that_is_long_gone_gets_a_new_number(collins: Pixels) -> None:
    empty = np.full_like(collins, 110)
    tracked = follow([collins] * 2 + [empty] * 5 + [collins], rate=1)
    assert tracked[-1][0].track == 1


def test_cut_to_another_place_starts_a_new_track(collins: Pixels) -> None:
    shifted = np.ascontiguousarray(np.roll(collins, 180, axis=1))
    tracked = follow([collins] * 2 + [shifted] * 2)
    assert [[item.track for item in items] for items in tracked] == [[0], [0], [1], [1]]
    assert abs(tracked[2][0].face.centre[0] - tracked[1][0].face.centre[0] - 180) < 8


def test_height_of_the_forehead_does_not_flicker(hopper: Pixels, hopper_face: Face) -> None:
    capped = hopper.copy()
    capped[: int(hopper_face.mesh[[10, 151], 1].mean())] = 20
    tracked = follow([hopper, capped, hopper, capped])
    reaches = [items[0].face.reach or 0.0 for items in tracked]
    assert 0.001 < np.abs(np.diff(reaches)).max() < 0.1


def filtered(values: list[float], rate: float = 25) -> list[float]:
    calm = OneEuroFilter()
    mesh = np.zeros((4, 3), np.float32)
    return [
        float(calm(mesh + as_floats([value, 0, 0]), time_s=number / rate, size=100)[0, 0])
        for number, value in enumerate(values)
    ]


def test_filter_damps_a_face_at_rest_and_follows_a_quick_one() -> None:
    rest = filtered([(-1.0) ** number for number in range(50)])
    assert np.abs(rest[10:]).max() < 0.5
    quick = filtered([8.0 * number for number in range(50)])
    assert 8.0 * 49 - quick[-1] < 8


def test_filter_starts_anew_after_a_gap() -> None:
    calm = OneEuroFilter()
    mesh = np.zeros((4, 3), np.float32)
    calm(mesh, time_s=0.0, size=100)
    assert (calm(mesh + 50, time_s=0.9, size=100) == 50).all()
    assert (calm(mesh + 90, time_s=0.1, size=100) == 90).all()
