"""Where the head is in a slice, and the grey level of what surrounds it.

The surroundings are estimated from the image border; pixels that differ from them are cleaned by morphology, and the
extreme points of the largest part bound the head. This follows the threshold, erode/dilate and extreme-point crop that
is usual for this data, but measures the background instead of assuming it black, so that inverted and padded images
crop alike.

A dark head (a high gamma, a wide window) lowers the difference that counts, as far as the noise of the border lets it.
Version 1 of the preprocessing did not: at a gamma of 2.2 it cut half of the heads down to what was brightest in them.
Bundles that were trained with it still get it. Version 3 makes the copy on which it searches in another way
(:mod:`edgebrain.resizing`), and may find an edge a pixel of that copy further in or out.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from typing import NamedTuple

import numpy as np

from edgebrain.imaging import cv2
from edgebrain.resizing import shrink
from edgebrain.types import PREPROCESSING_VERSION, AnyPixels, Image8

_MASK_SIDE = 128  # the head is found on a copy of at most this side: faster, and blind to noise and fine text
_THIN: Image8 = np.ones((3, 3), np.uint8)  # of mask pixels: what is thinner is text or a speck, and goes
_GAP: Image8 = np.ones((5, 5), np.uint8)  # what is closer together is one part: scalp and brain over the dark skull
_THIN_AND_GAP: Image8 = np.ones((7, 7), np.uint8)
_LEAST_TOLERANCE = 5.0  # grey levels, where the whole range is small
_FAINTEST = 6  # grey levels from the background that a head has at least
_DARK_SHARE = 0.35  # of what stands out from the background: the share of its median that counts as head
_QUARTILES = 1.35  # standard deviations between the quartiles of a normal distribution
_MASK_CONTRAST = 0.10  # share of the grey range by which a pixel must differ from the background to count as head
_UNIFORM_BORDER = 0.5  # share of border pixels that must look like background for a background to exist
_FRAME_INSET = 2  # mask pixels; steps over the blurred inner edge of a drawn frame
_FRAME_CONTRAST = 64  # grey levels between a frame and the background inside it
_MIN_HEAD_AREA = 0.05  # share of the image; a smaller find is text or noise, not a head
_LEVELS = np.arange(256, dtype=np.uint8)


class Box(NamedTuple):
    """A half-open pixel rectangle: rows [top, bottom), columns [left, right)."""

    top: int
    bottom: int
    left: int
    right: int


class Head(NamedTuple):
    """Where the head is, and the grey level of what surrounds it."""

    box: Box
    background: int


def find_head(image: Image8, version: int = PREPROCESSING_VERSION) -> Head:
    """Find the head and the grey level around it.

    A drawn frame or a page margin counts as a first background: when what is left inside it has a uniform border of
    another grey level, the search is repeated there.

    Args:
        image: uint8 [H, W] of at least MIN_SIDE pixels a side.
        version: Of the algorithm; see the module's text.

    Returns:
        The bounding box (the whole image when no head stands out from a uniform background) and the background level
        (0 when the border is not uniform, as in a tight crop).
    """
    rows, columns = image.shape
    scale = min(1.0, _MASK_SIDE / max(rows, columns))
    small_size = max(8, round(rows * scale)), max(8, round(columns * scale))
    small = shrink(image, *small_size, version)
    border = _sorted_border(small)
    level = _median(border)
    away = _away_from(small, level)
    tolerance = _tolerance(small, border, away, version)
    background = level if _is_uniform(border, level, tolerance) else None
    box = Box(0, small.shape[0], 0, small.shape[1])
    if background is not None:
        box = _head_in_mask(_further(away, tolerance))
    inner = _inset(box, _FRAME_INSET)
    if background is not None and inner.bottom - inner.top >= _MASK_SIDE // 4 <= inner.right - inner.left:
        content = small[inner.top : inner.bottom, inner.left : inner.right]
        inner_border = _sorted_border(content)
        inner_level = _median(inner_border)
        if abs(inner_level - background) > _FRAME_CONTRAST and _is_uniform(inner_border, inner_level, tolerance):
            framed = _head_in_mask(_further(_away_from(content, inner_level), tolerance))
            box = Box(
                inner.top + framed.top,
                inner.top + framed.bottom,
                inner.left + framed.left,
                inner.left + framed.right,
            )
            background = inner_level
    # One mask pixel of margin: the mask is coarser than the image, and its edge is a threshold, not the skin.
    row_step, column_step = rows / small.shape[0], columns / small.shape[1]
    outer = _inset(box, -1)
    return Head(
        Box(
            max(0, int(outer.top * row_step)),
            min(rows, int(np.ceil(outer.bottom * row_step))),
            max(0, int(outer.left * column_step)),
            min(columns, int(np.ceil(outer.right * column_step))),
        ),
        background or 0,
    )


def _inset(box: Box, by: int) -> Box:
    return Box(box.top + by, box.bottom - by, box.left + by, box.right - by)


def _sorted_border(small: Image8) -> bytes:
    """Grey levels of the border; as bytes, in which a look-up takes a tenth of the time that it takes in an array."""
    border = np.concatenate([small[0], small[-1], small[1:-1, 0], small[1:-1, -1]])
    # By counting, which unlike NumPy's sort does not give the interpreter lock away, to wait for it again.
    return np.repeat(_LEVELS, np.bincount(border, minlength=len(_LEVELS))).tobytes()


def _median(border: bytes) -> int:
    return (border[(len(border) - 1) // 2] + border[len(border) // 2]) // 2


class _Away(NamedTuple):
    """How far the pixels of an image are from a level: ``pixels`` minus ``offset``, where that is above 5."""

    pixels: Image8
    offset: int


def _away_from(small: Image8, level: int) -> _Away:
    # On most slices the background is black. Nothing is darker by as much as counts then, and the image itself will do.
    if level <= _LEAST_TOLERANCE:
        return _Away(small, level)
    return _Away(np.asarray(cv2.absdiff(small, np.full_like(small, level)), np.uint8), 0)


def _further(away: _Away, distance: int) -> Image8:
    """1 where a pixel is further away than a distance of at least 5, else 0."""
    return np.asarray(cv2.threshold(away.pixels, away.offset + distance, 1, cv2.THRESH_BINARY)[1], np.uint8)


def _tolerance(small: Image8, border: bytes, away: _Away, version: int) -> int:
    """Grey levels by which a pixel must differ from the background to count as head.

    Args:
        small: What is searched.
        border: Its sorted border.
        away: How far its pixels are from the border's median.
        version: Of the algorithm.
    """
    darkest, brightest = cv2.minMaxLoc(small)[:2]
    # Grey levels are whole numbers, so a tolerance of 7.6 levels is one of 7.
    usual = int(max(_LEAST_TOLERANCE, _MASK_CONTRAST * (brightest - darkest)))
    if version == 1:
        return usual
    standing_out = cv2.countNonZero(_further(away, _FAINTEST))
    enough = math.ceil(usual / _DARK_SHARE)
    # Most heads are bright, and two counts tell so in a fifth of the time of a histogram: more than half of what stands
    # out reaches the level of which the share is the usual tolerance, and so does its median.
    if enough > _FAINTEST and 2 * cv2.countNonZero(_further(away, enough - 1)) > standing_out:
        return usual
    noise = (border[3 * len(border) // 4] - border[len(border) // 4]) / _QUARTILES
    typical = _median_above(away, _FAINTEST) if standing_out else brightest - darkest
    return int(min(usual, max(_FAINTEST, 3 * noise + 3, _DARK_SHARE * typical)))


def _median_above(away: _Away, distance: int) -> int:
    # By a histogram: a median over all pixels would cost as much as all the rest of the search.
    counts = cv2.calcHist([away.pixels], [0], None, [256], [0, 256])
    total = np.cumsum(counts[away.offset + distance + 1 :])
    return distance + 1 + int(np.searchsorted(total, total[-1] / 2))


def _is_uniform(border: bytes, level: int, tolerance: int) -> bool:
    """Whether enough of a sorted border is like its median for that to be a background."""
    alike = bisect_right(border, level + tolerance) - bisect_left(border, level - tolerance)
    return alike >= _UNIFORM_BORDER * len(border)


def _cleaned(mask: Image8) -> Image8:
    """Opened and closed; the dilation that ends the one and that which begins the other are a single larger one."""
    return np.asarray(cv2.erode(cv2.dilate(cv2.erode(mask, _THIN), _THIN_AND_GAP), _GAP), np.uint8)


def _head_in_mask(mask: Image8) -> Box:
    """Bounds of the largest part of a mask; all of it where no part is large enough for a head."""
    cleaned = _cleaned(mask)
    # Outer contours bound the same 8-connected parts as labelling every pixel does, in a tenth of the time; a part in
    # the hole of another is smaller than that one.
    outlines, _ = cv2.findContours(cleaned, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    bounds = [cv2.boundingRect(outline) for outline in outlines]
    spans = [width * height for _, _, width, height in bounds]
    largest = max(spans, default=0)
    if largest < _MIN_HEAD_AREA * mask.size:
        return Box(0, mask.shape[0], 0, mask.shape[1])
    left, top, width, height = bounds[spans.index(largest)] if spans.count(largest) == 1 else _first_labelled(cleaned)
    return Box(top, top + height, left, left + width)


def _first_labelled(mask: AnyPixels) -> tuple[int, int, int, int]:
    # Of parts of one size, version 1 takes the one that labelling comes to first.
    stats = cv2.connectedComponentsWithStats(mask, connectivity=8)[2]
    spans = stats[1:, cv2.CC_STAT_WIDTH] * stats[1:, cv2.CC_STAT_HEIGHT]
    left, top, width, height = (int(v) for v in stats[1 + int(np.argmax(spans)), :4])
    return left, top, width, height
