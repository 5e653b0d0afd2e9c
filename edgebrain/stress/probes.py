"""Shortcut probes: pictures in which the tumour is gone, or in which nothing but a possible shortcut is left.

A classifier can be right for a wrong reason: the view, the outline of the head, a frame or a scanner's background may
tell the class of a published data set (Geirhos et al., "Shortcut learning in deep neural networks", Nature Machine
Intelligence 2020). All probes work on the prepared image, the model's own input, and need no training.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edgebrain.head import find_head
from edgebrain.imaging import cv2
from edgebrain.types import Float32, Image8

Mask = npt.NDArray[np.bool_]

HOT = 0.5
"""Share of the way from the lowest to the highest activation above which a pixel belongs to the hottest region."""
MAX_REGION = 0.15
"""Largest share of the head that is masked: hiding more would say little about what is under it."""
COARSE = 16
"""Pixels that become one in the coarse view."""

_CONTRAST = 0.10  # of the grey range, as in the search for the head
_MIN_HEAD = 0.05  # share of the image; less is no head


class Regions(NamedTuple):
    """Where a model looks, and an equally large place elsewhere in the head; bool [H, W] each."""

    hot: Mask
    control: Mask


def head_mask(image: Image8) -> Mask:
    """The head without its surroundings, holes filled.

    Args:
        image: uint8 [H, W] as prepared, of at least 32 pixels a side.

    Returns:
        bool [H, W]; everything where no head stands out from the background.
    """
    background = find_head(image).background
    tolerance = max(5.0, _CONTRAST * (int(image.max()) - int(image.min())))
    differs = cv2.absdiff(image, np.full_like(image, background)) > tolerance
    kernel = np.ones((3, 3), np.uint8)
    parts = cv2.morphologyEx(differs.astype(np.uint8), cv2.MORPH_OPEN, kernel)
    parts = cv2.morphologyEx(parts, cv2.MORPH_CLOSE, kernel, iterations=2)
    outlines, _ = cv2.findContours(parts, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros_like(image)
    if outlines:
        cv2.drawContours(filled, [max(outlines, key=cv2.contourArea)], -1, 1, cv2.FILLED)
    return filled > 0 if filled.mean() >= _MIN_HEAD else np.ones(image.shape, np.bool_)


def find_regions(activation: Float32, head: Mask, rng: np.random.Generator) -> Regions | None:
    """The region of highest activation, and a control region.

    Args:
        activation: float [h, w], the class-activation map of one class (Zhou et al., "Learning deep features for
            discriminative localization", CVPR 2016) on the model's own grid over the prepared image.
        head: bool [H, W].
        rng: Chooses where in the head the control region lies.

    Returns:
        The part that holds the peak, above HOT of the map's range and at most MAX_REGION of the head, and as many
        pixels of the head elsewhere, as round as there is room. None where the map is flat, or there is no such room.
    """
    rows, columns = head.shape
    heat = np.asarray(cv2.resize(activation, (columns, rows), interpolation=cv2.INTER_CUBIC), np.float32)
    low, high = float(heat.min()), float(heat.max())
    if not high > low:
        return None
    size = max(1, int(MAX_REGION * head.sum()))
    enough = max(low + HOT * (high - low), float(np.partition(heat.ravel(), -size)[-size]))
    parts = cv2.connectedComponents((heat >= enough).astype(np.uint8))[1]
    hot = parts == parts.flat[int(heat.argmax())]
    # One pixel of distance, so that the two fills do not touch.
    free = head & (cv2.dilate(hot.astype(np.uint8), np.ones((3, 3), np.uint8)) == 0)
    area = int(hot.sum())
    if int(free.sum()) < area:
        return None
    return Regions(hot, _round_region(free, area, rng))


def _round_region(free: Mask, area: int, rng: np.random.Generator) -> Mask:
    padded = np.pad(free, 1).astype(np.uint8)  # the image's edge is an edge of what is free
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1]
    places = np.flatnonzero(depth >= np.sqrt(area / np.pi))
    place = int(rng.choice(places)) if places.size else int(depth.argmax())
    row, column = divmod(place, free.shape[1])
    rows, columns = np.ogrid[: free.shape[0], : free.shape[1]]
    distance = np.where(free, (rows - row) ** 2 + (columns - column) ** 2, np.iinfo(np.int64).max)
    region = np.zeros(free.size, np.bool_)
    region[np.argsort(distance, axis=None, kind="stable")[:area]] = True
    return region.reshape(free.shape)


def fill(image: Image8, region: Mask, head: Mask) -> Image8:
    """Hide a region under the local mean of the head around it.

    Normalised convolution (Knutsson & Westin, CVPR 1993): a Gaussian mean over known pixels only, as wide as the region
    is deep, so that the fill has neither an edge nor a texture to be recognised by.

    Args:
        image: uint8 [H, W].
        region: bool [H, W], what is hidden.
        head: bool [H, W], where the mean may be taken; what is left of the image where the region covers all of it.

    Returns:
        uint8 [H, W], unchanged outside the region.
    """
    known = head & ~region if (head & ~region).any() else ~region
    if not region.any() or not known.any():
        return np.array(image)
    padded = np.pad(region, 1).astype(np.uint8)
    sigma = max(2.0, float(cv2.distanceTransform(padded, cv2.DIST_L2, 5).max()))
    weights = known.astype(np.float64)
    mass = cv2.GaussianBlur(weights, (0, 0), sigma)
    total = cv2.GaussianBlur(weights * image, (0, 0), sigma)
    near = mass > 1e-9  # noqa: PLR2004 - beyond the reach of the Gaussian there is only rounding
    mean = np.where(near, total / np.where(near, mass, 1.0), image[known].mean())
    return np.asarray(np.where(region, np.clip(np.round(mean), 0, 255), image), np.uint8)


def outline_only(image: Image8, head: Mask) -> Image8:
    """Everything inside the head replaced by its mean: the outline, the background and a frame are left."""
    changed = np.array(image)
    changed[head] = round(float(image[head].mean()))
    return changed


def coarse_view(image: Image8) -> Image8:
    """One pixel of COARSE x COARSE, enlarged again: gross shape and view are left."""
    rows, columns = image.shape
    small_size = (max(1, columns // COARSE), max(1, rows // COARSE))
    small = cv2.resize(image, small_size, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (columns, rows), interpolation=cv2.INTER_LINEAR), np.uint8)


def without_background(image: Image8, head: Mask) -> Image8:
    """Everything outside the head black."""
    return np.asarray(np.where(head, image, 0), np.uint8)
