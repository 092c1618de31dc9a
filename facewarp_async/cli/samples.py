"""The demo's photos, made of the two portraits that the engine ships. Needs the extra ``local``."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from attrs import frozen

from facewarp_async.models import ImageSwap, MultiFaceSwap

Pixels = npt.NDArray[Any]
Edges = tuple[int, int, int, int]
"""Left, upper, right and lower edge, in pixels of a portrait."""

_PORTRAITS = {"collins": "collins.png", "hopper": "hopper.jpg"}
_HEADS = {"collins": (110, 0, 350, 260), "hopper": (90, 0, 440, 400)}
_OTHER = {"collins": "hopper", "hopper": "collins"}
_SHUTTLE = (345, 20, 505, 280)
_BROKEN_BYTES = 3000


@frozen(kw_only=True)
class Photo:
    """How a photo is made of a portrait.

    Attributes:
        name: The file's name; its extension is its format.
        person: Whose portrait.
        crop: What of the portrait is on it.
        scale: How much larger it gets.
        flip: Whether left and right change places.
        turn: Degrees against the clock.
        gain: How much lighter.
        tint: Factors for blue, green and red.
        grey: Whether it loses its colours.
    """

    name: str
    person: str
    crop: Edges
    scale: float = 1.0
    flip: bool = False
    turn: float = 0.0
    gain: float = 1.0
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    grey: bool = False


_PHOTOS = [
    Photo(name="01-admiral.jpg", person="hopper", crop=(0, 0, 512, 600)),
    Photo(name="02-astronaut.png", person="collins", crop=(0, 0, 512, 512)),
    Photo(name="03-close.jpg", person="hopper", crop=(110, 10, 420, 380), scale=1.6),
    Photo(name="04-smile.jpg", person="collins", crop=(115, 0, 345, 250), scale=2.0),
    Photo(name="05-mirrored.png", person="hopper", crop=(40, 0, 500, 480), flip=True),
    Photo(name="06-mirrored.jpg", person="collins", crop=(60, 0, 400, 360), scale=1.5, flip=True),
    Photo(name="07-evening.jpg", person="hopper", crop=(60, 0, 470, 460), gain=0.6, tint=(0.8, 0.95, 1.1)),
    Photo(name="08-evening.jpg", person="collins", crop=(100, 0, 380, 330), scale=1.6, gain=0.6, tint=(0.8, 0.95, 1.1)),
    Photo(name="09-bright.jpg", person="hopper", crop=(90, 0, 440, 420), gain=1.15),
    Photo(name="10-bright.png", person="collins", crop=(90, 0, 370, 300), scale=1.5, gain=1.1),
    Photo(name="11-grey.jpg", person="hopper", crop=(20, 0, 490, 560), grey=True),
    Photo(name="12-grey.png", person="collins", crop=(20, 0, 420, 450), scale=1.3, grey=True),
    Photo(name="13-tilted.jpg", person="hopper", crop=(0, 0, 512, 600), turn=12),
    Photo(name="14-tilted.jpg", person="collins", crop=(0, 0, 512, 512), scale=1.5, turn=-10),
    Photo(name="15-small.jpg", person="hopper", crop=(60, 0, 460, 480), scale=0.5),
    Photo(name="16-large.jpg", person="collins", crop=(70, 0, 390, 400), scale=3.0),
    Photo(name="17-warm.jpg", person="hopper", crop=(70, 0, 460, 450), flip=True, tint=(0.78, 0.97, 1.06)),
]
_GROUP, _NO_FACE, _BROKEN = "18-both.jpg", "19-no-face.jpg", "20-broken.jpg"


@frozen(kw_only=True)
class SampleSwap:
    """A photo and what to do with it.

    Attributes:
        photo: The file.
        faces: The faces to put in, from left to right.
        must_fail: Whether it is there to show what a failure looks like.
    """

    photo: Path
    faces: tuple[Path, ...]
    must_fail: bool = False

    @property
    def job(self) -> ImageSwap | MultiFaceSwap:
        """The job, whose result is called like the photo."""
        if len(self.faces) == 1:
            return ImageSwap(self.photo, self.faces[0], hd=True, name=self.photo.stem)
        return MultiFaceSwap(media=self.photo, faces=dict(enumerate(self.faces)), hd=True, name=self.photo.stem)


@frozen
class Samples:
    """The demo's swaps, in order."""

    swaps: tuple[SampleSwap, ...]


def make_samples(folder: Path) -> Samples:
    """Write the faces into a folder, which is made if need be, and the photos below it.

    What an earlier demo wrote there is replaced.

    Raises:
        OSError: They cannot be written.
    """
    photos = folder / "photos"
    photos.mkdir(parents=True, exist_ok=True)
    portraits = {person: _portrait(name) for person, name in _PORTRAITS.items()}
    faces = {person: folder / f"face-{person}.png" for person in portraits}
    for person, path in faces.items():
        _write(path, _cut(portraits[person], _HEADS[person]))
    swaps = []
    for photo in _PHOTOS:
        _write(photos / photo.name, _picture(photo, portraits[photo.person]))
        swaps.append(SampleSwap(photo=photos / photo.name, faces=(faces[_OTHER[photo.person]],)))
    _write(photos / _GROUP, _group(portraits["collins"], portraits["hopper"]))
    # Each of the two gets the other's.
    swaps.append(SampleSwap(photo=photos / _GROUP, faces=(faces["hopper"], faces["collins"])))
    _write(photos / _NO_FACE, _cut(portraits["collins"], _SHUTTLE))
    whole = (photos / _PHOTOS[0].name).read_bytes()
    (photos / _BROKEN).write_bytes(whole[:_BROKEN_BYTES])
    swaps += [
        SampleSwap(photo=photos / name, faces=(faces["collins"],), must_fail=True) for name in (_NO_FACE, _BROKEN)
    ]
    return Samples(tuple(swaps))


def _portrait(name: str) -> Pixels:
    data = (files("facewarp_async.engine") / "data" / "portraits" / name).read_bytes()
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return image


def _cut(image: Pixels, edges: Edges) -> Pixels:
    left, upper, right, lower = edges
    return image[upper:lower, left:right]


def _picture(photo: Photo, portrait: Pixels) -> Pixels:
    height, width = portrait.shape[:2]
    if photo.turn:
        turned = cv2.getRotationMatrix2D((width / 2, height / 2.5), photo.turn, 1.0)
        portrait = cv2.warpAffine(portrait, turned, (width, height), borderMode=cv2.BORDER_REFLECT)
    image = _cut(portrait, photo.crop)
    if photo.scale != 1:
        way = cv2.INTER_CUBIC if photo.scale > 1 else cv2.INTER_AREA
        image = cv2.resize(image, None, fx=photo.scale, fy=photo.scale, interpolation=way)
    if photo.flip:
        image = image[:, ::-1]
    if photo.grey:
        image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    light = np.array(photo.tint) * photo.gain
    return np.clip(image * light, 0, 255).astype(np.uint8)


def _group(collins: Pixels, hopper: Pixels) -> Pixels:
    """Put the two side by side, at about the same size of their heads."""
    halves = [_cut(collins, (125, 0, 325, 270)), _cut(hopper, (110, 0, 430, 432))]
    return np.hstack([cv2.resize(half, (480, 648), interpolation=cv2.INTER_CUBIC) for half in halves])


def _write(path: Path, image: Pixels) -> None:
    quality = [cv2.IMWRITE_JPEG_QUALITY, 92] if path.suffix == ".jpg" else []
    path.write_bytes(cv2.imencode(path.suffix, np.ascontiguousarray(image), quality)[1].tobytes())
