"""Golden pictures: what swaps of the two portraits looked like when somebody last looked at them.

    python tests/engine/golden.py

renders them anew into `tests/engine/golden/` and prints how far each is from the one before. Look at them before you
commit them: the tests only say that something has changed. They compare by structure and colour, not by bytes, because
decoders, encoders and networks round differently from version to version.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from attrs import frozen

from facewarp_async import engine
from facewarp_async.engine.arrays import Floats, Pixels, as_floats, as_pixels
from facewarp_async.engine.clips import open_clip, read_frames

FOLDER = Path(__file__).with_name("golden")
PORTRAITS = Path(engine.__file__).parent / "data" / "portraits"
COLLINS, HOPPER = PORTRAITS / "collins.png", PORTRAITS / "hopper.jpg"
# Left, top, right and bottom of the faces in the portraits.
BOXES = {COLLINS: (150, 40, 300, 205), HOPPER: (145, 100, 380, 360)}
CLIP_BOX = (30, 30, 180, 200)
ENCODING = (cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)

# Another OpenCV (4.11 for 5.0) and FFmpeg give .993 and 1.3 at worst; the larger face swapped fast for the fine one's
# picture .983 and 1.4; the untouched portraits .87 and 3.3 at best.
LEAST_STRUCTURE = 0.99
MOST_COLOUR = 2.0


@frozen(kw_only=True)
class Distance:
    """How far a picture is from its golden one.

    Attributes:
        structure: The mean structural similarity of their lightness, 1 for equal pictures.
        colour: Their mean distance in LAB; about 2 can just be seen.
    """

    structure: float
    colour: float

    @property
    def is_small(self) -> bool:
        """Whether they show the same."""
        return self.structure >= LEAST_STRUCTURE and self.colour <= MOST_COLOUR


def read(path: Path) -> Pixels:
    """Decode a picture."""
    image = cv2.imread(str(path))
    assert image is not None, path
    return as_pixels(image)


def cut(image: Pixels, box: tuple[int, int, int, int]) -> Pixels:
    """Cut a box out of a picture."""
    left, top, right, bottom = box
    return np.ascontiguousarray(image[top:bottom, left:right])


def portrait(base: Path, face: Path, *, hd: bool) -> Pixels:
    """A portrait with the face of the other one, cut to the face."""
    with tempfile.TemporaryDirectory() as folder:
        result = engine.swap_image(base, face, Path(folder) / "r", hd=hd)
        return cut(read(result.path), BOXES[base])


def clip_frame(number: int) -> Pixels:
    """The untouched frame of a clip in which a portrait moves by; whole pixels, which every OpenCV gives alike."""
    still = cv2.resize(read(HOPPER), (320, 376), interpolation=cv2.INTER_AREA)
    return cut(as_pixels(still), (20 + 4 * number, 20 + 2 * number, 260 + 4 * number, 320 + 2 * number))


def last_of_clip() -> Pixels:
    """The last frame of that clip with the other face, cut to the face."""
    with tempfile.TemporaryDirectory() as name:
        medium = Path(name) / "clip.mp4"
        with av.open(str(medium), "w") as container:
            video = container.add_stream("libx264", rate=25, options={"crf": "12"})
            video.height, video.width = clip_frame(0).shape[:2]
            video.pix_fmt = "yuv420p"
            for number in range(6):
                frame = av.VideoFrame.from_ndarray(clip_frame(number), format="bgr24")
                frame.pts, frame.time_base = number, Fraction(1, 25)
                container.mux(video.encode(frame))
            container.mux(video.encode())
        result = engine.swap_video(medium, COLLINS, Path(name) / "r", hd=True)
        with open_clip(result.path) as clip:  # FFmpeg's conversion to RGB differs from version to version
            *_, last = (frame.planes().to_picture() for frame in read_frames(clip))
        return cut(last, CLIP_BOX)


SCENES: dict[str, Callable[[], Pixels]] = {
    "collins-gets-hopper-fast": lambda: portrait(COLLINS, HOPPER, hd=False),
    "collins-gets-hopper-hd": lambda: portrait(COLLINS, HOPPER, hd=True),
    "hopper-gets-collins-fast": lambda: portrait(HOPPER, COLLINS, hd=False),
    "hopper-gets-collins-hd": lambda: portrait(HOPPER, COLLINS, hd=True),
    "clip-hopper-gets-collins-hd": last_of_clip,
}
"""The pictures by name; each is rendered by the engine's own functions, from file to file."""

UNTOUCHED: dict[str, Callable[[], Pixels]] = {
    "collins": lambda: cut(read(COLLINS), BOXES[COLLINS]),
    "hopper": lambda: cut(read(HOPPER), BOXES[HOPPER]),
    "clip": lambda: cut(clip_frame(5), CLIP_BOX),
}
"""What the pictures would be without a swap, by the first word of their names."""


def golden(name: str) -> Pixels:
    """Read a golden picture."""
    return read(FOLDER / f"{name}.jpg")


def compare(one: Pixels, other: Pixels) -> Distance:
    """Measure the distance of two pictures; the second is brought to the size of the first."""
    if one.shape != other.shape:
        other = as_pixels(cv2.resize(other, one.shape[1::-1], interpolation=cv2.INTER_AREA))
    a, b = (_lab(image) for image in (one, other))
    return Distance(
        structure=_similarity(as_floats(a[..., 0]), as_floats(b[..., 0])),
        colour=float(np.linalg.norm(a - b, axis=2).mean()),
    )


def _lab(image: Pixels) -> Floats:
    """A picture in LAB without the finest noise, which is the encoder's."""
    calm = cv2.GaussianBlur(image, (0, 0), 0.7)
    return as_floats(cv2.cvtColor(as_floats(calm) / 255, cv2.COLOR_BGR2LAB))


def _similarity(a: Floats, b: Floats) -> float:
    """The mean of SSIM (Wang et al. 2004) of two planes from 0 to 100."""

    def mean(plane: Floats) -> Floats:
        return as_floats(cv2.GaussianBlur(plane, (11, 11), 1.5))

    mean_a, mean_b = mean(a), mean(b)
    spread_a, spread_b = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2
    common = mean(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * 100) ** 2, (0.03 * 100) ** 2
    above = (2 * mean_a * mean_b + c1) * (2 * common + c2)
    return float((above / ((mean_a**2 + mean_b**2 + c1) * (spread_a + spread_b + c2))).mean())


def main() -> int:
    """Render all of them."""
    engine.warm_up()
    FOLDER.mkdir(exist_ok=True)
    for name, render in SCENES.items():
        image, path = render(), FOLDER / f"{name}.jpg"
        before = compare(golden(name), image) if path.exists() else None
        path.write_bytes(cv2.imencode(".jpg", image, ENCODING)[1].tobytes())
        told = "new" if before is None else f"structure {before.structure:.3f}, colour {before.colour:.2f}"
        print(f"{name:30} {path.stat().st_size / 1000:5.1f} kB  {told}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
