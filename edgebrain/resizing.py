"""One image in another size: the resampling of each preprocessing version."""

from __future__ import annotations

import numpy as np

from edgebrain.imaging import cv2
from edgebrain.types import Image8

WHOLE_FACTORS = 3
"""First preprocessing version that shrinks by a whole factor before it interpolates."""


def shrink(image: Image8, rows: int, columns: int, version: int) -> Image8:
    """Make an image smaller.

    Up to version 2 every pixel is the mean of those that it stands for, weighted by area, which no processor does
    quickly where the factor is not whole. From version 3 on it is a plain mean over the largest whole factors, which
    may leave some pixels of the last rows and columns out, and linear interpolation for what is left to do. An image
    that is less than twice as large as the result is interpolated alone, and more of its noise stays.

    Args:
        image: uint8 [h, w], at least as large as the result.
        rows: Of the result.
        columns: Of the result.
        version: Of the preprocessing.

    Returns:
        uint8 [rows, columns].
    """
    if version < WHOLE_FACTORS:
        return np.asarray(cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA), np.uint8)
    down, across = image.shape[0] // rows, image.shape[1] // columns
    if max(down, across) > 1:
        size = image.shape[1] // across, image.shape[0] // down
        whole = image[: size[1] * down, : size[0] * across]
        image = np.asarray(cv2.resize(whole, size, interpolation=cv2.INTER_AREA), np.uint8)
    return image if image.shape == (rows, columns) else enlarge(image, rows, columns, version)


def enlarge(image: Image8, rows: int, columns: int, version: int) -> Image8:
    """Interpolate linearly, from version 3 on with arithmetic that is the same on every processor.

    Args:
        image: uint8 [h, w].
        rows: Of the result.
        columns: Of the result.
        version: Of the preprocessing.

    Returns:
        uint8 [rows, columns].
    """
    method = cv2.INTER_LINEAR if version < WHOLE_FACTORS else cv2.INTER_LINEAR_EXACT
    return np.asarray(cv2.resize(image, (columns, rows), interpolation=method), np.uint8)
