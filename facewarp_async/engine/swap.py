"""The swap of one face: shape, warp, light, mask, blend. Pure, and safe to call from several threads."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from attrs import field, frozen

from facewarp_async.engine.arrays import Box, Floats, Pixels, as_floats, as_pixels
from facewarp_async.engine.blend import blend_bands, blend_into, match_detail, to_pixels
from facewarp_async.engine.colour import measure_light, relight
from facewarp_async.engine.face import Face
from facewarp_async.engine.mask import Edges, Mask, keep_mouth, make_mask
from facewarp_async.engine.shape import mix_shapes
from facewarp_async.engine.skin import measure_reach
from facewarp_async.engine.warp import map_mesh

_SHAPE_SHARE = 0.35
_FOREHEAD = 0.85
_MARGIN = 0.18  # around the mesh, of its longer side
_SOURCE_MARGIN = 0.35
_SMALLEST_CROP = 8


@frozen(kw_only=True)
class Quality:
    """How much work a swap may be.

    Attributes:
        work: The largest face, its diagonal in pixels, at which the warp is computed; larger ones are enlarged again.
        interpolation: OpenCV's number.
        is_fine: Blend in bands and match the medium's sharpness.
        jpeg_quality: Of a still result, 0 to 100.
    """

    work: int
    interpolation: int
    is_fine: bool
    jpeg_quality: int


FAST = Quality(work=320, interpolation=cv2.INTER_LINEAR, is_fine=False, jpeg_quality=88)
HD = Quality(work=1400, interpolation=cv2.INTER_CUBIC, is_fine=True, jpeg_quality=95)


@frozen(kw_only=True, eq=False)
class Source:
    """A face to put in, cut out of its picture and measured once.

    Attributes:
        image: (h, w, 3) uint8.
        face: The face in pixels of that crop; its reach is known.
    """

    image: Pixels
    face: Face
    _reduced: dict[float, tuple[Pixels, Floats]] = field(factory=dict, init=False)

    @classmethod
    def of(cls, image: Pixels, face: Face) -> Source:
        """Prepare a face of a picture."""
        x0, y0, x1, y1 = _crop_box(image, face, _SOURCE_MARGIN)
        mesh = face.mesh - as_floats([x0, y0, 0])
        crop = np.ascontiguousarray(image[y0:y1, x0:x1])
        return cls(image=crop, face=Face(mesh=mesh, reach=measure_reach(image, face.mesh)))

    def reduced_to(self, size: float) -> tuple[Pixels, Floats]:
        """Image and mesh with a face not much larger than `size`, so that the warp does not alias."""
        scale = size / self.face.size
        if scale >= 0.8:
            return self.image, self.face.mesh
        scale = float(2 ** (np.floor(np.log2(scale) * 4 + 0.5) / 4))  # steps of a quarter octave can be kept
        if scale not in self._reduced:
            small = as_pixels(cv2.resize(self.image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
            factors = as_floats([small.shape[1] / self.image.shape[1], small.shape[0] / self.image.shape[0], scale])
            self._reduced[scale] = small, _scale_mesh(self.face.mesh, factors)
        return self._reduced[scale]


def _scale_mesh(mesh: Floats, factors: Floats) -> Floats:
    """Scale a mesh with its picture: pixel centres lie at whole numbers."""
    centre = as_floats([0.5, 0.5, 0])
    return as_floats((mesh + centre) * factors - centre)


def _crop_box(image: Pixels, face: Face, margin: float) -> Box:
    """Left, top, right and bottom of a face with a margin around, inside the picture."""
    low, high = face.mesh[:, :2].min(0), face.mesh[:, :2].max(0)
    extra = (high - low).max() * margin
    height, width = image.shape[:2]
    x0, y0 = np.floor(np.clip(low - extra, 0, (width, height)))
    x1, y1 = np.ceil(np.clip(high + extra, 0, (width, height)))
    return int(x0), int(y0), int(x1), int(y1)


def swap_face(base: Pixels, face: Face, source: Source, quality: Quality, out: Pixels) -> Box | None:
    """Paint a new face over one in the medium.

    Args:
        base: (h, w, 3) uint8, the medium as it was; it gives the light.
        face: The face in it to be replaced.
        source: The new face.
        quality: `FAST` or `HD`.
        out: (h, w, 3) uint8, changed in place: a copy of `base`, perhaps with other faces already painted, or `base`
            itself.

    Returns:
        The box outside of which nothing was painted; None where too little of the face lies in the picture.
    """
    x0, y0, x1, y1 = box = _crop_box(base, face, _MARGIN)
    if min(x1 - x0, y1 - y0) < _SMALLEST_CROP:
        return None
    crop, small = _reduce(base[y0:y1, x0:x1], face, box, quality.work)
    edges = Edges(left=x0 == 0, top=y0 == 0, right=x1 == base.shape[1], bottom=y1 == base.shape[0])
    is_reduced = crop.shape[:2] != (y1 - y0, x1 - x0)
    painted, opacity = _paint(crop, small, source, quality, edges, is_reduced=is_reduced)
    if is_reduced:
        # Only the face is enlarged again: what surrounds it keeps its detail.
        painted = as_pixels(cv2.resize(painted, (x1 - x0, y1 - y0), interpolation=cv2.INTER_CUBIC))
        opacity = as_floats(cv2.resize(opacity, (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR))
    blend_into(out[y0:y1, x0:x1], painted, opacity)
    return box


def _reduce(view: Pixels, face: Face, box: Box, work: int) -> tuple[Pixels, Face]:
    """Bring the crop to the size that is worked on, and the face into its pixels."""
    x0, y0, _, _ = box
    scale = min(1.0, work / face.size)
    crop = view if scale == 1 else as_pixels(cv2.resize(view, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
    factors = as_floats([crop.shape[1] / view.shape[1], crop.shape[0] / view.shape[0], scale])
    return crop, Face(mesh=_scale_mesh(face.mesh - as_floats([x0, y0, 0]), factors), reach=face.reach)


def _paint(
    crop: Pixels, face: Face, source: Source, quality: Quality, edges: Edges, *, is_reduced: bool
) -> tuple[Pixels, Floats]:
    """Make the new face for a crop of the medium, (h, w, 3) uint8, and its opacity, (h, w) float32."""
    size, shape = face.size, (crop.shape[0], crop.shape[1])
    image, source_mesh = source.reduced_to(size)
    mesh = mix_shapes(face.mesh, source_mesh, share=_SHAPE_SHARE)
    warp = map_mesh(mesh, source_mesh, shape)
    warped = warp.apply(image, quality.interpolation)
    mask = make_mask(
        mesh,
        inside=warp.inside,
        size=size,
        forehead=_forehead(crop, face, source),
        edges=edges,
        mouth=keep_mouth(face, mesh, source_gap=source.face.mouth_gap, shape=shape),
    )
    relit = relight(warped, measure_light(warped, crop, mask, size))
    if quality.is_fine:
        relit = match_detail(relit, warped, crop, (mask.depth > mask.feather).astype(np.uint8) * 255)
        # The bands mix in the medium's pixels, and a reduced crop's are too coarse for that.
        if not is_reduced:
            return _blend_fine(relit, crop, mask, inside=warp.inside)
    return to_pixels(relit), mask.opacity(0.35, 1.65)


def _forehead(crop: Pixels, face: Face, source: Source) -> float:
    """How far up to paint: neither over the medium's fringe nor with the new face's."""
    reach = measure_reach(crop, face.mesh) if face.reach is None else face.reach
    bare = 1.0 if source.face.reach is None else source.face.reach
    return float(np.clip(min(_FOREHEAD, bare, reach + 0.1), 0.1, 1))


def _blend_fine(relit: Floats, crop: Pixels, mask: Mask, *, inside: npt.NDArray[np.bool_]) -> tuple[Pixels, Floats]:
    """Blend in bands; the opacity that remains to be applied fades the widest band out before the outline."""
    under = crop.astype(np.float32)
    levels = max(2, int(np.log2(max(8.0, mask.feather * 2))))
    fill = np.where(inside[..., None], relit, under)
    return to_pixels(blend_bands(fill, under, mask.opacity(0.8, 1.2), levels)), mask.ramp(0, 0.5)
