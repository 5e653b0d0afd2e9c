"""Drawn lesions: a healthy slice becomes one with something in it that does not belong there.

In the public sets nearly every scan without a tumour is T2 and nearly every tumour T1 with contrast, so a network
learns the sequence instead of the disease, and calls a tumour on T2 healthy. A lesion drawn into a healthy slice breaks
that: same sequence, same scanner, another answer. Which kind of tumour it is nobody can say, so the target is only
"some tumour". The idea is that of synthetic anomalies for supervision (Li et al.,
"CutPaste", CVPR 2021; Billot et al., "SynthSeg", MedIA 2023, for generating contrast at random).

A lesion is a union of lobes with a ragged outline. Its core is brighter or darker than its surroundings, carries a
texture of several scales, may be hollow (necrosis, cysts) and may have a rim of uneven thickness, as where contrast is
taken up. Around it, or alone, lies oedema that keeps to one tissue and so spreads in fingers. Every second one pushes
the tissue around it aside.
"""

from __future__ import annotations

import cv2
import numpy as np

from edgebrain.stress.scalp import depth_in_head
from edgebrain.types import Float32, Image8

Rng = np.random.Generator
Mask = np.ndarray[tuple[int, int], np.dtype[np.bool_]]

_INSIDE = 0.13
"""Share of the head's size that is peeled off its outline: skin, fat and skull carry no lesion."""
_ATTEMPTS = 4
"""A lesion may come out like what lies under it; then another one is drawn, so often at most."""
_VISIBLE = 0.1
"""Share of the range of grey levels by which a lesion must differ from the slice, over the area below."""
_VISIBLE_AREA = 0.01
"""Share of the inside of the head."""
_OEDEMA = 0.6
"""Share of the lesions around which tissue swells."""
_DIFFUSE = 0.15
"""Share that consists of swelling alone."""
_HOLLOW = 0.4
_RIM = 0.4
_ALONG_TISSUE = 0.7
"""Share of the oedemas that keep to one tissue."""
_HALF = 0.5


def draw_lesion(image: Image8, rng: Rng) -> Image8 | None:
    """Draw one lesion into a slice.

    Args:
        image: uint8 [H, W], a prepared slice without a tumour.
        rng: Source of every random number.

    Returns:
        uint8 [H, W]; None where the slice shows no inside of a head to draw into, or the lesion could not be seen.
    """
    inside = _inside_of_head(image)
    if not inside.any():
        return None
    for _ in range(_ATTEMPTS):
        below, drawn = _one_lesion(image, inside, rng)
        if _can_be_seen(below, drawn, inside):
            return drawn
    return None


def _one_lesion(image: Image8, inside: Mask, rng: Rng) -> tuple[Image8, Image8]:
    """The slice with tissue pushed aside or not, and the same with a lesion."""
    rows, columns = np.nonzero(inside)
    pick = int(rng.integers(len(rows)))
    center = (float(columns[pick]), float(rows[pick]))
    radius = float(np.sqrt(inside.sum() / np.pi) * rng.uniform(0.12, 0.42))
    if rng.random() < _HALF:
        image = _push(image, center, radius, rng.uniform(0.1, 0.35))
    depth = _lobes(image.shape, center, radius, rng)
    canvas = _Canvas(image, inside)
    if rng.random() < _OEDEMA:
        canvas.swell(depth, rng)
    if rng.random() < _DIFFUSE:
        canvas.swell(np.asarray(depth + 0.2, np.float32), rng)
    else:
        canvas.fill(depth, rng)
    return image, np.asarray(np.clip(canvas.values + 0.5, 0, 255), np.uint8)


def _can_be_seen(below: Image8, drawn: Image8, inside: Mask) -> bool:
    difference = cv2.GaussianBlur(cv2.absdiff(drawn, below), (0, 0), 1.5)
    seen = np.count_nonzero(difference[inside] > _VISIBLE * _span(below, inside)[1])
    return bool(seen >= max(1.0, _VISIBLE_AREA * inside.sum()))


def _span(image: Image8, inside: Mask) -> tuple[float, float]:
    """Of the grey levels inside a head, without a few pixels: the darkest, and how far the brightest is from it."""
    low, high = (float(v) for v in np.percentile(image[inside], (3, 98)))
    return low, max(20.0, high - low)


