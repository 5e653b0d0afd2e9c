"""Changes that a scan may go through before it arrives: named, described, and each held to a limit.

Every change maps a 2-D array to a 2-D array and is applied to the scan as read, before any preprocessing. What is
random in one (noise, bias field, text) is drawn from a seed made of the scan's identity and the name of the change, so
that the same scan gets the same change in every run and on every machine.

Grey levels: uint8 stays uint8 over 0..255, rounded and clipped. Anything else is changed in float64 on the scan's own
range, the two robust percentiles that preprocessing maps to black and white, and stays in the scan's own units: not
rounded to integers again, because the result must not depend on the slope of the pixel values. What averages pixels
(blur, resizing) gives float64, too. CLAHE and JPEG are exceptions: they work on 8 bits, as viewers do, and give uint8.
Borders, text, mirrors, turns and crops keep any dtype. Pixels without contrast or with NaN have no range: a change of
grey levels leaves them as they are, and preprocessing refuses them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from edgebrain.errors import UnsupportedScan, UsageError
from edgebrain.head import Box, find_head
from edgebrain.imaging import cv2
from edgebrain.preprocessing import MIN_SIDE, to_uint8
from edgebrain.types import AnyPixels, Float64, Image8, InputSpec

Change = Callable[[AnyPixels, np.random.Generator], AnyPixels]

CLEAN = "clean"

_BLUR_SIDE = 224  # the side of an image at which a blur is given in pixels
_TILES = (8, 8)
_FONT_SIDE = 480  # the side of an image at which the burned-in font has its own size


@dataclass(frozen=True)
class Stress:
    """One change.

    Attributes:
        name: What it is called in records.
        description: What is done, in a sentence for people.
        limit: Points of accuracy (percent of scans) that it may cost; None where nothing is asked.
        change: Maps pixels [H, W] and a generator to pixels [h, w].
    """

    name: str
    description: str
    limit: float | None
    change: Change


def apply(stress: Stress, pixels: AnyPixels, identity: str) -> AnyPixels:
    """Change a scan.

    Args:
        stress: What is done.
        pixels: [H, W], any integer or float dtype; never written to.
        identity: What the scan is known by, a hash of its file for instance; with the name of the stress it seeds
            what is random.

    Returns:
        [h, w], each side at least 1. uint8 where the input is; see the module's text for other dtypes.
    """
    seed = hashlib.blake2b(f"{stress.name}\0{identity}".encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return stress.change(pixels, np.random.default_rng(int.from_bytes(seed, "little")))


def find_stress(name: str) -> Stress:
    """The stress of a name.

    Raises:
        UsageError: There is none.
    """
    for stress in STRESSES:
        if stress.name == name:
            return stress
    raise UsageError(f"There is no stress {name!r}.", remedy=f"Known: {', '.join(s.name for s in STRESSES)}.")


# Grey levels ---------------------------------------------------------------------------------------------------------


def _window(pixels: AnyPixels) -> tuple[float, float] | None:
    """Black and white of a scan; None where it has no contrast or no finite values."""
    if pixels.dtype == np.uint8:
        return 0.0, 255.0
    try:
        _, intensity, _ = to_uint8(pixels, InputSpec())
    except UnsupportedScan:
        return None
    return (intensity.low or 0.0), (intensity.high or 0.0)


def _on_levels(pixels: AnyPixels, change: Callable[[Float64], Float64]) -> AnyPixels:
    """Apply a change of grey levels that are 0 at the scan's black and 1 at its white."""
    window = _window(pixels)
    if window is None:
        return pixels
    low, high = window
    # Halved first: high - low of extreme floats can be infinite although both are finite.
    levels = np.clip((pixels.astype(np.float64) / 2 - low / 2) / (high / 2 - low / 2), 0.0, 1.0)
    result = change(levels)
    if pixels.dtype == np.uint8:
        return np.asarray(np.clip(np.round(result * 255.0), 0, 255), np.uint8)
    return np.asarray(low * (1 - result) + high * result, np.float64)


def _to_8_bits(pixels: AnyPixels) -> Image8 | None:
    if pixels.dtype == np.uint8:
        return np.ascontiguousarray(pixels)
    try:
        return to_uint8(pixels, InputSpec())[0]
    except UnsupportedScan:
        return None


def _smooth(pixels: AnyPixels) -> AnyPixels:
    """The pixels in a dtype that OpenCV can average."""
    return np.ascontiguousarray(pixels if pixels.dtype == np.uint8 else pixels.astype(np.float64))


