"""Drawn lesions: a healthy slice becomes one with something in it that does not belong there.

In the public sets nearly every scan without a tumour is T2 and nearly every tumour T1 with contrast, so a network
learns the sequence instead of the disease, and calls a tumour on T2 healthy. A lesion drawn into a healthy slice breaks
that: same sequence, same scanner, another answer. Which kind of tumour it is nobody can say, so the target is only
"some tumour". The idea is that of synthetic anomalies for supervision (Li et al.,
"CutPaste", CVPR 2021; Billot et al., "SynthSeg", MedIA 2023, for generating contrast at random).

A lesion has a smooth random outline, is brighter or darker than its surroundings or has a bright rim around a dark
core, carries a slow texture, may be ringed by oedema, and may push the tissue around it aside.
"""

from __future__ import annotations

import cv2
import numpy as np

from edgebrain.stress.scalp import depth_in_head
from edgebrain.types import Float32, Image8

Rng = np.random.Generator

_INSIDE = 0.13
"""Share of the head's size that is peeled off its outline: skin, fat and skull carry no lesion."""
_FADE = 0.05
"""Share of the head's size over which a lesion fades in from there: an edge that always runs along the outline of the
head would tell a network where something was drawn."""


def draw_lesion(image: Image8, rng: Rng) -> Image8 | None:
    """Draw one lesion into a slice.

    Args:
        image: uint8 [H, W], a prepared slice without a tumour.
        rng: Source of every random number.

    Returns:
        uint8 [H, W]; None where the slice shows no inside of a head to draw into, or the lesion could not be seen.
    """
    allowed = _allowed(image)
    inside = allowed > 0
    rows, columns = np.nonzero(allowed >= 0.5)  # noqa: PLR2004 - further out the smallest would hardly be seen
    if not len(rows):
        return None
    pick = int(rng.integers(len(rows)))
    center = (float(columns[pick]), float(rows[pick]))
    radius = float(np.sqrt(inside.sum() / np.pi) * rng.uniform(0.12, 0.45))
    if rng.random() < 0.5:  # noqa: PLR2004 - every second one pushes
        image = _push(image, center, radius, rng.uniform(0.1, 0.35))
    depth = _depth(image.shape, center, radius, rng)
    values = image.astype(np.float32)
    level = _Levels(image, inside)
    if rng.random() < 0.5:  # noqa: PLR2004 - every second one swells
        halo = _soft(depth + rng.uniform(0.3, 0.9), rng.uniform(0.1, 0.3)) * allowed
        values = _blend(values, level.away_from(values, depth, rng), halo * rng.uniform(0.3, 0.8))
    edge = rng.uniform(0.03, 0.2)
    core = _soft(depth, edge) * allowed
    texture = _noise(image.shape, int(rng.integers(6, 20)), rng) * rng.uniform(0.0, 0.25) * level.span
    values = _blend(values, level.away_from(values, depth, rng) + texture, core * rng.uniform(0.6, 1.0))
    if rng.random() < 0.35:  # noqa: PLR2004 - about a third have a rim
        rim = core * _soft(rng.uniform(0.15, 0.4) - depth, edge)
        values = _blend(values, np.full_like(values, level.high), rim * rng.uniform(0.5, 1.0))
    drawn = np.asarray(np.clip(values + 0.5, 0, 255), np.uint8)
    return None if np.array_equal(drawn, image) else drawn


class _Levels:
    """Grey levels of the inside of a head."""

    def __init__(self, image: Image8, inside: np.ndarray[tuple[int, int], np.dtype[np.bool_]]) -> None:
        self.low, self.high = (float(v) for v in np.percentile(image[inside], (3, 98)))
        self.span = max(20.0, self.high - self.low)

    def away_from(self, values: Float32, depth: Float32, rng: Rng) -> Float32:
        """A level that differs from what lies under the lesion by a fifth to all of the range."""
        under = float(values[depth > 0].mean()) if (depth > 0).any() else self.low
        step = self.span * rng.uniform(0.2, 0.9) * (1 if rng.random() < 0.7 else -1)  # noqa: PLR2004 - mostly bright
        if not self.low - 0.2 * self.span <= under + step <= self.high + 0.3 * self.span:
            step = -step
        return np.full_like(values, np.clip(under + step, 0, 255))


def _allowed(image: Image8) -> Float32:
    """How much of a lesion a pixel may show: nothing in skin, skull and air, everything well inside."""
    depth = depth_in_head(image)
    if depth is None:
        return np.zeros(image.shape, np.float32)
    return np.asarray(np.clip((depth - _INSIDE) / _FADE, 0, 1), np.float32)


def _depth(shape: tuple[int, ...], center: tuple[float, float], radius: float, rng: Rng) -> Float32:
    """How far inside the lesion a pixel lies, in radii; 0 on its wavy outline, negative outside."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    angle, stretch = rng.uniform(0, np.pi), np.exp(rng.uniform(-0.35, 0.35))
    dx, dy = x - center[0], y - center[1]
    along = (np.cos(angle) * dx + np.sin(angle) * dy) / (radius * stretch)
    across = (-np.sin(angle) * dx + np.cos(angle) * dy) / (radius / stretch)
    waves = _noise(shape, max(3, int(min(shape) / max(radius, 4))), rng) * rng.uniform(0.0, 0.35)
    return np.asarray(1.0 - np.hypot(along, across) + waves, np.float32)


def _noise(shape: tuple[int, ...], cells: int, rng: Rng) -> Float32:
    coarse = rng.standard_normal((cells, cells)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC), np.float32)


def _soft(depth: Float32, edge: float) -> Float32:
    return np.asarray(np.clip(depth / edge + 0.5, 0, 1), np.float32)


def _blend(below: Float32, above: Float32, share: Float32) -> Float32:
    return np.asarray(below + (above - below) * share, np.float32)


def _push(image: Image8, center: tuple[float, float], radius: float, amount: float) -> Image8:
    """Magnify around the center, which moves the tissue outwards, less and less with distance (mass effect)."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]].astype(np.float32)
    dx, dy = x - center[0], y - center[1]
    shrink = 1.0 - amount * np.exp(-(dx * dx + dy * dy) / (2 * (1.5 * radius) ** 2))
    moved = cv2.remap(
        image,
        np.asarray(center[0] + dx * shrink, np.float32),
        np.asarray(center[1] + dy * shrink, np.float32),
        cv2.INTER_LINEAR,
    )
    return np.asarray(moved, np.uint8)
