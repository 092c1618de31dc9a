"""Giving the new face the light of the medium: a gain for each channel that varies slowly over the face."""

from __future__ import annotations

import cv2
import numpy as np
from attrs import frozen

from facewarp_async.engine.arrays import Floats, Pixels, as_floats
from facewarp_async.engine.mask import Mask

LUMA = np.array([0.114, 0.587, 0.299], np.float32)
"""The shares of blue, green and red in brightness."""

_FIELD_SIZE = 96.0  # the gain has no fine detail: it is computed on a face of this size
_LIGHT_SIGMA = 0.11  # of the face
_SHADING = 0.85  # how much of the medium's low-frequency light is taken over
_CAST = 0.5  # and how much of that light's change of colour across the face
_CEILING = 1.28  # over the lit skin: hard specular spots of the new face do not come along
_GAIN_RANGE = (0.3, 3.0)
_FEW_PIXELS = 30
_LEAST_CHROMA = 0.4
_MONOCHROME = 0.01  # variety of colour, against a brightness of 1
_NO_CEILING = 400.0
_KNEE = 235.0


@frozen(kw_only=True, eq=False)
class Light:
    """What takes the new face's pixels to the medium's light.

    Attributes:
        gain: (h, w, 3) float32, the factors.
        ceiling: (h, w) float32, a brightness that skin does not much exceed.
        luma: The brightness of the new face's skin before the gain.
        tone: (3,) float32, the colour of the medium's skin at a brightness of 1.
        chroma: The share of the new face's blotches, reflections and tints that is kept, so that its skin is not more
            varied in colour than the medium's.
    """

    gain: Floats
    ceiling: Floats
    luma: float
    tone: Floats
    chroma: float


def measure_light(warped: Pixels, base: Pixels, mask: Mask, size: float) -> Light | None:
    """Compare the skin of the bent new face with the medium's under it.

    Returns:
        None where too few pixels are seen to tell.
    """
    scale = min(1.0, _FIELD_SIZE / size)
    sigma = _LIGHT_SIGMA * size * scale
    new, old, hard, skin = (_reduced(image, scale) for image in (warped, base, mask.hard, mask.skin))
    hard, skin = as_floats(hard / 255), as_floats(skin / 255)
    chosen = next((area for area in (skin > 0.8, hard > 0.8) if area.sum() >= _FEW_PIXELS), None)
    if chosen is None:
        return None
    new_tone, old_tone = as_floats(np.median(new[chosen], axis=0)) + 1, as_floats(np.median(old[chosen], axis=0)) + 1
    weight = hard * np.clip(skin + 0.05, 0, 1) * _plain_skin(new, new_tone) * _plain_skin(old, old_tone)
    gain = _local_gain(new, old, (new_tone, old_tone), as_floats(weight + 1e-4)[..., None], sigma)
    ceiling = np.minimum(_lit_skin(new, skin, sigma) * gain @ LUMA * _CEILING, _brightest(old[chosen]))
    tone = as_floats(old_tone / (old_tone @ LUMA))
    return Light(
        gain=_enlarged(gain, mask.hard),
        ceiling=_enlarged(as_floats(np.where(skin > 0.3, ceiling, _NO_CEILING)), mask.hard),
        luma=float(new_tone @ LUMA),
        tone=tone,
        chroma=_kept_chroma(as_floats(new * gain)[chosen], old[chosen], tone),
    )


def _reduced(image: Pixels, scale: float) -> Floats:
    high, wide = image.shape[:2]
    size = (max(8, round(wide * scale)), max(8, round(high * scale)))
    return as_floats(cv2.resize(image, size, interpolation=cv2.INTER_AREA))


def _enlarged(field: Floats, like: Pixels) -> Floats:
    return as_floats(cv2.resize(field, like.shape[1::-1], interpolation=cv2.INTER_LINEAR))


def _kept_chroma(new: Floats, old: Floats, tone: Floats) -> float:
    """Say how much of the new skin's differences in colour fits the medium's, pixels of both being (n, 3)."""
    own = _variety(old, tone)
    # A grey or tinted picture stays one; in any other, lips and cheeks keep some of their own colour.
    least = 0.0 if own < _MONOCHROME else _LEAST_CHROMA
    return float(np.clip(own / (_variety(new, tone) + 1e-3), least, 1))


