"""Changes of sharpness, shape and framing, for scans of any depth."""

from __future__ import annotations

import numpy as np

from edgebrain.head import Box, find_head
from edgebrain.imaging import cv2
from edgebrain.preprocessing import MIN_SIDE
from edgebrain.stress.levels import averageable, black_and_white, to_8_bits
from edgebrain.stress.scalp import depth_in_head
from edgebrain.types import AnyPixels

BLUR_SIDE = 224
"""The side of an image at which a blur is given in pixels."""


def blurred(pixels: AnyPixels, _: np.random.Generator, *, sigma: float) -> AnyPixels:
    """Gaussian blur; sigma is in pixels of a picture of 224 a side."""
    own = sigma * max(pixels.shape) / BLUR_SIDE
    return np.asarray(cv2.GaussianBlur(averageable(pixels), (0, 0), own, borderType=cv2.BORDER_REPLICATE))


def low_resolution(pixels: AnyPixels, _: np.random.Generator, *, side: int) -> AnyPixels:
    """The longer side brought down to so many pixels, and back up."""
    rows, columns = pixels.shape
    scale = side / max(rows, columns)
    if scale >= 1:
        return pixels
    small_size = (max(1, round(columns * scale)), max(1, round(rows * scale)))
    small = cv2.resize(averageable(pixels), small_size, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (columns, rows), interpolation=cv2.INTER_LINEAR))


def squeezed(pixels: AnyPixels, _: np.random.Generator, *, ratio: float) -> AnyPixels:
    """The width times a ratio."""
    rows, columns = pixels.shape
    method = cv2.INTER_AREA if ratio < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(averageable(pixels), (max(1, round(columns * ratio)), rows), interpolation=method))


def bordered(pixels: AnyPixels, _: np.random.Generator, *, share: float, level: float) -> AnyPixels:
    """A border around the scan, at a level between its black (0) and white (1)."""
    first = float(pixels.flat[0])
    low, high = black_and_white(pixels) or (first, first)
    fill = low * (1 - level) + high * level
    value = np.asarray(round(fill) if pixels.dtype.kind in "iu" else fill).astype(pixels.dtype)
    rows, columns = (max(1, round(size * share)) for size in pixels.shape)
    return np.asarray(np.pad(pixels, ((rows, rows), (columns, columns)), constant_values=value))


def flipped(pixels: AnyPixels, _: np.random.Generator, *, axis: int) -> AnyPixels:
    """Mirrored along an axis."""
    return np.ascontiguousarray(np.flip(pixels, axis))


def rotated(pixels: AnyPixels, _: np.random.Generator, *, quarters: int) -> AnyPixels:
    """Turned by quarters, against the clock."""
    return np.ascontiguousarray(np.rot90(pixels, quarters))


def tilted(pixels: AnyPixels, _: np.random.Generator, *, degrees: float) -> AnyPixels:
    """Turned by any angle, against the clock, on a black canvas that holds all of it."""
    rows, columns = pixels.shape
    matrix = cv2.getRotationMatrix2D((columns / 2, rows / 2), degrees, 1.0)
    cosine, sine = abs(matrix[0, 0]), abs(matrix[0, 1])
    high, wide = (int(np.ceil(a * cosine + b * sine)) for a, b in ((rows, columns), (columns, rows)))
    matrix[:, 2] += ((wide - columns) / 2, (high - rows) / 2)
    black = (black_and_white(pixels) or (float(pixels.flat[0]), 0.0))[0]
    return np.asarray(cv2.warpAffine(averageable(pixels), matrix, (wide, high), borderValue=(black,)))


def cropped(pixels: AnyPixels, _: np.random.Generator, *, inside: float) -> AnyPixels:
    """Cropped to a share inside the head on every side."""
    grey = to_8_bits(pixels)
    box = Box(0, pixels.shape[0], 0, pixels.shape[1])
    if grey is not None and min(grey.shape) >= MIN_SIDE:
        box = find_head(grey).box
    rows, columns = (int(inside * size) for size in (box.bottom - box.top, box.right - box.left))
    return np.ascontiguousarray(pixels[box.top + rows : box.bottom - rows, box.left + columns : box.right - columns])


def skull_stripped(pixels: AnyPixels, _: np.random.Generator, *, share: float) -> AnyPixels:
    """Scalp and skull peeled off; the share is of the head's size."""
    grey = to_8_bits(pixels)
    depth = None if grey is None else depth_in_head(grey)
    if depth is None or not (depth > share).any():
        return pixels
    black = (black_and_white(pixels) or (0.0, 0.0))[0]
    return np.where(depth > share, pixels, np.asarray(black).astype(pixels.dtype))
