"""Changes of grey levels: contrast, noise, shading, compression, ghosts, for scans of any depth."""

from __future__ import annotations

import numpy as np

from edgebrain.imaging import cv2
from edgebrain.stress.levels import on_levels, to_8_bits
from edgebrain.types import AnyPixels, Float64

_TILES = (8, 8)


def clahe(pixels: AnyPixels, _: np.random.Generator, *, clip: float) -> AnyPixels:
    """Local contrast equalised."""
    grey = to_8_bits(pixels)
    return pixels if grey is None else np.asarray(cv2.createCLAHE(clip, _TILES).apply(grey), np.uint8)


def gamma(pixels: AnyPixels, _: np.random.Generator, *, exponent: float) -> AnyPixels:
    """Grey levels raised to a power."""
    return on_levels(pixels, lambda levels: np.asarray(levels**exponent, np.float64))


def inverted(pixels: AnyPixels, _: np.random.Generator) -> AnyPixels:
    """Black and white exchanged."""
    return on_levels(pixels, lambda levels: 1.0 - levels)


def noisy(pixels: AnyPixels, rng: np.random.Generator, *, share: float) -> AnyPixels:
    """Gaussian noise with a standard deviation of a share of the range."""
    return on_levels(pixels, lambda levels: levels + rng.normal(0.0, share, levels.shape))


def bias_field(pixels: AnyPixels, rng: np.random.Generator) -> AnyPixels:
    """Multiplied by a smooth random field from 0.5 to 1.5."""
    coarse = rng.uniform(0.0, 1.0, (3, 3))
    rows, columns = pixels.shape
    field = np.asarray(cv2.resize(coarse, (columns, rows), interpolation=cv2.INTER_CUBIC), np.float64)
    span = float(field.max() - field.min())
    field = 0.5 + (field - field.min()) / span if span > 0 else np.ones_like(field)
    return on_levels(pixels, lambda levels: np.asarray(levels * field, np.float64))


def jpeg(pixels: AnyPixels, _: np.random.Generator, *, quality: int) -> AnyPixels:
    """Saved as JPEG."""
    grey = to_8_bits(pixels)
    if grey is None:
        return pixels
    stream = cv2.imencode(".jpg", grey, (cv2.IMWRITE_JPEG_QUALITY, quality))[1]
    return np.asarray(cv2.imdecode(stream, cv2.IMREAD_GRAYSCALE), np.uint8)


def ghosted(pixels: AnyPixels, _: np.random.Generator, *, share: float) -> AnyPixels:
    """Two fainter copies of the scan, a third of its height above and below, as movement leaves along the phase."""

    def echo(levels: Float64) -> Float64:
        step = max(1, len(levels) // 3)
        return (1 - share) * levels + share * (np.roll(levels, step, 0) + np.roll(levels, -step, 0))

    return on_levels(pixels, echo)
