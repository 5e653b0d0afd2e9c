"""Random changes of a prepared scan, so that the network cannot lean on contrast, orientation, framing or quality.

Scanners, sequences and export chains change how a slice looks without changing what it shows. Intensities get random
curves (monotone, sometimes not: Zhou et al., "Models Genesis", 2019), inversion, local contrast and smooth bias fields;
the geometry gets flips, turns, zoom and squeeze; the picture gets blur, noise, lost resolution, JPEG blocks and drawn
marks. Every number comes from a generator that is seeded by (seed, epoch, sample), so a resumed run repeats nothing and
skips nothing.
"""

from __future__ import annotations

import cv2
import numpy as np

from edgebrain.types import Float32, Image8

from .artefacts import add_artefacts
from .config import AugmentConfig
from .transforms import plain_change

Rng = np.random.Generator


def augment(image: Image8, side: tuple[int, int], config: AugmentConfig, rng: Rng) -> Image8:
    """Change a scan at random.

    Args:
        image: uint8 [S, S], prepared at the canvas size of the style.
        side: Output rows and columns.
        config: Probabilities and strengths.
        rng: Source of every random number.

    Returns:
        uint8 [rows, columns].
    """
    if config.style != "edgebrain":
        return plain_change(image, side, config, rng)
    image = add_artefacts(image, config, rng)
    out = _geometry(image, side, config, rng)
    out = _intensity(out, config, rng)
    out = _quality(out, config, rng)
    if rng.random() < config.marks:
        out = _marks(out, rng)
    return np.ascontiguousarray(out)


def _geometry(image: Image8, side: tuple[int, int], config: AugmentConfig, rng: Rng) -> Image8:
    if rng.random() < config.flip:
        image = image[:, ::-1]
    if rng.random() < config.flip_vertical:
        image = image[::-1]
    if rng.random() < config.quarter_turn:
        image = np.rot90(image, int(rng.integers(1, 4)))
    rows, columns = side
    matrix = np.array([[columns / image.shape[1], 0.0, 0.0], [0.0, rows / image.shape[0], 0.0], [0.0, 0.0, 1.0]])
    if rng.random() < config.affine:
        matrix = _random_affine(rows, columns, config, rng) @ matrix
    background = int(image[0, 0])
    warped = cv2.warpAffine(
        np.ascontiguousarray(image), matrix[:2], (columns, rows), flags=cv2.INTER_LINEAR, borderValue=(background,)
    )
    return np.asarray(warped, np.uint8)


def _random_affine(
    rows: int, columns: int, config: AugmentConfig, rng: Rng
) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    angle = np.deg2rad(rng.uniform(-config.rotation, config.rotation))
    zoom = np.exp(rng.uniform(-config.zoom, config.zoom))
    squeeze = np.exp(rng.uniform(-config.squeeze, config.squeeze) / 2)
    shear = rng.uniform(-config.shear, config.shear)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = turn @ np.array([[zoom * squeeze, shear], [0.0, zoom / squeeze]])
    center = np.array([columns / 2, rows / 2])
    shift = rng.uniform(-config.shift, config.shift, 2) * (columns, rows)
    matrix = np.eye(3)
    matrix[:2, :2] = linear
    matrix[:2, 2] = center + shift - linear @ center
    return matrix


def _intensity(image: Image8, config: AugmentConfig, rng: Rng) -> Image8:
    if rng.random() < config.clahe:
        tiles = int(rng.integers(2, 9))
        image = np.asarray(cv2.createCLAHE(rng.uniform(1.0, 9.0), (tiles, tiles)).apply(image), np.uint8)
    if rng.random() < config.curve:
        image = np.asarray(cv2.LUT(image, random_curve(rng, monotone=rng.random() >= config.non_monotone)), np.uint8)
    if rng.random() < config.bias_field:
        image = _bias_field(image, rng)
    if rng.random() < config.invert:
        image = np.asarray(cv2.bitwise_not(image), np.uint8)
    return image


