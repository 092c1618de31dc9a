"""The steps of a swap, each by what it is there for."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from attrs import evolve

from facewarp_async.engine.arrays import Floats, Pixels, as_floats, as_pixels
from facewarp_async.engine.blend import blend_bands, blend_into, match_detail, to_pixels
from facewarp_async.engine.colour import LUMA, measure_light, relight
from facewarp_async.engine.face import Face
from facewarp_async.engine.mask import Edges, Mask, keep_mouth, make_mask, trace_outline
from facewarp_async.engine.shape import fit_rigidly, mix_shapes
from facewarp_async.engine.skin import measure_reach
from facewarp_async.engine.swap import FAST, HD, Source, swap_face
from facewarp_async.engine.topology import (
    FOREHEAD,
    INNER_LIPS,
    LEFT_EYE,
    LIP_SLIT,
    MEAN,
    NOSE_TIP,
    OVAL,
    RIGHT_EYE,
    TRIANGLES,
)
from facewarp_async.engine.warp import map_mesh


def layout(size: float = 200, margin: float = 30) -> Floats:
    """The mean mesh as a frontal face in a picture."""
    return as_floats((MEAN - as_floats([*MEAN[:, :2].min(0), 0])) * size + as_floats([margin, margin, 0]))


def turned(mesh: Floats, angle: float) -> Floats:
    """Turn a mesh about its upright axis."""
    cos, sin = np.cos(angle), np.sin(angle)
    middle = mesh.mean(0)
    return as_floats((mesh - middle) @ as_floats([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]]) + middle)


def frontal_mask(shape: tuple[int, int] = (300, 260), edges: Edges | None = None) -> Mask:
    mesh = layout()
    inside = np.ones(shape, np.bool_)
    return make_mask(mesh, inside=inside, size=300, forehead=0.85, edges=edges or Edges(), mouth=None)


def test_topology_is_sound() -> None:
    assert (MEAN.shape, TRIANGLES.shape) == ((468, 3), (896, 3))
    assert set(TRIANGLES.ravel()) == set(range(468))
    mirrored = MEAN * as_floats([-1, 1, 1])
    assert np.linalg.norm(MEAN[LEFT_EYE].mean(0) - mirrored[RIGHT_EYE].mean(0)) < 0.01


def test_rigid_fit_undoes_turn_scale_and_shift() -> None:
    mesh = layout()
    moved = turned(mesh, 0.6) * 1.7 + as_floats([5, -40, 12])
    assert np.abs(fit_rigidly(mesh, moved) - moved).max() < 0.01


def test_rigid_fit_never_mirrors() -> None:
    mesh = turned(layout(), 0.3)
    fitted = fit_rigidly(mesh, mesh * as_floats([1, 1, -1]))
    corners = fitted[[0, 33, 263, 152]]
    original = mesh[[0, 33, 263, 152]]
    assert np.sign(np.linalg.det(corners[1:] - corners[0])) == np.sign(np.linalg.det(original[1:] - original[0]))


def test_shape_moves_inner_features_and_keeps_the_outline() -> None:
    base, wide_nose = layout(), layout()
    wide_nose[[48, 278], 0] += as_floats([-12, 12])
    mixed = mix_shapes(base, wide_nose, share=0.35)
    assert np.abs(mixed[OVAL] - base[OVAL]).max() < 0.01
    assert mixed[48, 0] < base[48, 0] - 2
    assert np.abs(mix_shapes(base, wide_nose, share=0) - base).max() == 0


def test_shape_keeps_the_mediums_expression() -> None:
    base, open_mouth = layout(), layout()
    upper, lower = LIP_SLIT
    open_mouth[INNER_LIPS, 1] += np.where(MEAN[INNER_LIPS, 1] > MEAN[INNER_LIPS, 1].mean(), 20, -20)
    mixed = mix_shapes(base, open_mouth, share=1.0)
    before, after = base[lower, 1] - base[upper, 1], mixed[lower, 1] - mixed[upper, 1]
    assert abs(after - before) < 0.25 * 40


def test_warp_onto_the_same_mesh_changes_nothing(hopper: Pixels, hopper_face: Face) -> None:
    warp = map_mesh(hopper_face.mesh, hopper_face.mesh, (hopper.shape[0], hopper.shape[1]))
    result = warp.apply(hopper, cv2.INTER_LINEAR)
    assert np.abs(result[warp.inside].astype(int) - hopper[warp.inside]).max() <= 1


def test_warp_takes_points_to_points() -> None:
    target, source = turned(layout(), 0.3), layout()
    warp = map_mesh(target, source, (300, 260))
    for point in (NOSE_TIP, 50, 280, 152):
        x, y = np.round(target[point, :2]).astype(int)
        expected = source[point, :2] + (np.array([x, y]) - target[point, :2])
        assert np.abs([warp.x[y, x] - expected[0], warp.y[y, x] - expected[1]]).max() < 1.5


def test_nearer_triangles_hide_farther_ones() -> None:
    """A cheek is pushed behind the nose."""
    source, target = layout(), layout()
    cheek = np.argmin(np.linalg.norm(MEAN[:, :2] - MEAN[50, :2], axis=1))
    moved = MEAN[:, 0] < -0.12
    target[moved] += as_floats([target[NOSE_TIP, 0] - target[cheek, 0], 0, 300])
    x, y = np.round(target[NOSE_TIP, :2]).astype(int)
    warp = map_mesh(target, source, (300, 260))
    assert np.hypot(warp.x[y, x] - source[NOSE_TIP, 0], warp.y[y, x] - source[NOSE_TIP, 1]) < 2
    target[moved, 2] -= 600  # and pulled before it
    hidden = map_mesh(target, source, (300, 260))
    assert np.hypot(hidden.x[y, x] - source[NOSE_TIP, 0], hidden.y[y, x] - source[NOSE_TIP, 1]) > 20


def test_flat_triangles_do_no_harm() -> None:
    flat = layout()
    flat[:, 0] = 100
    warp = map_mesh(flat, layout(), (300, 260))
    assert np.isfinite(warp.x).all()
    assert not warp.inside[:, 150:].any()


def test_mask_rises_from_the_outline_inwards() -> None:
    mask = frontal_mask()
    ramp = mask.ramp(0.35, 1.65)
    assert ramp[mask.hard == 0].max() == 0
    assert ramp[mask.depth > 1.7 * mask.feather].min() == 1
    assert (np.diff(ramp[150, :130]) >= 0).all()


def test_mask_ends_inside_the_crop_unless_the_picture_ends_there() -> None:
    mesh, inside = layout(size=400, margin=-80), np.ones((200, 160), np.bool_)
    closed = make_mask(mesh, inside=inside, size=600, forehead=0.85, edges=Edges(), mouth=None)
    edges = Edges(left=True, top=True, bottom=True, right=True)
    opened = make_mask(mesh, inside=inside, size=600, forehead=0.85, edges=edges, mouth=None)
    assert closed.hard[:, 0].max() == closed.hard[:, -1].max() == closed.hard[-1].max() == 0
    assert closed.hard[0].max() == 0
    assert opened.hard[100, 0] == opened.hard[100, -1] == opened.hard[-1, 80] == opened.hard[0, 80] == 255
    assert closed.ramp(0.35, 1.65)[100, 1] < 0.05


def test_forehead_is_lowered_on_demand() -> None:
    mesh = layout()
    full, low = trace_outline(mesh, 1.0), trace_outline(mesh, 0.0)
    assert np.abs(full - mesh[OVAL, :2]).max() == 0
    assert low[:, 1].min() >= min(mesh[point, 1] for point in FOREHEAD.values()) - 0.01


def test_fringe_and_hat_lower_the_reach(hopper: Pixels, hopper_face: Face, collins: Pixels, collins_face: Face) -> None:
    assert measure_reach(collins, collins_face.mesh) < 0.4  # a fringe close above the brows
    assert measure_reach(hopper, hopper_face.mesh) > 0.8
    capped = hopper.copy()
    capped[: int(hopper_face.mesh[[10, 151], 1].mean())] = 20
    assert measure_reach(capped, hopper_face.mesh) < 0.6


def test_fringe_is_not_painted_over(collins: Pixels, collins_face: Face, hopper_source: Source) -> None:
    out = collins.copy()
    swap_face(collins, collins_face, hopper_source, FAST, out)
    high = collins_face.mesh[10, :2] + (collins_face.mesh[151, :2] - collins_face.mesh[10, :2]) * 0.3
    x, y = np.round(high).astype(int)
    assert (out[y - 3 : y + 3, x - 10 : x + 10] == collins[y - 3 : y + 3, x - 10 : x + 10]).all()


def mouth_open(gap: float) -> Face:
    mesh = layout()
    lips = mesh[INNER_LIPS, 1]
    width = float(np.linalg.norm(mesh[78, :2] - mesh[308, :2]))
    middle = (mesh[LIP_SLIT[0], 1] + mesh[LIP_SLIT[1], 1]) / 2
    mesh[INNER_LIPS, 1] = middle + np.sign(lips - middle) * gap * width / 2
    return Face(mesh=mesh)


@pytest.mark.parametrize(
    ("medium", "new", "is_kept"), [(0.4, 0.0, True), (0.0, 0.4, True), (0.4, 0.4, False), (0.0, 0.0, False)]
)
def test_mouth_stays_where_the_new_face_has_nothing_to_show(medium: float, new: float, is_kept: bool) -> None:
    face = mouth_open(medium)
    kept = keep_mouth(face, face.mesh, source_gap=new, shape=(300, 260))
    assert (kept is not None) is is_kept
    if kept is not None and medium:
        x, y = np.round(mouth_open(medium).mesh[[*LIP_SLIT], :2].mean(0)).astype(int)
        assert kept[y, x] < 0.1
        assert kept[20, 20] > 0.99


def test_neither_of_two_mouths_shows_what_is_squeezed_between_the_lips() -> None:
    face, lowered = mouth_open(0.0), layout()
    lowered[:, 1] += 8
    kept = keep_mouth(face, lowered, source_gap=0.4, shape=(300, 260))
    assert kept is not None
    for mesh in (face.mesh, lowered):
        x, y = np.round(mesh[[*LIP_SLIT], :2].mean(0)).astype(int)
        assert kept[y, x] < 0.6


def coloured(tone: tuple[int, int, int], shape: tuple[int, int] = (300, 260)) -> Pixels:
    return np.full((*shape, 3), tone, np.uint8)


def test_skin_takes_the_mediums_colour() -> None:
    mask = frontal_mask()
    warped, base = coloured((90, 120, 180)), coloured((60, 70, 90))
    light = measure_light(warped, base, mask, 300)
    assert light is not None
    assert np.abs(relight(warped, light)[150, 130] - as_floats([60, 70, 90])).max() < 4


def test_shading_across_the_face_follows_the_medium() -> None:
    mask = frontal_mask()
    warped = coloured((110, 130, 170))
    ramp = np.linspace(0.6, 1.2, 260)[None, :, None]
    base = as_pixels((warped * ramp).clip(0, 255).astype(np.uint8))
    light = measure_light(warped, base, mask, 300)
    relit = relight(warped, light)
    left, right = relit[170, 60] @ LUMA, relit[170, 200] @ LUMA
    expected_left, expected_right = base[170, 60] @ LUMA, base[170, 200] @ LUMA
    assert abs(left / right - expected_left / expected_right) < 0.15


def test_specular_spot_of_the_new_face_is_held_down() -> None:
    mask = frontal_mask()
    warped, base = coloured((110, 130, 170)), coloured((110, 130, 170))
    cv2.circle(warped, (95, 180), 8, (255, 255, 255), -1)
    spot = relight(warped, measure_light(warped, base, mask, 300))[180, 95] @ LUMA
    assert spot < 0.5 * (255 + float(as_floats([110, 130, 170]) @ LUMA))


def test_bright_skin_keeps_its_shading_below_white() -> None:
    mask = frontal_mask()
    warped = coloured((150, 170, 200))
    warped[:, 130:] = (180, 200, 235)
    relit = relight(warped, measure_light(warped, coloured((235, 240, 250)), mask, 300))
    assert relit.max() <= 255


def test_nothing_to_compare_leaves_the_face_as_it_is() -> None:
    mask = frontal_mask()
    hidden = Mask(hard=mask.hard * 0, skin=mask.skin * 0, depth=mask.depth, feather=mask.feather, mouth=None)
    warped = coloured((90, 120, 180))
    assert measure_light(warped, warped, hidden, 300) is None
    assert (relight(warped, None) == warped).all()


def test_bands_leave_both_ends_alone_and_hide_a_step() -> None:
    over, under = np.full((128, 128, 3), 180, np.float32), np.full((128, 128, 3), 60, np.float32)
    opacity = np.zeros((128, 128), np.float32)
    opacity[:, 64:] = 1
    result = blend_bands(over, under, opacity, 4)
    assert np.abs(result[:, :8] - 60).max() < 2
    assert np.abs(result[:, -8:] - 180).max() < 2
    assert np.abs(np.diff(result[64, :, 0])).max() < 60 < 120


def test_blend_changes_no_bit_where_opacity_is_zero(hopper: Pixels) -> None:
    target = hopper.copy()
    opacity = np.zeros(hopper.shape[:2], np.float32)
    opacity[200:300] = 1
    blend_into(target, to_pixels(np.full(hopper.shape, 99.7, np.float32)), opacity)
    assert (target[:200] == hopper[:200]).all()
    assert (target[200:300] == 100).all()


def test_detail_is_matched_to_the_medium(hopper: Pixels) -> None:
    core = np.full(hopper.shape[:2], 255, np.uint8)
    blurred = as_pixels(cv2.GaussianBlur(hopper, (0, 0), 1.0))

    def detail(image: Pixels) -> float:
        return float(cv2.Laplacian(as_pixels(image), cv2.CV_32F).std())

    sharpened = match_detail(as_floats(blurred), blurred, hopper, core).clip(0, 255).astype(np.uint8)
    assert detail(sharpened) > 1.2 * detail(blurred)
    softened = match_detail(as_floats(hopper), hopper, blurred, core).clip(0, 255).astype(np.uint8)
    assert detail(softened) < 0.8 * detail(hopper)


@pytest.mark.slow
def test_large_face_is_computed_reduced_when_fast(hopper: Pixels, hopper_face: Face, collins_source: Source) -> None:
    large = as_pixels(cv2.resize(hopper, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC))
    face = Face(mesh=as_floats((hopper_face.mesh + as_floats([0.5, 0.5, 0])) * 3 - as_floats([0.5, 0.5, 0])))
    small, fast, fine = hopper.copy(), large.copy(), large.copy()
    swap_face(hopper, hopper_face, collins_source, FAST, small)
    swap_face(large, face, collins_source, FAST, fast)
    swap_face(large, face, collins_source, HD, fine)
    reduced = as_pixels(cv2.resize(fast, hopper.shape[1::-1], interpolation=cv2.INTER_AREA))
    assert np.abs(reduced.astype(int) - small).mean() < 1.5  # the same face in the same place
    assert (fast != fine).any()


def test_fine_swap_is_as_sharp_as_the_medium(hopper: Pixels, hopper_face: Face, collins_source: Source) -> None:
    low, high = (hopper_face.bounds[0] + 40).astype(int), (hopper_face.bounds[1] - 40).astype(int)

    def detail(image: Pixels) -> float:
        grey = cv2.cvtColor(image[low[1] : high[1], low[0] : high[0]], cv2.COLOR_BGR2GRAY)
        return float(cv2.Laplacian(grey, cv2.CV_32F).std())

    fine, plain = hopper.copy(), hopper.copy()
    swap_face(hopper, hopper_face, collins_source, HD, fine)
    swap_face(hopper, hopper_face, collins_source, evolve(HD, is_fine=False), plain)
    assert detail(plain) < detail(fine) < 1.3 * detail(hopper)


def test_reduced_fine_swap_leaves_the_rim_to_the_medium(
    hopper: Pixels, hopper_face: Face, collins_source: Source
) -> None:
    """The medium's own pixels, reduced and enlarged again, would blur it there."""
    fine, plain = hopper.copy(), hopper.copy()
    reduced = evolve(HD, work=100)
    swap_face(hopper, hopper_face, collins_source, reduced, fine)
    swap_face(hopper, hopper_face, collins_source, evolve(reduced, is_fine=False), plain)
    beyond = (fine != hopper).any(axis=2) & ~(plain != hopper).any(axis=2)
    assert beyond.sum() < 0.02 * (plain != hopper).any(axis=2).sum()


def test_source_is_reduced_for_a_small_face(hopper_source: Source) -> None:
    image, mesh = hopper_source.reduced_to(hopper_source.face.size / 4)
    assert image.shape[0] < 0.3 * hopper_source.image.shape[0]
    assert abs(Face(mesh=mesh).size / hopper_source.face.size - 0.25) < 0.03
    assert hopper_source.reduced_to(hopper_source.face.size / 4)[0] is image
    assert hopper_source.reduced_to(1e4)[0] is hopper_source.image


def test_face_outside_the_picture_is_not_painted(hopper: Pixels, hopper_face: Face, collins_source: Source) -> None:
    out = hopper.copy()
    away = Face(mesh=hopper_face.mesh + as_floats([2000, 0, 0]))
    assert not swap_face(hopper, away, collins_source, FAST, out)
    assert (out == hopper).all()