def _same(pixels: AnyPixels, _: np.random.Generator) -> AnyPixels:
    return pixels


def _clahe(pixels: AnyPixels, _: np.random.Generator, *, clip: float) -> AnyPixels:
    grey = _to_8_bits(pixels)
    return pixels if grey is None else np.asarray(cv2.createCLAHE(clip, _TILES).apply(grey), np.uint8)


def _gamma(pixels: AnyPixels, _: np.random.Generator, *, exponent: float) -> AnyPixels:
    return _on_levels(pixels, lambda levels: np.asarray(levels**exponent, np.float64))


def _inverted(pixels: AnyPixels, _: np.random.Generator) -> AnyPixels:
    return _on_levels(pixels, lambda levels: 1.0 - levels)


def _noisy(pixels: AnyPixels, rng: np.random.Generator, *, share: float) -> AnyPixels:
    return _on_levels(pixels, lambda levels: levels + rng.normal(0.0, share, levels.shape))


def _bias_field(pixels: AnyPixels, rng: np.random.Generator) -> AnyPixels:
    coarse = rng.uniform(0.0, 1.0, (3, 3))
    rows, columns = pixels.shape
    field = np.asarray(cv2.resize(coarse, (columns, rows), interpolation=cv2.INTER_CUBIC), np.float64)
    span = float(field.max() - field.min())
    field = 0.5 + (field - field.min()) / span if span > 0 else np.ones_like(field)
    return _on_levels(pixels, lambda levels: np.asarray(levels * field, np.float64))


def _jpeg(pixels: AnyPixels, _: np.random.Generator, *, quality: int) -> AnyPixels:
    grey = _to_8_bits(pixels)
    if grey is None:
        return pixels
    stream = cv2.imencode(".jpg", grey, (cv2.IMWRITE_JPEG_QUALITY, quality))[1]
    return np.asarray(cv2.imdecode(stream, cv2.IMREAD_GRAYSCALE), np.uint8)


def _text(pixels: AnyPixels, rng: np.random.Generator) -> AnyPixels:
    window = _window(pixels)
    if window is None:
        return pixels
    rows, columns = pixels.shape
    drawn = np.zeros((rows, columns), np.uint8)
    scale = max(rows, columns) / _FONT_SIDE
    line = max(1, round(18 * scale))
    series, image, year = (int(rng.integers(*ends)) for ends in ((1, 12), (1, 200), (1999, 2026)))
    for text, right, bottom in (
        (f"SE {series} IM {image}", False, False),
        (f"{year}-{year % 12 + 1:02d}-{image % 28 + 1:02d}", True, False),
        ("R", False, True),
        (f"TR {series * 250} TE {image % 90 + 8}", True, True),
    ):
        width = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.5 * scale, 1)[0][0]
        place = (columns - width - 1 if right else 1, rows - max(1, line // 3) if bottom else line)
        thickness = max(1, round(scale))
        cv2.putText(drawn, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5 * scale, 255, thickness, cv2.LINE_8)
    changed = np.array(pixels)
    changed[drawn > 0] = np.asarray(window[1]).astype(pixels.dtype)
    return changed


# Sharpness and geometry ----------------------------------------------------------------------------------------------


def _blurred(pixels: AnyPixels, _: np.random.Generator, *, sigma: float) -> AnyPixels:
    own = sigma * max(pixels.shape) / _BLUR_SIDE
    return np.asarray(cv2.GaussianBlur(_smooth(pixels), (0, 0), own, borderType=cv2.BORDER_REPLICATE))


def _low_resolution(pixels: AnyPixels, _: np.random.Generator, *, side: int) -> AnyPixels:
    rows, columns = pixels.shape
    scale = side / max(rows, columns)
    if scale >= 1:
        return pixels
    small_size = (max(1, round(columns * scale)), max(1, round(rows * scale)))
    small = cv2.resize(_smooth(pixels), small_size, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (columns, rows), interpolation=cv2.INTER_LINEAR))


def _squeezed(pixels: AnyPixels, _: np.random.Generator, *, ratio: float) -> AnyPixels:
    rows, columns = pixels.shape
    method = cv2.INTER_AREA if ratio < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(_smooth(pixels), (max(1, round(columns * ratio)), rows), interpolation=method))


