"""From a scan to the graph's input; the only implementation in the project.

Training, calibration, verification and serving all call :func:`prepare`, so that a score cannot change because pixels
were made ready in two ways. What depends on a model is in its :class:`~edgebrain.types.InputSpec`; the algorithm itself
is versioned by ``InputSpec.preprocessing``.

Version 3:

1. Intensities. uint8 passes through. Anything else is mapped linearly from two robust percentiles to 0..255, which
   makes the result independent of bit depth and of any positive slope and any intercept (rescale tags, scanner gain).
2. Head crop, by :mod:`edgebrain.head`.
3. Resize, by :mod:`edgebrain.resizing`. The aspect ratio is kept, and the rest padded with the background.

Versions 1, which lost dark heads, and 2, which resized more slowly, are kept for bundles that want them.

Normalisation and channel repetition are part of the graph.
"""

from __future__ import annotations

import numpy as np

from edgebrain.errors import UnsupportedScan
from edgebrain.head import Box, Head, find_head
from edgebrain.imaging import cv2
from edgebrain.resizing import enlarge, shrink
from edgebrain.types import (
    PREPROCESSING_VERSIONS,
    AnyPixels,
    Image8,
    InputSpec,
    Intensity,
    Prepared,
    Scan,
)

MIN_SIDE = 32
"""Pixels. Smaller images hold no judgeable anatomy; the published sets start at about 150."""
MIN_RANGE = 8
"""Grey levels between the darkest and brightest pixel of a uint8 image below which there is nothing to see."""


def prepare(scan: Scan, spec: InputSpec) -> Prepared:
    """Make a scan ready for a graph.

    Args:
        scan: 2-D pixels of any integer or float dtype, bright is bright.
        spec: What the graph expects.

    Returns:
        uint8 image [1, spec.height, spec.width], the intensity mapping used, and warnings.

    Raises:
        UnsupportedScan: The pixels are not 2-D, too few, constant, or not finite; or the model asks for an algorithm
            that this version does not have.
    """
    if spec.preprocessing not in PREPROCESSING_VERSIONS:
        raise UnsupportedScan(
            f"The model wants preprocessing version {spec.preprocessing}; this edgebrain has "
            f"{', '.join(map(str, PREPROCESSING_VERSIONS))}.",
            remedy="Use the edgebrain version that the model names, or export the model again.",
        )
    pixels = _checked(scan)
    image, intensity, warnings = to_uint8(pixels, spec, scan.source)
    whole = Head(Box(0, image.shape[0], 0, image.shape[1]), 0)
    head = find_head(image, spec.preprocessing) if spec.head_crop else whole
    fitted = fit(image[head.box.top : head.box.bottom, head.box.left : head.box.right], spec, head.background)
    return Prepared(image=fitted[np.newaxis], intensity=intensity, warnings=warnings)


def _checked(scan: Scan) -> AnyPixels:
    pixels = scan.pixels
    if pixels.ndim != 2 or pixels.dtype.kind not in "uif":  # noqa: PLR2004 - a slice has two dimensions
        raise UnsupportedScan(
            f"{scan.source}: expected a 2-D array of integers or floats, got {pixels.dtype} {pixels.shape}.",
            remedy="Give one slice at a time.",
        )
    if min(pixels.shape) < MIN_SIDE:
        raise UnsupportedScan(
            f"{scan.source}: {pixels.shape[1]}x{pixels.shape[0]} pixels are too few; {MIN_SIDE} a side are needed.",
            remedy="Use the original image, not a thumbnail.",
        )
    return pixels


