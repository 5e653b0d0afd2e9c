"""Artefacts of acquisition and of handling: ghosting, skull stripping, tight crops, annotations.

Recipes that name none of it draw the same random numbers as before there was any of it.
"""

from __future__ import annotations

import cv2
import numpy as np

from edgebrain.stress.scalp import depth_in_head
from edgebrain.types import Float32, Image8

from .recipe import AugmentConfig

Rng = np.random.Generator

_BACKGROUND = 12
"""Grey levels by which the head differs from the corner."""
_CUT = 1 / 7
_LEAST_HEAD = 8
"""Pixels; what is thinner is no head, and would be cut to nothing."""
_PEEL = (0.03, 0.11)
"""Shares of the head's size that are peeled off; scalp and skull are 0.07 to 0.1 of it."""
_WAVES = 7
"""Knots a side of the cut's waves."""
_WAVE = 0.012
"""Standard deviation of the cut's depth, in shares of the head's size."""


def add_artefacts(image: Image8, config: AugmentConfig, rng: Rng) -> Image8:
    """Change a scan at random as movement, other tools and readers do.

    Args:
        image: uint8 [S, S], prepared.
        config: The probabilities ``ghost``, ``skull_strip``, ``crop`` and ``annotate``.
        rng: Source of every random number.

    Returns:
        uint8 [S, S].
    """
    for probability, change in (
        (config.ghost, _ghosted),
        (config.skull_strip, _skull_stripped),
        (config.crop, _cut_close),
        (config.annotate, _annotated),
    ):
        if probability and rng.random() < probability:
            image = change(image, rng)
    return image


def _ghosted(image: Image8, rng: Rng) -> Image8:
    """Fainter copies along one direction, as movement leaves them along the phase encoding."""
    axis, share = int(rng.integers(2)), rng.uniform(0.04, 0.22)
    step = int(image.shape[axis] * rng.uniform(0.15, 0.5))
    values = image.astype(np.float32)
    echo = np.roll(values, step, axis) + np.roll(values, -step, axis)
    return _clipped((1 - share) * values + np.float32(share) * echo)


def _cut_close(image: Image8, rng: Rng) -> Image8:
    """Cut up to a seventh off every side of the head, and make it as large and as square again as preprocessing does.

    Such a picture has no background to measure, so what is added to make it square is black, as preprocessing adds it.
    """
    rows, columns = np.nonzero(cv2.absdiff(image, np.full_like(image, image[0, 0])) > _BACKGROUND)
    if not len(rows) or min(np.ptp(rows), np.ptp(columns)) < _LEAST_HEAD:
        return image
    top, bottom, left, right = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
    off = rng.uniform(0.0, _CUT, 4) * (bottom - top, bottom - top, right - left, right - left)
    return _filled(image[int(top + off[0]) : int(bottom - off[1]), int(left + off[2]) : int(right - off[3])], image)


def _skull_stripped(image: Image8, rng: Rng) -> Image8:
    """Take off scalp, skull and some of what lies below, and make the rest as large and square as preprocessing does.

    Brains that come without a skull lie on black, and no two tools cut along the same line: the cut is wavy.
    """
    depth = depth_in_head(image)
    if depth is None:
        return image
    coarse = rng.standard_normal((_WAVES, _WAVES)).astype(np.float32)
    waves = cv2.resize(coarse, image.shape[::-1], interpolation=cv2.INTER_CUBIC)
    inside = depth > np.maximum(_PEEL[0] / 2, rng.uniform(*_PEEL) + _WAVE * waves)
    rows, columns = np.nonzero(inside)
    if not len(rows) or min(np.ptp(rows), np.ptp(columns)) < _LEAST_HEAD:
        return image
    brain = np.where(inside, image, np.uint8(0))
    if rng.random() < 0.5:  # noqa: PLR2004 - every second tool stretches what is left, which the scalp had kept dark
        brain = _clipped(brain * np.float32(255 / max(1.0, np.percentile(image[inside], 99.5))))
    return _filled(brain[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1], image)


def _filled(inner: Image8, whole: Image8) -> Image8:
    """A part of a picture at the size of the whole, black where it has another shape."""
    side, longest = whole.shape[0], max(inner.shape)
    high, wide = (max(1, round(n * side / longest)) for n in inner.shape)
    square = np.zeros_like(whole)
    y, x = (side - high) // 2, (side - wide) // 2
    square[y : y + high, x : x + wide] = cv2.resize(inner, (wide, high), interpolation=cv2.INTER_LINEAR)
    return square


def _annotated(image: Image8, rng: Rng) -> Image8:
    """What readers draw: arrows, boxes, outlines and measured lines, at any place."""
    image = image.copy()
    side = image.shape[0]
    ink = int(rng.choice((0, 255, 255, int(rng.integers(120, 255)))))
    for _ in range(int(rng.integers(1, 4))):
        start, end = ([int(v) for v in rng.uniform(0.08, 0.92, 2) * side] for _ in range(2))
        thickness, kind = int(rng.integers(1, 3)), int(rng.integers(4))
        if kind == 0:
            cv2.arrowedLine(image, start, end, (ink,), thickness, tipLength=rng.uniform(0.1, 0.4))
        elif kind == 1:
            cv2.rectangle(image, start, end, (ink,), thickness)
        elif kind == 2:  # noqa: PLR2004 - the third of four
            reach = [max(2, abs(a - b) // 2) for a, b in zip(start, end, strict=True)]
            cv2.ellipse(image, start, reach, rng.uniform(0, 180), 0, 360, (ink,), thickness)
        else:
            cv2.line(image, start, end, (ink,), thickness)
            for point in (start, end):
                cv2.drawMarker(image, point, (ink,), cv2.MARKER_CROSS, 3 + 4 * thickness, thickness)
    return image


def _clipped(values: Float32) -> Image8:
    return np.asarray(np.clip(values, 0, 255), np.uint8)