def random_curve(rng: Rng, *, monotone: bool) -> Image8:
    """A random grey-level map: through 3 to 6 knots, or a power law as a display's gamma.

    Args:
        rng: Source of randomness.
        monotone: Keep the order of grey levels; only then it may be a power law. Otherwise the upper part wanders
            freely while black stays dark, which is how one sequence turns into another: tissue contrast changes, air
            does not.

    Returns:
        uint8 [256] look-up table.
    """
    if monotone and rng.random() < _POWER_LAW:
        exponent = np.exp(rng.uniform(-_GAMMA, _GAMMA))
        return np.asarray(np.linspace(0, 1, 256) ** exponent * 255.0 + 0.5, np.uint8)
    knots = int(rng.integers(3, 7))
    x = np.concatenate([[0.0], np.sort(rng.uniform(0.05, 0.95, knots - 2)), [1.0]])
    if monotone:
        steps = rng.dirichlet(np.full(knots - 1, 1.5))
        low, high = rng.uniform(0.0, 0.15), rng.uniform(0.7, 1.0)
        y = low + (high - low) * np.concatenate([[0.0], np.cumsum(steps)])
    else:
        y = np.concatenate([[rng.uniform(0.0, 0.1)], rng.uniform(0.1, 1.0, knots - 1)])
    return np.asarray(np.interp(np.linspace(0, 1, 256), x, y) * 255.0 + 0.5, np.uint8)


_POWER_LAW = 0.4
"""Share of the monotone maps that are power laws; knots alone rarely bend the whole range one way."""
_GAMMA = 1.0
"""Their exponents lie between exp(-1) and exp(1)."""


def _bias_field(image: Image8, rng: Rng) -> Image8:
    rows, columns = image.shape
    coarse = np.exp(rng.normal(0.0, 0.25, (3, 3))).astype(np.float32)
    field = np.asarray(cv2.resize(coarse, (columns, rows), interpolation=cv2.INTER_CUBIC), np.float32)
    return _clipped(image.astype(np.float32) * field)


def _quality(image: Image8, config: AugmentConfig, rng: Rng) -> Image8:
    rows, columns = image.shape
    if rng.random() < config.low_resolution:
        factor = rng.uniform(0.35, 0.9)
        size = (max(1, round(columns * factor)), max(1, round(rows * factor)))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        image = np.asarray(cv2.resize(small, (columns, rows), interpolation=cv2.INTER_LINEAR), np.uint8)
    if rng.random() < config.blur:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.6)), np.uint8)
    elif rng.random() < config.sharpen:
        soft = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.6, 2.0))
        amount = rng.uniform(0.3, 1.5)
        image = np.asarray(cv2.addWeighted(image, 1 + amount, soft, -amount, 0), np.uint8)
    if rng.random() < config.noise:
        noise = rng.standard_normal(image.shape, np.float32) * np.float32(rng.uniform(2.0, 16.0))
        image = _clipped(image.astype(np.float32) + noise)
    if rng.random() < config.jpeg:
        _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(12, 70))])
        image = np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.uint8)
    return image


def _marks(image: Image8, rng: Rng) -> Image8:
    image = image.copy()
    rows, columns = image.shape
    ink = int(rng.integers(0, 2)) * 255
    for _ in range(int(rng.integers(1, 4))):
        text = "".join(chr(c) for c in rng.integers(48, 91, int(rng.integers(1, 9))))
        corner = (
            int(rng.integers(0, max(1, columns - 20))),
            int(rng.choice([rng.integers(8, 24), rng.integers(rows - 20, rows - 2)])),
        )
        cv2.putText(image, text, corner, cv2.FONT_HERSHEY_SIMPLEX, rng.uniform(0.25, 0.5), (ink,), 1, cv2.LINE_AA)
    if rng.random() < 0.3:  # noqa: PLR2004 - a third of the marked scans also get a frame
        cv2.rectangle(image, (0, 0), (columns - 1, rows - 1), (ink,), int(rng.integers(1, 6)))
    return image


def _clipped(values: Float32) -> Image8:
    return np.asarray(np.clip(values, 0, 255), np.uint8)
