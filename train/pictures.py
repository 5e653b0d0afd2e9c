"""Drawn pictures that are no brain MRI, for outlier exposure.

A network that has only seen brain scans calls everything one. Showing it other pictures, and asking for a high value of
its ``outlier`` output there, carries over to kinds of pictures it never saw (Hendrycks et al., "Deep Anomaly Detection
with Outlier Exposure", ICLR 2019). Photographs come from the training data, labelled ``not_brain_mri``; what is drawn
here fills the space between them: noise of every scale, gradients, stripes, shapes, text, tables, plots, and scans that
are cut into tiles and put together wrongly, so that texture alone does not make a brain.
"""

from __future__ import annotations

import string
from collections.abc import Callable

import cv2
import numpy as np

from edgebrain.types import Float32, Image8

Rng = np.random.Generator


def draw_picture(side: int, scan: Image8, rng: Rng) -> Image8:
    """Draw a picture of a random kind.

    Args:
        side: Rows and columns.
        scan: uint8 [S, S], some scan; one kind cuts it into tiles.
        rng: Source of every random number.

    Returns:
        uint8 [side, side].
    """
    tiled = rng.random() < _TILED
    picture = _tiles(scan, side, rng) if tiled else _KINDS[int(rng.integers(len(_KINDS)))](side, rng)
    return framed(picture, rng) if rng.random() < _FRAMED else picture


_TILED = 0.15
_FRAMED = 0.3
_LETTERS = f"{string.ascii_letters}{string.digits}{' ' * 12}.,;"


def framed(picture: Image8, rng: Rng) -> Image8:
    """Put a picture into an oval on black, as a head lies in a slice: the outline must not make it one.

    Args:
        picture: uint8 [H, W].
        rng: Source of every random number.
    """
    rows, columns = picture.shape
    mask = np.zeros(picture.shape, np.uint8)
    center = (int(columns * rng.uniform(0.45, 0.55)), int(rows * rng.uniform(0.45, 0.55)))
    axes = (int(columns * rng.uniform(0.3, 0.48)), int(rows * rng.uniform(0.35, 0.49)))
    cv2.ellipse(mask, center, axes, rng.uniform(-15, 15), 0, 360, (255,), -1)
    return np.asarray(cv2.bitwise_and(picture, mask), np.uint8)


def _uint8(values: Float32) -> Image8:
    low, high = float(values.min()), float(values.max())
    return np.asarray((values - low) * (255.0 / max(1e-6, high - low)), np.uint8)


def _noise(side: int, rng: Rng) -> Image8:
    """White, smoothed or fractal noise."""
    values = np.zeros((side, side), np.float32)
    slope = rng.uniform(0.0, 1.5)
    scales = [2**k for k in range(1, 8)]
    chosen = scales if rng.random() < 0.5 else [int(rng.choice([*scales, side]))]  # noqa: PLR2004 - half are fractal
    for cells in chosen:
        coarse = rng.standard_normal((cells, cells)).astype(np.float32) * np.float32(cells**-slope)
        values += cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
    return _uint8(values)


def _waves(side: int, rng: Rng) -> Image8:
    """Gradients, stripes, checks and rings."""
    y, x = np.mgrid[:side, :side].astype(np.float32) / side - 0.5
    angle, count = rng.uniform(0, np.pi), float(np.exp(rng.uniform(-1, 3.2)))
    u, v = np.cos(angle) * x + np.sin(angle) * y, -np.sin(angle) * x + np.cos(angle) * y
    phase = rng.uniform(0, 6.3)
    kind = int(rng.integers(5))
    if kind == 0:
        values = u
    elif kind == 1:
        values = np.sin(6.28 * count * u + phase)
    elif kind == 2:  # noqa: PLR2004 - the third kind
        values = np.sin(6.28 * count * u + phase) * np.sin(6.28 * count * v)
    elif kind == 3:  # noqa: PLR2004 - the fourth kind
        values = np.sin(6.28 * count * np.hypot(u - rng.uniform(-0.4, 0.4), v))
    else:
        values = np.sign(np.sin(6.28 * count * u + phase) * np.sin(6.28 * count * v + phase))
    return _uint8(np.asarray(values, np.float32))


