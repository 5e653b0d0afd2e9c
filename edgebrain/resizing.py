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
        whole = image[: image.shape[0] // down * down, : image.shape[1] // across * across]
        image = block_means(whole, down, across)
    return image if image.shape == (rows, columns) else enlarge(image, rows, columns, version)


def block_means(image: Image8, down: int, across: int) -> Image8:
    """The mean of every block of pixels, rounded, half to even but for blocks of 2 x 2, half up there.

    That is what OpenCV's INTER_AREA gives for whole factors. It has vector instructions for blocks of 2 x 2 alone;
    those of 3 x 3 and 4 x 4, which 512-pixel slices need, take two thirds of its time here.

    Args:
        image: uint8 [h, w], whole blocks.
        down: Rows of a block.
        across: Columns of a block.

    Returns:
        uint8 [h / down, w / across].
    """
    rows, columns = image.shape[0] // down, image.shape[1] // across
    if down == across == 3:  # noqa: PLR2004 - sums from every pixel on, most of them in vain, and still faster
        sums = cv2.boxFilter(image, cv2.CV_16U, (3, 3), anchor=(0, 0), normalize=False, borderType=cv2.BORDER_CONSTANT)
        return np.asarray(cv2.convertScaleAbs(np.ascontiguousarray(sums[::3, ::3]), alpha=1 / 9), np.uint8)
    if down == across == 4:  # noqa: PLR2004 - two halvings of 16 times the levels, so that nothing is rounded between
        levels = np.left_shift(image, 4, dtype=np.uint16)
        halved = cv2.resize(levels, (2 * columns, 2 * rows), interpolation=cv2.INTER_AREA)
        sums = cv2.resize(halved, (columns, rows), interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.convertScaleAbs(sums, alpha=1 / 16), np.uint8)
    return np.asarray(cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA), np.uint8)


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
