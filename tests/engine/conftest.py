"""Pictures, files and measures that the engine's tests share."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest
from attrs import frozen

from facewarp_async import engine
from facewarp_async.engine.arrays import Floats, Pixels, as_floats, as_pixels
from facewarp_async.engine.face import Face
from facewarp_async.engine.finder import local_finder
from facewarp_async.engine.mask import trace_outline
from facewarp_async.engine.swap import Source
from facewarp_async.engine.topology import MEAN, OVAL
from facewarp_async.engine.warp import map_mesh
from tests.engine.decoded import decode_picture
from tests.engine.units import eye_distance

PORTRAITS = Path(engine.__file__).parent / "data" / "portraits"

Save = Callable[[str, bytes], Path]
SavePicture = Callable[..., Path]


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    cv2.setNumThreads(1)


@pytest.fixture(scope="session")
def collins_path() -> Path:
    return PORTRAITS / "collins.png"


@pytest.fixture(scope="session")
def hopper_path() -> Path:
    return PORTRAITS / "hopper.jpg"


@pytest.fixture(scope="session")
def collins(collins_path: Path) -> Pixels:
    return _locked(decode_picture(collins_path))


@pytest.fixture(scope="session")
def hopper(hopper_path: Path) -> Pixels:
    return _locked(decode_picture(hopper_path))


def _locked(image: Pixels) -> Pixels:
    """Nobody may paint into what other tests read."""
    image.flags.writeable = False
    return image


def _only_face(image: Pixels) -> Face:
    (face,) = local_finder().find(image)
    return face


@pytest.fixture(scope="session")
def collins_face(collins: Pixels) -> Face:
    return _only_face(collins)


@pytest.fixture(scope="session")
def hopper_face(hopper: Pixels) -> Face:
    return _only_face(hopper)


@pytest.fixture(scope="session")
def collins_source(collins: Pixels, collins_face: Face) -> Source:
    return Source.of(collins, collins_face)


@pytest.fixture(scope="session")
def hopper_source(hopper: Pixels, hopper_face: Face) -> Source:
    return Source.of(hopper, hopper_face)


@pytest.fixture(scope="session")
def group(collins: Pixels, hopper: Pixels) -> Pixels:
    """Four people side by side, 1200x480: both portraits, each once as it is and once mirrored and reduced."""
    canvas = np.full((480, 1200, 3), (150, 140, 130), np.uint8)
    head_c, head_h = collins[10:250, 110:330], hopper[60:420, 70:410]
    for left, top, scale, image in (
        (20, 60, 1.4, head_c),
        (340, 100, 0.9, head_h),
        (660, 120, 1.0, head_c[:, ::-1]),
        (900, 140, 0.7, head_h[:, ::-1]),
    ):
        scaled = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        canvas[top : top + scaled.shape[0], left : left + scaled.shape[1]] = scaled
    return _locked(canvas)


@pytest.fixture(scope="session")
def pair_frames(collins: Pixels, hopper: Pixels) -> list[Pixels]:
    """Two people who slowly change their places along a wall."""
    heads = [cv2.resize(image, (200, 240), interpolation=cv2.INTER_AREA) for image in (hopper, collins)]
    frames = []
    for number in range(16):
        frame = np.full((300, 640, 3), (150, 140, 130), np.uint8)
        for left, head in zip((20 + 3 * number, 400 - 3 * number), heads, strict=True):
            frame[30:270, left : left + 200] = head
        frames.append(_locked(frame))
    return frames


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Write bytes under a name and give the path."""

    def write(name: str, data: bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return write


@pytest.fixture
def save_picture(tmp_path: Path) -> SavePicture:
    """Encode a picture under a name, in the format of its suffix, and give the path."""

    def write(name: str, image: npt.NDArray[np.integer[Any]], *parameters: int) -> Path:
        path = tmp_path / name
        path.write_bytes(cv2.imencode(path.suffix, image, list(parameters))[1].tobytes())
        return path

    return write


@pytest.fixture
def group_path(save_picture: SavePicture, group: Pixels) -> Path:
    return save_picture("group.png", group)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder for results, so that a test can say what was left in it."""
    path = tmp_path / "results"
    path.mkdir()
    return path


def png_chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


@pytest.fixture(scope="session")
def make_png() -> Callable[..., bytes]:
    """Build a PNG file that OpenCV's encoder cannot: any depth and colour type, with further chunks."""

    def build(rows: list[bytes], *, width: int, depth: int, colour_type: int, extra: bytes = b"") -> bytes:
        header = struct.pack(">IIBBBBB", width, len(rows), depth, colour_type, 0, 0, 0)
        data = zlib.compress(b"".join(b"\x00" + row for row in rows), 1)
        return b"".join(
            [
                b"\x89PNG\r\n\x1a\n",
                png_chunk(b"IHDR", header),
                extra,
                png_chunk(b"IDAT", data),
                png_chunk(b"IEND", b""),
            ]
        )

    return build


def _grey(image: Pixels) -> Floats:
    return as_floats(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))