def to_uint8(pixels: AnyPixels, spec: InputSpec, source: str = "<array>") -> tuple[Image8, Intensity, tuple[str, ...]]:
    """Map intensities to uint8; see the module's text for the rule.

    Args:
        pixels: [H, W], any integer or float dtype.
        spec: Holds the two percentiles.
        source: Named in errors.

    Returns:
        uint8 [H, W], the mapping, and warnings.

    Raises:
        UnsupportedScan: Constant or not finite.
    """
    if pixels.dtype == np.uint8:
        low, high = cv2.minMaxLoc(pixels[len(pixels) // 2])[:2]
        if high - low < MIN_RANGE:  # in the middle row, which usually settles it
            low, high = cv2.minMaxLoc(pixels)[:2]
        if high - low < MIN_RANGE:
            raise _no_contrast(source, low, high)
        return pixels, Intensity("native"), ()
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise UnsupportedScan(
            f"{source}: the image has pixels that are not finite numbers (NaN or infinite).",
            remedy="Replace them by the background value before classifying.",
        )
    low, high = _percentiles(pixels, spec.low_percentile, spec.high_percentile)
    warnings: tuple[str, ...] = ()
    if _half_range(low, high) <= 0:
        low, high = float(pixels.min()), float(pixels.max())
        if _half_range(low, high) <= 0:
            raise _no_contrast(source, low, high)
        warnings = ("intensity percentiles coincide; the full range was used instead",)
    scaled = _linear_to_255(pixels, low, high)
    return scaled, Intensity("percentile", low, high), warnings


def _no_contrast(source: str, low: float, high: float) -> UnsupportedScan:
    return UnsupportedScan(
        f"{source}: nothing to see, all pixels lie between {low:g} and {high:g}.",
        remedy="Check that the slice was exported with its contents.",
    )


def _percentiles(pixels: AnyPixels, low: float, high: float) -> tuple[float, float]:
    # Order statistics, not interpolated percentiles: they commute exactly with any increasing map of the values.
    flat = pixels.reshape(-1)
    last = flat.size - 1
    ranks = (int(low / 100 * last), int(np.ceil(high / 100 * last)))
    found = np.partition(flat, ranks)
    return float(found[ranks[0]]), float(found[ranks[1]])


def _half_range(low: float, high: float) -> float:
    # Halved first, because high - low of extreme floats can be infinite although both are finite.
    return high / 2 - low / 2


def _linear_to_255(pixels: AnyPixels, low: float, high: float) -> Image8:
    # Divided, not multiplied by a reciprocal, because that of a tiny range can be infinite; so can be the quotient of a
    # value far outside the percentiles, which the clipping then settles.
    with np.errstate(over="ignore"):
        values = pixels.astype(np.float64)  # a copy, and from here on the only one
        values /= 2
        values -= low / 2
        values /= _half_range(low, high)
        values *= 255.0
    # Rounded to 1e-6 before rounding to a whole grey level: a slope or intercept disturbs the last bits, and must not
    # flip a value that lies exactly between two levels. 16-bit data cannot come closer to such a tie than 7e-6.
    np.clip(values, 0.0, 255.0, out=values)
    np.round(values, 6, out=values)
    values += 0.5
    return np.floor(values, out=values).astype(np.uint8)


def fit(image: Image8, spec: InputSpec, background: int) -> Image8:
    """Resize into the input size, keeping the aspect ratio and padding with the background.

    Args:
        image: uint8 [h, w].
        spec: Target size, and the version that says how.
        background: Grey level of the padding.

    Returns:
        uint8 [spec.height, spec.width].
    """
    rows, columns = image.shape
    scale = min(spec.height / rows, spec.width / columns)
    new_rows = min(spec.height, max(1, round(rows * scale)))
    new_columns = min(spec.width, max(1, round(columns * scale)))
    resized = (shrink if scale < 1 else enlarge)(image, new_rows, new_columns, spec.preprocessing)
    if (new_rows, new_columns) == (spec.height, spec.width):
        return resized
    canvas = np.full((spec.height, spec.width), background, np.uint8)
    top, left = (spec.height - new_rows) // 2, (spec.width - new_columns) // 2
    canvas[top : top + new_rows, left : left + new_columns] = resized
    return canvas