def _brightest(skin: Floats) -> float:
    """The brightness that the medium's skin hardly exceeds."""
    return float(np.percentile(skin @ LUMA, 99) * 1.08)


def _variety(skin: Floats, tone: Floats) -> float:
    """How much the colour of skin pixels, (n, 3), varies about a tone."""
    brightness = np.maximum(skin @ LUMA, 8)
    return float(np.abs(skin / brightness[:, None] - tone).mean())


def _plain_skin(image: Floats, tone: Floats) -> Floats:
    """Weigh hair, beard, glasses and specular spots down, so that they do not steer the light."""
    ratio = np.log((image @ LUMA + 4) / (tone @ LUMA + 4))
    return as_floats(np.exp(-((ratio / 0.55) ** 2)))


def _blur(image: Floats, sigma: float) -> Floats:
    return as_floats(cv2.GaussianBlur(image, (0, 0), sigma))


def _local_gain(new: Floats, old: Floats, tones: tuple[Floats, Floats], weight: Floats, sigma: float) -> Floats:
    """The factor from skin to skin, varied by the light where skin is seen."""
    new_tone, old_tone = tones
    overall = old_tone / new_tone
    trust = 0.02  # in the overall factor, where little skin is seen
    quotient = (_blur(old * weight, sigma) + trust * old_tone) / (_blur(new * weight, sigma) + trust * new_tone)
    local = np.log(np.maximum(quotient, 1e-3) / overall)
    grey = local.mean(2, keepdims=True)
    gain = overall * np.exp(_SHADING * (grey + _CAST * (local - grey)))
    return as_floats(np.clip(gain, *_GAIN_RANGE))


def _lit_skin(new: Floats, skin: Floats, sigma: float) -> Floats:
    """The new face's own skin, smoothed, (h, w, 3)."""
    return as_floats(_blur(new * skin[..., None], sigma) / (_blur(skin, sigma)[..., None] + 1e-3))


def relight(warped: Pixels, light: Light | None) -> Floats:
    """Apply the light; highlights such as teeth and the whites of eyes take only a third of it, and no colour.

    Returns:
        (h, w, 3) float32, at most slightly over 255.
    """
    image = warped.astype(np.float32)
    if light is None:
        return image
    level = np.arange(256, dtype=np.float32)
    bright = np.clip((level / max(light.luma, 1) - 1.15) / 0.7, 0, 1)
    share = 1 - 0.6 * bright * bright * (3 - 2 * bright)
    skin = _triple(as_floats(cv2.LUT(cv2.cvtColor(warped, cv2.COLOR_BGR2GRAY), share)))
    grey = as_floats(cv2.transform(light.gain, np.full((1, 3), 0.35 / 3, np.float32))) + 0.65
    full, part = cv2.multiply(image, light.gain), cv2.multiply(image, _triple(grey))
    lit = as_floats(part + cv2.multiply(full - part, skin))
    if light.chroma < 1:
        grey = as_floats(cv2.transform(lit, LUMA[None]))
        plain = as_floats(cv2.merge([grey * share for share in light.tone]))
        lit = as_floats(cv2.addWeighted(lit, light.chroma, plain, 1 - light.chroma, 0))
    return _limit(lit, light.ceiling)


def _triple(channel: Floats) -> Floats:
    return as_floats(cv2.merge([channel, channel, channel]))


def _limit(image: Floats, ceiling: Floats) -> Floats:
    """Press what exceeds the ceiling to a quarter, and bend the brightest values below 255."""
    brightness = as_floats(cv2.transform(image, LUMA[None]))
    over = np.maximum(brightness - ceiling, 0)
    if over.any():
        image = as_floats(cv2.multiply(image, _triple(as_floats(1 - 0.75 * over / np.maximum(brightness, 1)))))
    if float(image.max()) > _KNEE:
        room = 255 - _KNEE
        bent = _KNEE + room * (1 - np.exp(np.minimum(_KNEE - image, 0) / room))
        image = np.where(image > _KNEE, as_floats(bent), image)
    return image
