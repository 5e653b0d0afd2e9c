"""How deep in the head a pixel lies, and what is left of a slice without scalp and skull.

Many collections hold brains alone: a tool has taken off what surrounds them. No such tool comes with edgebrain, because
they are networks of many megabytes; peeling the outline evenly is near enough to tell whether a model needs a skull
around a tumour. It is not the real thing: it leaves the neck in sagittal slices, and may cut what grows at the skull.
"""

from __future__ import annotations

import cv2
import numpy as np

from edgebrain.types import Float32, Image8

_COARSE = 64
"""Longer side in pixels at which the head is looked for; an outline needs no detail."""
_LEAST = _COARSE // 4
"""Pixels of that side; a smaller head is none."""


def depth_in_head(image: Image8) -> Float32 | None:
    """How far inside the head every pixel lies.

    Args:
        image: uint8 [H, W], of a head that is brighter than what surrounds it.

    Returns:
        float32 [H, W], the distance from the head's outline as a share of its size (the root of its area, so about 0.5
        in the middle), 0 outside; None where no head can be seen.
    """
    rows, columns = image.shape
    scale = _COARSE / max(rows, columns)
    size = max(1, round(columns * scale)), max(1, round(rows * scale))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    between, _ = cv2.threshold(small, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    # Half of it, because a bright lesion or scalp may be what the threshold parts from all the rest.
    _, head = cv2.threshold(small, between / 2, 255, cv2.THRESH_BINARY)
    bright = int(np.sqrt((head > 0).sum()))
    if bright < _LEAST:
        return None
    framed = cv2.copyMakeBorder(head, _LEAST, _LEAST, _LEAST, _LEAST, cv2.BORDER_CONSTANT)
    closing = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (bright // 8 * 2 + 1,) * 2)
    closed = cv2.morphologyEx(framed, cv2.MORPH_CLOSE, closing)
    outlines, _ = cv2.findContours(closed, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    whole = cv2.drawContours(np.zeros_like(closed), outlines, -1, (255,), cv2.FILLED)  # a dark brain is no hole
    distance = cv2.distanceTransform(whole, cv2.DIST_L2, 3)[_LEAST:-_LEAST, _LEAST:-_LEAST]
    wide = cv2.resize(distance, (columns, rows), interpolation=cv2.INTER_LINEAR)
    return np.asarray(wide / np.sqrt((whole > 0).sum()), np.float32)