@frozen
class Measures:
    """What a swap is measured by; each bound in the tests stands beside a control that exceeds it."""

    def unwrap(self, image: Pixels, face: Face, size: int = 128) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """The face's structure without its light, in the mean layout: independent of pose, size and expression."""
        layout = (MEAN - as_floats([*MEAN[:, :2].min(0), 0])) * size * as_floats([0.98, 0.98, 1])
        high = int(layout[:, 1].max()) + 2
        warp = map_mesh(as_floats(layout), face.mesh, (high, size))
        scale = face.width / size
        smooth = as_pixels(cv2.GaussianBlur(image, (0, 0), max(0.1, 0.5 * scale)))
        texture = np.log(_grey(warp.apply(smooth, cv2.INTER_LINEAR)) + 8)
        inner = np.zeros((high, size), np.uint8)
        outline = (trace_outline(as_floats(layout), 0.35) - layout[1, :2]) * 0.82 + layout[1, :2]
        cv2.fillPoly(inner, [np.round(outline).astype(np.int32)], (255,))
        return as_floats(texture - cv2.GaussianBlur(texture, (0, 0), 10)), (inner > 0) & warp.inside

    def likeness(self, one: Pixels, one_face: Face, other: Pixels, other_face: Face) -> float:
        """Correlation of the structure of two faces, 1 for the same picture."""
        (a, mask_a), (b, mask_b) = self.unwrap(one, one_face), self.unwrap(other, other_face)
        return float(np.corrcoef(a[mask_a & mask_b], b[mask_a & mask_b])[0, 1])

    def outline_error(self, result: Face, base: Face) -> float:
        """Mean distance of the oval's points, in distances of the eyes."""
        distance = np.linalg.norm(result.mesh[OVAL, :2] - base.mesh[OVAL, :2], axis=1)
        return float(distance.mean() / eye_distance(base))

    def seam(self, image: Pixels, face: Face) -> float:
        """Mean step in LAB between a ring just inside the outline and one just outside, over 24 directions."""
        points = trace_outline(face.mesh, 0.85)
        middle = points.mean(0)
        lab = as_floats(cv2.cvtColor(as_floats(image) / 255, cv2.COLOR_BGR2LAB))

        def disc(factor: float) -> npt.NDArray[np.bool_]:
            filled = np.zeros(image.shape[:2], np.uint8)
            cv2.fillPoly(filled, [np.round((points - middle) * factor + middle).astype(np.int32)], (255,))
            return filled > 0

        inner, outer = disc(0.90) & ~disc(0.82), disc(1.06) & ~disc(1.0)
        rows, columns = np.mgrid[0 : image.shape[0], 0 : image.shape[1]]
        sector = ((np.arctan2(columns - middle[0], rows - middle[1]) + np.pi) / (2 * np.pi) * 24).astype(int)
        steps = [
            np.linalg.norm(
                np.median(lab[inner & (sector == n)], axis=0) - np.median(lab[outer & (sector == n)], axis=0)
            )
            for n in range(24)
            if (inner & (sector == n)).sum() > 3 and (outer & (sector == n)).sum() > 3
        ]
        return float(np.mean(steps))

    def changed_share(self, result: Pixels, original: Pixels, face: Face) -> float:
        """How much of the middle of a face differs clearly."""
        low, high = face.bounds
        margin = (high - low) * 0.2
        (x0, y0), (x1, y1) = (low + margin).astype(int), (high - margin).astype(int)
        difference = np.abs(result[y0:y1, x0:x1].astype(int) - original[y0:y1, x0:x1]).max(axis=2)
        return float((difference > 24).mean())


@pytest.fixture(scope="session")
def measures() -> Measures:
    return Measures()