def _bordered(pixels: AnyPixels, _: np.random.Generator, *, share: float, level: float) -> AnyPixels:
    first = float(pixels.flat[0])
    low, high = _window(pixels) or (first, first)
    fill = low * (1 - level) + high * level
    value = np.asarray(round(fill) if pixels.dtype.kind in "iu" else fill).astype(pixels.dtype)
    rows, columns = (max(1, round(size * share)) for size in pixels.shape)
    return np.asarray(np.pad(pixels, ((rows, rows), (columns, columns)), constant_values=value))


def _flipped(pixels: AnyPixels, _: np.random.Generator, *, axis: int) -> AnyPixels:
    return np.ascontiguousarray(np.flip(pixels, axis))


def _rotated(pixels: AnyPixels, _: np.random.Generator, *, quarters: int) -> AnyPixels:
    return np.ascontiguousarray(np.rot90(pixels, quarters))


def _cropped(pixels: AnyPixels, _: np.random.Generator, *, inside: float) -> AnyPixels:
    grey = _to_8_bits(pixels)
    box = Box(0, pixels.shape[0], 0, pixels.shape[1])
    if grey is not None and min(grey.shape) >= MIN_SIDE:
        box = find_head(grey).box
    rows, columns = (int(inside * size) for size in (box.bottom - box.top, box.right - box.left))
    return np.ascontiguousarray(pixels[box.top + rows : box.bottom - rows, box.left + columns : box.right - columns])


# The table -----------------------------------------------------------------------------------------------------------

LIMIT = 2.0
"""Points of accuracy that a stress may cost unless its row says something else."""


def _row(name: str, description: str, change: Change, limit: float | None = LIMIT) -> Stress:
    return Stress(name, description, limit, change)


STRESSES: tuple[Stress, ...] = (
    _row(CLEAN, "The scan as it is.", _same, None),
    *(
        _row(f"clahe_{c}", f"Local contrast equalised (CLAHE, clip limit {c}).", partial(_clahe, clip=c))
        for c in (2, 4, 8)
    ),
    *(
        _row(f"gamma_{g}", f"Grey levels raised to the power {g}.", partial(_gamma, exponent=g))
        for g in (0.5, 0.7, 1.5, 2.2)
    ),
    _row("inverted", "Black and white exchanged.", _inverted, 5.0),
    *(
        _row(f"blurred_{s}", f"Gaussian blur, sigma {s} px at {_BLUR_SIDE} px.", partial(_blurred, sigma=s))
        for s in (1, 2)
    ),
    *(_row(f"noisy_{p}", f"Gaussian noise, {p} % of the range.", partial(_noisy, share=p / 100)) for p in (5, 10)),
    _row("bias_field", "Multiplied by a smooth field from 0.5 to 1.5.", _bias_field),
    _row("resolution_160", "Down to 160 px and back up.", partial(_low_resolution, side=160)),
    _row("resolution_128", "Down to 128 px and back up.", partial(_low_resolution, side=128), 1.0),
    _row("resolution_96", "Down to 96 px and back up.", partial(_low_resolution, side=96)),
    *(_row(f"squeezed_{r}", f"Width times {r}.", partial(_squeezed, ratio=r)) for r in (0.75, 1.33)),
    _row("jpeg_20", "Saved as JPEG of quality 20.", partial(_jpeg, quality=20)),
    _row("padded_black", "Black border, 20 % of the side on every side.", partial(_bordered, share=0.2, level=0.0)),
    _row("padded_white", "White border, 10 % of the side on every side.", partial(_bordered, share=0.1, level=1.0)),
    _row("framed_grey", "Grey frame, 4 % of the side wide.", partial(_bordered, share=0.04, level=0.5)),
    _row("text", "White text burned into the corners.", _text),
    _row("flipped_left_right", "Mirrored left to right.", partial(_flipped, axis=1)),
    _row("flipped_upside_down", "Mirrored top to bottom.", partial(_flipped, axis=0)),
    *(_row(f"rotated_{90 * q}", f"Rotated by {90 * q} degrees.", partial(_rotated, quarters=q)) for q in (1, 2, 3)),
    _row("cropped_0", "Cropped to the head.", partial(_cropped, inside=0.0)),
    _row("cropped_5", "Cropped to 5 % inside the head on every side.", partial(_cropped, inside=0.05)),
    _row("cropped_10", "Cropped to 10 % inside the head on every side.", partial(_cropped, inside=0.1)),
)
"""Every stress, the clean scan first."""