class _Canvas:
    """A slice that is drawn on.

    Attributes:
        values: float32 [H, W], grey levels so far.
    """

    def __init__(self, image: Image8, inside: Mask) -> None:
        self.values = image.astype(np.float32)
        self._image = image
        self._low, self._span = _span(image, inside)
        soft = cv2.GaussianBlur(inside.astype(np.float32), (0, 0), 2.0)
        self._inside = np.asarray(soft * inside, np.float32)  # fades towards the skull, and never reaches it

    def fill(self, depth: Float32, rng: Rng) -> None:
        """Draw a core, perhaps hollow, perhaps with a rim.

        Args:
            depth: How far inside the lesion each pixel lies, in radii.
            rng: Source of every random number.
        """
        shape, edge = self.values.shape, rng.uniform(0.03, 0.25)
        core = _soft(depth, edge) * self._inside
        texture = _fractal(shape, int(rng.integers(6, 30)), rng) * rng.uniform(0.0, 0.35) * self._span
        detail = self.values - cv2.GaussianBlur(self.values, (0, 0), 4.0)  # what lies there may shine through
        self._blend(self._another_level(depth, rng) + texture + rng.uniform(0.0, 0.5) * detail, core, rng)
        if rng.random() < _HOLLOW:
            caves = _soft(_fractal(shape, int(rng.integers(5, 22)), rng, 2) - np.float32(rng.uniform(-0.3, 0.8)), 0.4)
            deep = _soft(np.asarray(depth - rng.uniform(0.1, 0.4), np.float32), 0.15)
            self._blend(self._another_level(depth, rng), caves * deep * self._inside, rng)
        if rng.random() < _RIM:
            thickness = rng.uniform(0.12, 0.4) * np.exp(_HALF * _fractal(shape, int(rng.integers(5, 15)), rng, 2))
            rim = core * _soft(np.asarray(thickness - depth, np.float32), edge)
            self._blend(self._low + self._span * rng.uniform(0.8, 1.2), rim, rng)
        if rng.random() < _HALF:
            blurred = np.asarray(cv2.GaussianBlur(self.values, (0, 0), rng.uniform(0.3, 1.0)), np.float32)
            self.values = _between(self.values, blurred, core)

    def swell(self, depth: Float32, rng: Rng) -> None:
        """Draw oedema around and below a lesion; the texture of the tissue stays, more or less.

        Args:
            depth: How far inside the lesion each pixel lies, in radii.
            rng: Source of every random number.
        """
        share = _soft(np.asarray(depth + rng.uniform(0.3, 1.2), np.float32), rng.uniform(0.2, 0.8)) * self._inside
        region = share > 0.3  # noqa: PLR2004 - where it is clearly there
        if not region.any():
            return
        if rng.random() < _ALONG_TISSUE:
            smooth = cv2.GaussianBlur(self._image, (0, 0), rng.uniform(0.8, 2.0)).astype(np.float32)
            level = np.percentile(smooth[region], rng.uniform(20, 80))
            width = self._span * rng.uniform(0.08, 0.25)
            tissue = np.asarray(np.exp(-((smooth - level) ** 2) / (2 * width * width)), np.float32)
            share = share * np.clip(1.3 * cv2.GaussianBlur(tissue, (0, 0), rng.uniform(0.8, 2.5)), 0, 1)
        under = float(self.values[region].mean())
        step = self._span * rng.uniform(0.2, 0.7) * (1 if rng.random() < 0.75 else -1)  # noqa: PLR2004 - mostly bright
        kept = rng.uniform(0.1, 0.8) * (self.values - under)
        grain = 0.05 * self._span * _noise(self.values.shape, int(rng.integers(8, 30)), rng)
        self._blend(under + step + kept + grain, share, rng)

    def _another_level(self, depth: Float32, rng: Rng) -> float:
        """A level that differs from what lies under the lesion by a fifth to all of the range."""
        under = float(self.values[depth > 0].mean()) if (depth > 0).any() else self._low
        step = self._span * rng.uniform(0.2, 0.9) * (1 if rng.random() < 0.7 else -1)  # noqa: PLR2004 - mostly bright
        if not self._low - 0.2 * self._span <= under + step <= self._low + 1.3 * self._span:
            step = -step
        return float(np.clip(under + step, 0, 255))

    def _blend(self, above: Float32 | float, share: Float32, rng: Rng) -> None:
        self.values = _between(self.values, above, np.asarray(share * rng.uniform(0.6, 1.0), np.float32))


def _between(below: Float32, above: Float32 | float, share: Float32) -> Float32:
    return np.asarray(below + (above - below) * share, np.float32)


def _inside_of_head(image: Image8) -> Mask:
    depth = depth_in_head(image)
    return np.zeros(image.shape, np.bool_) if depth is None else np.asarray(depth > _INSIDE, np.bool_)


def _lobes(shape: tuple[int, ...], center: tuple[float, float], radius: float, rng: Rng) -> Float32:
    """How far inside the lesion a pixel lies, in radii; 0 on its ragged outline, negative outside."""
    depth = _oval(shape, center, radius, rng)
    for _ in range(int(rng.choice([0, 0, 1, 2, 3]))):
        angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 1.0) * radius
        beside = (center[0] + distance * np.cos(angle), center[1] + distance * np.sin(angle))
        depth = np.maximum(depth, _oval(shape, beside, radius * rng.uniform(0.35, 0.8), rng))
    return np.asarray(depth + rng.uniform(0.0, 0.35) * _fractal(shape, _cells(shape, radius), rng), np.float32)


def _oval(shape: tuple[int, ...], center: tuple[float, float], radius: float, rng: Rng) -> Float32:
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    angle, stretch = rng.uniform(0, np.pi), np.exp(rng.uniform(-0.35, 0.35))
    dx, dy = x - center[0], y - center[1]
    along = (np.cos(angle) * dx + np.sin(angle) * dy) / (radius * stretch)
    across = (-np.sin(angle) * dx + np.cos(angle) * dy) / (radius / stretch)
    waves = _noise(shape, _cells(shape, radius), rng) * rng.uniform(0.0, 0.35)
    return np.asarray(1.0 - np.hypot(along, across) + waves, np.float32)


def _cells(shape: tuple[int, ...], radius: float) -> int:
    """Cells of a noise that wavers about as fast as a lesion is wide."""
    return max(3, int(min(shape) / max(radius, 4)))


def _noise(shape: tuple[int, ...], cells: int, rng: Rng) -> Float32:
    coarse = rng.standard_normal((cells, cells)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC), np.float32)


def _fractal(shape: tuple[int, ...], cells: int, rng: Rng, octaves: int = 3) -> Float32:
    """Noise of several scales, each twice as fine and 0.6 times as strong as the one before; of unit variance."""
    weights = [0.6**k for k in range(octaves)]
    waves = [weight * _noise(shape, cells * 2**k, rng) for k, weight in enumerate(weights)]
    return np.asarray(np.sum(waves, axis=0) / np.linalg.norm(weights), np.float32)


def _soft(depth: Float32, edge: float) -> Float32:
    return np.asarray(np.clip(depth / edge + 0.5, 0, 1), np.float32)


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
