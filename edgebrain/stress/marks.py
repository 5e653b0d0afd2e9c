"""What viewers and readers draw onto a scan."""

from __future__ import annotations

import numpy as np

from edgebrain.imaging import cv2
from edgebrain.stress.levels import black_and_white
from edgebrain.types import AnyPixels

_FONT_SIDE = 480  # the side of an image at which the burned-in font has its own size


def text(pixels: AnyPixels, rng: np.random.Generator) -> AnyPixels:
    """What a viewer writes into the corners."""
    window = black_and_white(pixels)
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


def annotated(pixels: AnyPixels, rng: np.random.Generator) -> AnyPixels:
    """An arrow, the box of a measurement and a line with ends, white, across the head."""
    window = black_and_white(pixels)
    if window is None:
        return pixels
    rows, columns = pixels.shape
    thickness = max(1, round(max(rows, columns) / 150))
    drawn = np.zeros((rows, columns), np.uint8)
    for mark in (_arrow, _box, _caliper):
        start, end = (
            tuple(int(v) for v in rng.uniform(*ends, 2) * (columns, rows)) for ends in ((0.2, 0.5), (0.4, 0.8))
        )
        mark(drawn, start, end, thickness)
    changed = np.array(pixels)
    changed[drawn > 0] = np.asarray(window[1]).astype(pixels.dtype)
    return changed


Point = tuple[int, ...]


def _arrow(drawn: AnyPixels, start: Point, end: Point, thickness: int) -> None:
    cv2.arrowedLine(drawn, start, end, 255, thickness)


def _box(drawn: AnyPixels, start: Point, end: Point, thickness: int) -> None:
    cv2.rectangle(drawn, start, end, 255, thickness)


def _caliper(drawn: AnyPixels, start: Point, end: Point, thickness: int) -> None:
    cv2.line(drawn, start, end, 255, thickness)
    for point in (start, end):
        cv2.drawMarker(drawn, point, 255, cv2.MARKER_CROSS, 8 * thickness, thickness)
