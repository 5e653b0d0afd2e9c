"""The plain random changes that published systems trained with: mirrors, and the random resized crop.

Evaluation has no transform of its own in any style: the runtime's preprocessing is the one path to the graph. Where a
published system resized and cut the centre out of the picture for evaluation, the head is found and cut out where the
recipe has ``input.head_crop``, and the picture is padded, as it will be when scans are classified.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from edgebrain.types import Image8

from .recipe import AugmentConfig, Recipe

Rng = np.random.Generator
Box = tuple[int, int, int, int]
"""First row, first column, rows and columns."""

SCALE = (0.08, 1.0)
"""Share of the picture that a random crop takes."""
RATIO = (3 / 4, 4 / 3)
"""Columns to rows of the crop, drawn evenly on a logarithmic scale."""
_MARGIN = 256 / 224
"""How much larger than the input a picture waits, so that crops keep detail."""
_TRIES = 10


def canvas_side(recipe: Recipe) -> int | None:
    """The side in pixels at which scans wait for their random changes; None is the size of the input itself.

    Args:
        recipe: Its style, canvas and input.
    """
    style = recipe.augment.style
    if style == "edgebrain":
        return recipe.data.canvas
    if style == "resized_crop":
        return max(recipe.data.canvas, math.ceil(_MARGIN * max(recipe.input.width, recipe.input.height)))
    return None


def plain_change(image: Image8, side: tuple[int, int], config: AugmentConfig, rng: Rng) -> Image8:
    """Change a scan at random in one of the plain styles.

    Args:
        image: uint8 [rows, columns].
        side: Output rows and columns.
        config: Style, and probabilities of the mirrors.
        rng: Source of every random number.

    Returns:
        uint8 [side]. ``flips`` mirrors left to right and upside down, ``resized_crop`` takes a random crop and mirrors
        left to right, ``none`` changes nothing.
    """
    if config.style == "resized_crop":
        top, left, rows, columns = crop_box(image.shape[0], image.shape[1], rng)
        image = image[top : top + rows, left : left + columns]
    if config.style != "none" and rng.random() < config.flip:
        image = image[:, ::-1]
    if config.style == "flips" and rng.random() < config.flip_vertical:
        image = image[::-1]
    image = np.ascontiguousarray(image)
    if image.shape == side:
        return image
    shrinks = image.shape[0] * image.shape[1] > side[0] * side[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, side[::-1], interpolation=method), np.uint8)


def crop_box(rows: int, columns: int, rng: Rng) -> Box:
    """Draw the crop of a "random resized crop" (Szegedy et al., "Going deeper with convolutions", CVPR 2015).

    Area and shape are drawn up to ten times until the crop fits, then the largest crop of an allowed shape is taken
    from the centre, as torchvision's ``RandomResizedCrop`` does with its default numbers.

    Args:
        rows: Of the picture.
        columns: Of the picture.
        rng: Source of every random number.

    Returns:
        A box inside the picture, at least one pixel on each side.
    """
    for _ in range(_TRIES):
        area = rows * columns * rng.uniform(*SCALE)
        ratio = math.exp(rng.uniform(math.log(RATIO[0]), math.log(RATIO[1])))
        wide, high = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < wide <= columns and 0 < high <= rows:
            return int(rng.integers(0, rows - high + 1)), int(rng.integers(0, columns - wide + 1)), high, wide
    ratio = min(max(columns / rows, RATIO[0]), RATIO[1])
    wide, high = max(1, min(columns, round(rows * ratio))), max(1, min(rows, round(columns / ratio)))
    return (rows - high) // 2, (columns - wide) // 2, high, wide
