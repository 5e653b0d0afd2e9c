"""One grey image from any image: one rule for files, bytes and arrays, so that all three give the same bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgebrain.types import AnyPixels

Order = Literal["rgb", "bgr"]

COLOR_SAMPLE = 64
"""The share of coloured pixels is estimated on a grid of at most twice this number of rows and columns."""

COLOR_THRESHOLD = 0.1
"""A pixel is coloured when its channels differ by more than this share of the range."""


COMPOSITED = "The image is partly transparent; it was put on black."


@dataclass(frozen=True)
class Grey:
    """What ``reduce`` makes of an image: [H, W] pixels, share of coloured ones, what a person should know."""

    pixels: AnyPixels
    color_fraction: float
    warnings: tuple[str, ...] = ()


def reduce(pixels: AnyPixels, order: Order, *, alpha: bool) -> Grey:
    """Make one contiguous grey image of anything that a decoder gives.

    Args:
        pixels: [H, W] or [H, W, C]: grey (C = 1), grey and alpha (2), colour (3), colour and alpha (4).
        order: Of the colour channels.
        alpha: Whether the last of 2 or 4 channels is straight alpha; it is dropped if not.

    Returns:
        Grey pixels of the same dtype.
    """
    if pixels.ndim == 2:  # noqa: PLR2004 - rows and columns: grey already, as most scans are
        return Grey(np.ascontiguousarray(pixels), 0.0)
    notes: tuple[str, ...] = ()
    if channels(pixels) in (2, 4):
        pixels, opacity = pixels[..., :-1], pixels[..., -1]
        if alpha:
            pixels, changed = over_black(pixels, opacity)
            notes = (COMPOSITED,) if changed else ()
    return Grey(to_grey(pixels, order), color_fraction(pixels), notes)


def channels(pixels: AnyPixels) -> int:
    """Samples a pixel of [H, W] or [H, W, C]."""
    return int((*pixels.shape, 1)[2])


def to_grey(pixels: AnyPixels, order: Order) -> AnyPixels:
    """Weigh colour channels to luma by ITU-R BT.601: 0.299 R + 0.587 G + 0.114 B.

    Integers are rounded. Where a pixel's channels are equal the result is exactly their value.

    Args:
        pixels: [H, W], [H, W, 1] or [H, W, 3], integer or float.
        order: Of the three channels.

    Returns:
        [H, W] of the same dtype.
    """
    if channels(pixels) == 1:
        return np.ascontiguousarray(pixels.reshape(pixels.shape[:2]))
    if pixels.dtype in (np.uint8, np.uint16):
        from edgebrain.imaging import cv2

        # Fixed-point weights that add up to 2 ** 15: equal channels stay exactly what they are.
        code = cv2.COLOR_RGB2GRAY if order == "rgb" else cv2.COLOR_BGR2GRAY
        grey: AnyPixels = cv2.cvtColor(np.ascontiguousarray(pixels), code)
        return grey
    red, green, blue = (pixels[..., i].astype(np.float64) for i in ((0, 1, 2) if order == "rgb" else (2, 1, 0)))
    with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is refused further on
        # In this form equal channels are exact in floating point, too.
        luma = green + 0.299 * (red - green) + 0.114 * (blue - green)
        return _like(luma, pixels.dtype)


def over_black(color: AnyPixels, alpha: AnyPixels) -> tuple[AnyPixels, bool]:
    """Composite straight-alpha pixels over black.

    Args:
        color: [H, W, C], integer or float.
        alpha: [H, W] of the same dtype; opaque is the largest integer, or 1.0.

    Returns:
        [H, W, C] of the same dtype, and whether any pixel was not opaque.
    """
    opaque = 1.0 if color.dtype.kind == "f" else np.iinfo(color.dtype).max
    if bool((alpha >= opaque).all()):
        return color, False
    if color.dtype in (np.uint8, np.uint16):
        product = color.astype(np.uint32) * alpha[..., None]  # at most (2 ** 16 - 1) ** 2: fits
        return ((product + np.uint32(opaque // 2)) // np.uint32(opaque)).astype(color.dtype), True
    with np.errstate(invalid="ignore"):
        return _like(color * np.clip(alpha[..., None] / opaque, 0.0, 1.0), color.dtype), True


def color_fraction(pixels: AnyPixels) -> float:
    """Share of pixels in [0, 1] that are clearly coloured, estimated on a grid.

    Args:
        pixels: [H, W] or [H, W, C]. The range is that of the dtype for uint8, else that of the image.
    """
    if channels(pixels) == 1:
        return 0.0
    rows, columns = (max(1, side // COLOR_SAMPLE) for side in pixels.shape[:2])
    sample: npt.NDArray[Any] = pixels[rows // 2 :: rows, columns // 2 :: columns]
    value_range = 255.0
    if sample.dtype != np.uint8:
        sample = sample.astype(np.float64)
        finite = sample[np.isfinite(sample)]
        value_range = float(np.ptp(finite)) if finite.size else 0.0
    first, second, third = (sample[..., i] for i in range(3))
    with np.errstate(invalid="ignore"):
        spread = np.maximum(np.maximum(first, second), third) - np.minimum(np.minimum(first, second), third)
    return float(np.count_nonzero(spread > COLOR_THRESHOLD * value_range) / spread.size)


def _like(values: npt.NDArray[Any], dtype: np.dtype[Any]) -> AnyPixels:
    if dtype.kind != "f":
        limits = np.iinfo(dtype)
        values = np.clip(np.rint(values), limits.min, limits.max)
    result: AnyPixels = values.astype(dtype)
    return result
