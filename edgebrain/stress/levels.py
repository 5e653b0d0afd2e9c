"""The grey levels of a scan of any depth: its black and white, and changes of what lies between them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgebrain.errors import UnsupportedScan
from edgebrain.preprocessing import to_uint8
from edgebrain.types import AnyPixels, Float64, Image8, InputSpec


def black_and_white(pixels: AnyPixels) -> tuple[float, float] | None:
    """Black and white of a scan; None where it has no contrast or no finite values."""
    if pixels.dtype == np.uint8:
        return 0.0, 255.0
    try:
        _, intensity, _ = to_uint8(pixels, InputSpec())
    except UnsupportedScan:
        return None
    return (intensity.low or 0.0), (intensity.high or 0.0)


def on_levels(pixels: AnyPixels, change: Callable[[Float64], Float64]) -> AnyPixels:
    """Apply a change of grey levels that are 0 at the scan's black and 1 at its white."""
    window = black_and_white(pixels)
    if window is None:
        return pixels
    low, high = window
    # Halved first: high - low of extreme floats can be infinite although both are finite.
    levels = np.clip((pixels.astype(np.float64) / 2 - low / 2) / (high / 2 - low / 2), 0.0, 1.0)
    result = change(levels)
    if pixels.dtype == np.uint8:
        return np.asarray(np.clip(np.round(result * 255.0), 0, 255), np.uint8)
    return np.asarray(low * (1 - result) + high * result, np.float64)


def to_8_bits(pixels: AnyPixels) -> Image8 | None:
    """The pixels as preprocessing sees them; None where it refuses them."""
    if pixels.dtype == np.uint8:
        return np.ascontiguousarray(pixels)
    try:
        return to_uint8(pixels, InputSpec())[0]
    except UnsupportedScan:
        return None


def averageable(pixels: AnyPixels) -> AnyPixels:
    """The pixels in a dtype that OpenCV can average."""
    return np.ascontiguousarray(pixels if pixels.dtype == np.uint8 else pixels.astype(np.float64))