def sway(image: Pixels, size: tuple[int, int], share: float) -> Floats:
    """The affine map, (2, 3), that shows a still at a moment of a slow pan, zoom and turn; `share` runs from 0 to 1."""
    high, wide = image.shape[:2]
    angle = 2 * np.pi * share
    scale = size[1] / high * (1 + 0.15 * np.sin(angle))
    matrix = as_floats(cv2.getRotationMatrix2D((wide / 2, high / 2), 6 * np.sin(2 * angle), scale))
    matrix[:, 2] += as_floats([size[0] / 2 - wide / 2 + 0.08 * size[0] * np.sin(angle), size[1] / 2 - high / 2])
    return matrix


@pytest.fixture(scope="session")
def sway_map() -> Callable[[Pixels, tuple[int, int], float], Floats]:
    return sway


@pytest.fixture(scope="session")
def moving() -> Callable[..., list[Pixels]]:
    """Give the frames of a clip that pans, zooms and turns a still."""

    def build(image: Pixels, *, frames: int, size: tuple[int, int] = (320, 240), noise: float = 0.0) -> list[Pixels]:
        rng = np.random.default_rng(5)
        result = []
        for number in range(frames):
            matrix = sway(image, size, number / max(1, frames))
            view = cv2.warpAffine(image, matrix, size, flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)
            if noise:
                view = np.clip(view + rng.normal(0, noise, view.shape), 0, 255).astype(np.uint8)
            result.append(as_pixels(view))
        return result

    return build


@pytest.fixture
def frames(moving: Callable[..., list[Pixels]], collins: Pixels) -> list[Pixels]:
    """The frames of a small clip."""
    return moving(collins, frames=10, size=(96, 64))


@pytest.fixture
def make_clip(tmp_path: Path) -> Callable[..., Path]:
    """Encode frames to a file: codec, pixel format, times, sound and rotation can be chosen."""

    def build(
        name: str,
        frames: list[Pixels],
        *,
        codec: str = "libx264",
        pix_fmt: str = "yuv420p",
        unit: Fraction = Fraction(1, 25),
        times: list[int] | None = None,
        sound: str | None = None,
        options: dict[str, str] | None = None,
        rotation: int = 0,
        container_format: str | None = None,
    ) -> Path:
        path = tmp_path / name
        rate = 25 if times else Fraction(1 / unit)
        preset = {"preset": "ultrafast", "crf": "16"} if codec == "libx264" else {}
        with av.open(str(path), "w", format=container_format) as container:
            video = container.add_stream(codec, rate=rate, options={**preset, **(options or {})})
            assert isinstance(video, av.VideoStream)
            video.height, video.width = frames[0].shape[:2]
            video.pix_fmt = pix_fmt
            video.codec_context.time_base = video.time_base = unit
            audio = None if sound is None else container.add_stream(sound, rate=48000)
            for number, frame in enumerate(frames):
                image = av.VideoFrame.from_ndarray(frame, format="bgr24")
                image.pts, image.time_base = (times or range(len(frames)))[number], unit
                container.mux(video.encode(image))
            container.mux(video.encode())
            if audio is not None:
                assert isinstance(audio, av.AudioStream)
                for tone in _tone(float(unit) * ((times or range(len(frames)))[-1] + 1)):
                    container.mux(audio.encode(tone))
                container.mux(audio.encode())
        if rotation:
            _set_rotation(path, rotation)
        return path

    return build


def _tone(seconds: float) -> list[av.AudioFrame]:
    step = 1920
    frames = []
    for number in range(int(seconds * 48000) // step):
        wave = np.sin(np.arange(number * step, (number + 1) * step) * 2 * np.pi * 440 / 48000) * 9000
        frame = av.AudioFrame.from_ndarray(wave.astype(np.int16)[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48000, number * step, Fraction(1, 48000)
        frames.append(frame)
    return frames


def _set_rotation(path: Path, degrees: int) -> None:
    """Write a display matrix into the header of the first track, clockwise."""
    data = bytearray(path.read_bytes())
    one = 1 << 16
    cos, sin = {90: (0, one), 180: (-one, 0), 270: (0, -one)}[degrees]
    struct.pack_into(">9i", data, data.index(b"tkhd") + 44, cos, sin, 0, -sin, cos, 0, 0, 0, 1 << 30)
    path.write_bytes(bytes(data))
