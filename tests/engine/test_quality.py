"""The swap measured: each bound with the control that breaks it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import cv2
import numpy as np
import pytest

from facewarp_async.engine import swap as swap_module
from facewarp_async.engine.arrays import Pixels, as_floats, as_pixels
from facewarp_async.engine.face import Face
from facewarp_async.engine.finder import local_finder
from facewarp_async.engine.mask import trace_outline
from facewarp_async.engine.shape import mix_shapes
from facewarp_async.engine.swap import FAST, HD, Quality, Source, swap_face
from facewarp_async.engine.warp import map_mesh
from tests.engine.units import eye_distance

if TYPE_CHECKING:
    from .conftest import Measures

Scene: TypeAlias = tuple[Pixels, Face, Pixels, Face]


@pytest.fixture(params=["collins gets hopper", "hopper gets collins"])
def scene(
    request: pytest.FixtureRequest, collins: Pixels, collins_face: Face, hopper: Pixels, hopper_face: Face
) -> Scene:
    """The medium and the face in it, then the new face's picture and the face in that."""
    one, other = (collins, collins_face), (hopper, hopper_face)
    return (*one, *other) if request.param.startswith("collins") else (*other, *one)


def swapped(scene: Scene, quality: Quality) -> Pixels:
    base, face, picture, new = scene
    out = base.copy()
    assert swap_face(base, face, Source.of(picture, new), quality, out)
    return out


def five_point_paste(scene: Scene) -> Pixels:
    """The control: turn and scale the new face so that its five points fit, and cut it out by its own outline."""
    base, face, picture, new = scene
    matrix, _ = cv2.estimateAffinePartial2D(new.landmarks, face.landmarks)
    pasted = cv2.warpAffine(picture, matrix, base.shape[1::-1])
    mask = np.zeros(picture.shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.round(trace_outline(new.mesh, 1.0)).astype(np.int32)], (255,))
    inside = cv2.warpAffine(mask, matrix, base.shape[1::-1]) > 127
    return np.where(inside[..., None], as_pixels(pasted), base)


def mesh_paste(scene: Scene) -> Pixels:
    """The control: the new face bent onto the medium's mesh and cut out hard, its colours as they were."""
    base, face, picture, new = scene
    warp = map_mesh(face.mesh, new.mesh, (base.shape[0], base.shape[1]))
    mask = np.zeros(base.shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.round(trace_outline(face.mesh, 0.85)).astype(np.int32)], (255,))
    return np.where((warp.inside & (mask > 0))[..., None], warp.apply(picture, cv2.INTER_LINEAR), base)


def only_face(image: Pixels) -> Face:
    (face,) = local_finder().find(image)
    return face


def test_result_shows_the_new_face_rather_than_the_old(scene: Scene, measures: Measures) -> None:
    base, face, picture, new = scene
    result = swapped(scene, HD)
    found = only_face(result)

    def gain(image: Pixels, where: Face) -> float:
        return measures.likeness(image, where, picture, new) - measures.likeness(image, where, base, face)

    print("likeness", gain(result, found), "control", gain(base, face))
    assert gain(result, found) > 0.05
    assert gain(base, face) < 0


def test_inner_features_lie_where_the_mixed_shape_puts_them(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    _, face, _, new = scene
    mixed = mix_shapes(face.mesh, new.mesh, share=0.35)
    moved = np.linalg.norm((mixed - face.mesh)[:, :2], axis=1)
    clear = moved > np.percentile(moved, 80)

    def distance() -> float:
        mesh = only_face(swapped(scene, HD)).mesh
        return float(np.linalg.norm((mesh - mixed)[clear, :2], axis=1).mean() / eye_distance(face))

    error = distance()
    monkeypatch.setattr(swap_module, "_SHAPE_SHARE", 0.0)
    control = distance()
    print("shape", error, "control", control)
    assert error < 0.9 * control


@pytest.mark.parametrize("quality", [FAST, HD], ids=["fast", "hd"])
def test_outline_stays_that_of_the_medium(scene: Scene, measures: Measures, quality: Quality) -> None:
    error = measures.outline_error(only_face(swapped(scene, quality)), scene[1])
    control = measures.outline_error(only_face(five_point_paste(scene)), scene[1])
    print("outline", error, "control", control)
    assert error < 0.05
    assert control > 0.05


@pytest.mark.parametrize("quality", [FAST, HD], ids=["fast", "hd"])
def test_no_step_of_colour_at_the_seam(scene: Scene, measures: Measures, quality: Quality) -> None:
    own = measures.seam(scene[0], scene[1])
    step = measures.seam(swapped(scene, quality), scene[1]) - own
    control = measures.seam(mesh_paste(scene), scene[1]) - own
    print("seam", step, "control", control)
    assert step < 4
    assert control > 4


@pytest.mark.parametrize("quality", [FAST, HD], ids=["fast", "hd"])
def test_pixels_outside_the_face_do_not_change(scene: Scene, quality: Quality) -> None:
    base, face, _, _ = scene
    grown = np.zeros(base.shape[:2], np.uint8)
    hull = cv2.convexHull(np.round(face.mesh[:, :2]).astype(np.int32))
    cv2.fillConvexPoly(grown, hull, (255,))
    reach = max(3, round(face.size * 0.03))
    outside = cv2.dilate(grown, np.ones((reach, reach), np.uint8)) == 0
    result = swapped(scene, quality)
    assert (result[outside] == base[outside]).all()
    assert (result[~outside] != base[~outside]).any(axis=1).mean() > 0.5


@pytest.mark.parametrize("quality", [FAST, HD], ids=["fast", "hd"])
def test_grey_picture_stays_grey(collins: Pixels, collins_face: Face, hopper_source: Source, quality: Quality) -> None:
    grey = as_pixels(cv2.cvtColor(cv2.cvtColor(collins, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR))
    out = grey.copy()
    swap_face(grey, collins_face, hopper_source, quality, out)
    assert (out != grey).any()
    assert np.ptp(out.astype(int), axis=2).max() <= 2


def test_skin_is_not_more_varied_in_colour_than_the_mediums(
    collins: Pixels, collins_face: Face, hopper: Pixels, hopper_face: Face
) -> None:
    """Reflections in glasses, blotches and dark frames turned blue and red without this."""
    scene = (collins, collins_face, hopper, hopper_face)
    inner = np.zeros(collins.shape[:2], np.uint8)
    cv2.fillPoly(inner, [np.round(trace_outline(collins_face.mesh, 0.5)).astype(np.int32)], (255,))

    def variety(image: Pixels) -> float:
        colours = as_floats(cv2.cvtColor(as_floats(image) / 255, cv2.COLOR_BGR2LAB))[inner > 0]
        return float(np.percentile(np.linalg.norm(colours[:, 1:] - np.median(colours[:, 1:], axis=0), axis=1), 95))

    result, control = variety(swapped(scene, FAST)), variety(mesh_paste(scene))
    print("variety", result, "control", control, "medium", variety(collins))
    assert result < 18
    assert control > 18