def _shapes(side: int, rng: Rng) -> Image8:
    """Polygons, ovals and lines, filled or not: a drawing."""
    canvas = np.full((side, side), (0, 255, int(rng.integers(256)))[int(rng.integers(3))], np.uint8)
    for _ in range(int(rng.integers(1, 25))):
        ink, thick = int(rng.integers(256)), int(rng.choice([-1, 1, 2, 4]))
        points = rng.integers(0, side, (int(rng.integers(2, 7)), 2)).astype(np.int32)
        first, second = (int(v) for v in points[0]), (int(v) for v in points[1])
        kind = int(rng.integers(4))
        if kind == 0 and thick < 0:
            cv2.fillPoly(canvas, [points], (ink,))
        elif kind == 1:
            axes = (int(rng.integers(2, side // 2)), int(rng.integers(2, side // 2)))
            cv2.ellipse(canvas, tuple(first), axes, rng.uniform(0, 180), 0, 360, (ink,), thick)
        elif kind == 2:  # noqa: PLR2004 - the third kind
            cv2.rectangle(canvas, tuple(first), tuple(second), (ink,), thick)
        else:
            cv2.polylines(canvas, [points], bool(rng.integers(2)), (ink,), abs(thick))
    return canvas


def _text(side: int, rng: Rng) -> Image8:
    """Lines of text, in columns or a table: a document or a screen."""
    dark = rng.random() < 0.25  # noqa: PLR2004 - a quarter is white on black
    canvas = np.full((side, side), 255, np.uint8)
    size = rng.uniform(0.2, 0.8)
    step, font = max(5, int(size * 24)), int(rng.choice([0, 1, 2, 3, 4, 6]))
    for y in range(int(rng.integers(4, 20)), side, step + int(rng.integers(1, 6))):
        if rng.random() < 0.12:  # noqa: PLR2004 - paragraphs end
            continue
        words = "".join(_LETTERS[i] for i in rng.integers(0, len(_LETTERS), int(rng.integers(5, 60))))
        cv2.putText(canvas, words, (int(rng.integers(2, 16)), y), font, size, (int(rng.integers(120)),), 1, cv2.LINE_AA)
    for _ in range(int(rng.integers(0, 6)) if rng.random() < 0.5 else 0):  # noqa: PLR2004 - half have boxes
        a, b = rng.integers(0, side, (2, 2))
        corner, other = (int(a[0]), int(a[1])), (int(b[0]), int(b[1]))
        cv2.rectangle(canvas, corner, other, (int(rng.integers(256)),), int(rng.choice([1, 1, -1])))
    return np.asarray(cv2.bitwise_not(canvas) if dark else canvas, np.uint8)


def _plot(side: int, rng: Rng) -> Image8:
    """Curves and bars on axes."""
    canvas = np.full((side, side), 255, np.uint8)
    left, bottom = int(side * rng.uniform(0.05, 0.2)), int(side * rng.uniform(0.8, 0.95))
    cv2.line(canvas, (left, 5), (left, bottom), (0,), 1)
    cv2.line(canvas, (left, bottom), (side - 5, bottom), (0,), 1)
    x = np.arange(left, side - 5)
    for _ in range(int(rng.integers(1, 6))):
        walk = np.cumsum(rng.standard_normal(len(x))) if rng.random() < 0.5 else np.sin(x * rng.uniform(0.02, 0.3))  # noqa: PLR2004 - either
        y = np.interp(walk, (walk.min(), walk.max() + 1e-6), (bottom - 3, 10))
        ink = (int(rng.integers(200)),)
        if rng.random() < 0.3:  # noqa: PLR2004 - some are bars
            for k in range(0, len(x), int(rng.integers(6, 20))):
                cv2.rectangle(canvas, (int(x[k]), int(y[k])), (int(x[k]) + 4, bottom), ink, -1)
        else:
            cv2.polylines(canvas, [np.stack([x, y], 1).astype(np.int32)], False, ink, int(rng.integers(1, 3)))  # noqa: FBT003 - of opencv
    return canvas


def _rings(side: int, rng: Rng) -> Image8:
    """Smooth bodies within a body, as in a CT of a limb or a test object; none of them is a brain."""
    values = np.zeros((side, side), np.float32)
    y, x = np.mgrid[:side, :side].astype(np.float32) / side - 0.5
    for index in range(int(rng.integers(2, 9))):
        reach = 0.45 if index == 0 else 0.25
        a, b = rng.uniform(0.05, reach, 2) if index else rng.uniform(0.25, reach, 2)
        cx, cy = rng.uniform(-0.25, 0.25, 2) * (index > 0)
        inside = 1.0 - np.hypot((x - cx) / a, (y - cy) / b)
        values += np.clip(inside * rng.uniform(3, 40), 0, 1) * rng.uniform(-0.5, 1.0 if index else 2.0)
    grain = rng.standard_normal(values.shape).astype(np.float32) * rng.uniform(0, 0.05)
    return _uint8(np.asarray(np.clip(values, 0, None) + grain, np.float32))


_KINDS: tuple[Callable[[int, Rng], Image8], ...] = (_noise, _waves, _shapes, _text, _plot, _rings)


def _tiles(scan: Image8, side: int, rng: Rng) -> Image8:
    """A scan cut into tiles that are turned and put together in another order."""
    count = int(rng.integers(3, 7))
    size = scan.shape[0] // count
    order = rng.permutation(count * count)
    tiles = [scan[r * size : (r + 1) * size, c * size : (c + 1) * size] for r in range(count) for c in range(count)]
    turned = [np.rot90(tiles[i], int(rng.integers(4))) for i in order]
    rows = [np.concatenate(turned[r * count : (r + 1) * count], axis=1) for r in range(count)]
    return np.asarray(cv2.resize(np.concatenate(rows), (side, side), interpolation=cv2.INTER_LINEAR), np.uint8)
