"""Drawn phantoms: pictures with the rough look of a head MRI slice, for demos and tests. They are not scans.

Ellipses stand for scalp, skull, brain, ventricles and, on request, a bright round lesion (after Shepp & Logan, "The
Fourier reconstruction of a head section", 1974), with texture, a smooth bias field and noise. No patient was involved,
and what a model says of a phantom means nothing about its accuracy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgebrain.errors import UsageError
from edgebrain.imaging import cv2
from edgebrain.types import Image8

LESIONS = ("none", "hemisphere", "edge", "base")
"""Where a bright lesion is drawn: nowhere, inside a hemisphere, at the brain's edge, at the skull base."""

MIN_SIDE = 32
"""Pixels; what preprocessing needs, too."""

_LESION_PLACES = {"hemisphere": (0.30, -0.18), "edge": (-0.52, -0.42), "base": (0.0, 0.30)}


@dataclass(frozen=True)
class PhantomSpec:
    """What is drawn.

    Attributes:
        seed: Seed of position, size, texture and noise.
        lesion: One of LESIONS.
        side: Pixels a side.
        t2_like: Bright fluid and dark white matter, instead of the reverse.
    """

    seed: int = 0
    lesion: str = "none"
    side: int = 256
    t2_like: bool = False


def draw_phantom(spec: PhantomSpec) -> Image8:
    """Draw a phantom.

    Args:
        spec: What is drawn; the same spec gives the same picture with the same OpenCV version.

    Returns:
        uint8 [side, side], bright is bright.

    Raises:
        UsageError: There is no such lesion, or the side is too small to draw on.
    """
    if spec.lesion not in LESIONS:
        raise UsageError(f"There is no lesion {spec.lesion!r}.", remedy=f"Known: {', '.join(LESIONS)}.")
    if spec.side < MIN_SIDE:
        raise UsageError(f"A phantom of {spec.side} pixels a side shows nothing; {MIN_SIDE} are needed.")
    rng = np.random.default_rng(spec.seed)
    side = spec.side
    canvas = np.zeros((side, side), np.float32)
    center = np.array([side / 2, side / 2]) + rng.uniform(-0.03, 0.03, 2) * side
    half = np.array([0.36, 0.44]) * side * rng.uniform(0.92, 1.05)
    tilt = float(rng.uniform(-8, 8))

    def ellipse(scale: float, value: float, offset: tuple[float, float] = (0.0, 0.0), flat: float = 1.0) -> None:
        place = center + np.array(offset) * half
        axes = (round(half[0] * scale), round(half[1] * scale * flat))
        cv2.ellipse(canvas, (round(place[0]), round(place[1])), axes, tilt, 0, 360, (value,), -1, cv2.LINE_AA)

    fluid, white, grey = (235.0, 95.0, 140.0) if spec.t2_like else (30.0, 125.0, 95.0)
    ellipse(1.0, 170.0)  # scalp
    ellipse(0.93, 18.0)  # skull
    ellipse(0.87, fluid * 0.8)  # fluid around the brain
    ellipse(0.84, grey)
    ellipse(0.70, white)
    for sideways in (-0.16, 0.16):
        ellipse(0.11, fluid, (sideways, -0.05), flat=2.6)  # lateral ventricles
    _texture(canvas, rng)
    if spec.lesion != "none":
        offset = np.array(_LESION_PLACES[spec.lesion]) + rng.uniform(-0.04, 0.04, 2)
        ellipse(0.17 * float(rng.uniform(0.8, 1.3)), 225.0, (float(offset[0]), float(offset[1])))
    canvas = np.asarray(cv2.GaussianBlur(canvas, (0, 0), side / 220), np.float32)
    canvas *= _bias_field(side, rng)
    canvas += rng.standard_normal(canvas.shape, np.float32) * np.float32(3.0)
    return np.asarray(np.clip(canvas, 0, 255), np.uint8)


def _texture(canvas: np.ndarray[tuple[int, int], np.dtype[np.float32]], rng: np.random.Generator) -> None:
    # Folds: smooth noise, only inside the brain's grey levels, so that the background stays black.
    side = canvas.shape[0]
    coarse = rng.standard_normal((side // 8, side // 8), np.float32)
    folds = np.asarray(cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC), np.float32)
    inside = canvas > 60  # noqa: PLR2004 - above skull and fluid
    canvas[inside] += folds[inside] * 14


def _bias_field(side: int, rng: np.random.Generator) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    coarse = rng.uniform(0.85, 1.1, (3, 3)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC), np.float32)


SAMPLES = tuple(
    PhantomSpec(seed=seed, lesion=lesion, t2_like=t2)
    for seed, (lesion, t2) in enumerate(
        [("none", True), ("none", False), ("hemisphere", False), ("edge", False), ("base", False), ("hemisphere", True)]
    )
)
"""The phantoms of the demo and of the bundle's golden inputs."""


def sample_name(spec: PhantomSpec) -> str:
    """File name of a sample: says that it is a drawing, and of what."""
    return f"phantom-{spec.seed}-{'t2' if spec.t2_like else 't1'}-lesion-{spec.lesion}.png"
