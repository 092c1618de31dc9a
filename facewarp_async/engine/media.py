"""Reading pictures: from a file to upright 8-bit colour and alpha."""

from __future__ import annotations

import io
from pathlib import Path

import av
import cv2
import numpy as np
from attrs import field, frozen

from facewarp_async.engine.arrays import Pixels, as_floats, as_pixels
from facewarp_async.engine.errors import TOO_LARGE, UNREADABLE_FILE, UNSUPPORTED_FORMAT, EngineError
from facewarp_async.engine.files import read_file
from facewarp_async.engine.formats import Header, Kind, gif, jpeg, png, sniff, webp
from facewarp_async.engine.formats.kinds import SNIFF_BYTES

MAX_PICTURE_PIXELS = 50_000_000

_PARSERS = {
    Kind.JPEG: jpeg.parse_header,
    Kind.PNG: png.parse_header,
    Kind.WEBP: webp.parse_header,
    Kind.GIF: gif.parse_header,
}


@frozen(kw_only=True)
class Picture:
    """A decoded picture, upright.

    Attributes:
        colour: (h, w, 3) uint8; what transparent pixels hold is kept as the file had it.
        alpha: (h, w) uint8, or None where every pixel is opaque.
        is_jpeg: The file was a JPEG, and so is what is made of it.
        profile: The ICC profile that the colours are meant in, or None.
    """

    colour: Pixels = field(eq=False)
    alpha: Pixels | None = field(default=None, eq=False)
    is_jpeg: bool = False
    profile: bytes | None = None

    def flattened(self) -> Pixels:
        """What one sees of the picture on mid-grey ground, (h, w, 3) uint8; faces are looked for in this."""
        if self.alpha is None:
            return self.colour
        share = as_floats(self.alpha)[..., None] / 255
        return (self.colour * share + 128 * (1 - share) + 0.5).astype(np.uint8)


def sniff_file(path: Path) -> Kind | None:
    """Name a file's kind by its first bytes; None where it is not supported or cannot be opened."""
    try:
        with path.open("rb") as file:
            return sniff(file.read(SNIFF_BYTES))
    except OSError:
        return None


def read_picture(path: Path) -> Picture:
    """Read JPEG, PNG, WEBP or GIF; of an animation its first picture.

    Any depth, palette, grey and CMYK become 8-bit colour; the EXIF orientation is applied.

    Raises:
        EngineError: 701 empty, cut short or damaged; 703 another format; 704 over 500 MB or over the pixel limit, which
            is read from the header before anything is decoded.
    """
    data = read_file(path)
    kind, header = check_picture(data)
    return _picture(_decode(data, kind), kind=kind, header=header)


def check_picture(data: bytes) -> tuple[Kind, Header]:
    """Say what a picture claims to be, of which nothing was decoded yet.

    Raises:
        EngineError: As `read_picture`.
    """
    kind = sniff(data[:SNIFF_BYTES])
    parse = None if kind is None else _PARSERS.get(kind)
    if kind is None or parse is None:
        raise EngineError(UNSUPPORTED_FORMAT, "not a picture in JPG, PNG, WEBP or GIF")
    header = parse(data)
    if header.width * header.height > MAX_PICTURE_PIXELS:
        millions = MAX_PICTURE_PIXELS // 1_000_000
        raise EngineError(TOO_LARGE, f"{header.width}x{header.height} pixels, more than {millions} million")
    return kind, header


def _decode(data: bytes, kind: Kind) -> Pixels:
    """Decode to (h, w), (h, w, 3) or (h, w, 4) uint8, not yet turned upright."""
    try:
        if kind is Kind.GIF:
            return _decode_gif(data)
        if kind is Kind.WEBP:
            first = next(webp.parse_frames(data), None)
            if first is not None:
                return compose_frame(None, first, decode_still(first.still), webp.parse_header(data))
        return decode_still(data)
    except (cv2.error, av.FFmpegError, MemoryError, ValueError) as error:
        raise EngineError(UNREADABLE_FILE, f"the {kind.value} file is damaged") from error


def decode_still(data: bytes) -> Pixels:
    """Decode one JPEG, PNG or still WEBP file to (h, w), (h, w, 3) or (h, w, 4) uint8.

    Raises:
        EngineError: 701 damaged.
    """
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None or not image.size:
        raise EngineError(UNREADABLE_FILE, "the picture is damaged")
    if image.dtype == np.uint16:
        return (np.asarray(image, np.uint16) >> 8).astype(np.uint8)
    return as_pixels(image)


def _decode_gif(data: bytes) -> Pixels:
    """Decode the first picture of a GIF to (h, w, 4) uint8."""
    # The demuxer is named so that nothing else gets to interpret the bytes.
    with av.open(io.BytesIO(data), "r", format="gif") as container:
        for frame in container.decode(video=0):
            return as_pixels(frame.to_ndarray(format="bgra"))
    raise EngineError(UNREADABLE_FILE, "the GIF file holds no picture")


def compose_frame(canvas: Pixels | None, frame: webp.Frame, still: Pixels, header: Header) -> Pixels:
    """Lay one picture of an animated WEBP over a copy of the canvas; None is the transparent canvas before the first.

    Returns:
        (h, w, 4) uint8.

    Raises:
        EngineError: 701 where the picture is not of the size its frame states, or leaves the canvas.
    """
    shape = (header.height, header.width, 4)
    result = np.zeros(shape, np.uint8) if canvas is None else canvas.copy()
    area = result[frame.top : frame.top + frame.height, frame.left : frame.left + frame.width]
    if still.ndim != 3 or still.shape[:2] != (frame.height, frame.width) or area.shape[:2] != still.shape[:2]:
        raise EngineError(UNREADABLE_FILE, "the WEBP animation is damaged")
    if still.shape[2] == 3:
        area[..., :3], area[..., 3] = still, 255
    elif frame.blends and canvas is not None:
        over, under = as_floats(still[..., 3:]) / 255, as_floats(area[..., 3:]) / 255
        total = over + under * (1 - over)
        colour = still[..., :3] * over + area[..., :3] * under * (1 - over)
        area[..., :3] = (colour / np.maximum(total, 1e-6) + 0.5).astype(np.uint8)
        area[..., 3:] = (255 * total + 0.5).astype(np.uint8)
    else:
        area[:] = still
    return result


def _picture(image: Pixels, *, kind: Kind, header: Header) -> Picture:
    """Turn decoded pixels upright and take colour and alpha apart."""
    alpha: Pixels | None = None
    profile = header.profile
    if image.ndim == 2:
        image = as_pixels(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR))
    elif image.shape[2] == 4:
        alpha = None if (image[..., 3] == 255).all() else _upright(image[..., 3], header.orientation)
        image = image[..., :3]
    if profile is not None and profile[16:20] != b"RGB ":
        profile = None  # it describes grey or CMYK, which the decoder has already turned into RGB
    return Picture(colour=_upright(image, header.orientation), alpha=alpha, is_jpeg=kind is Kind.JPEG, profile=profile)


def _upright(image: Pixels, orientation: int) -> Pixels:
    """Undo EXIF's orientation: 2 to 4 flip, 5 to 8 turn as well."""
    if orientation >= 5:
        image = image.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return np.ascontiguousarray(image)
