"""One image in another size: the resampling of each preprocessing version."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgebrain.imaging import cv2
from edgebrain.types import Image8

WHOLE_FACTORS = 3
"""First preprocessing version that shrinks by a whole factor before it interpolates."""
_THREE = 3
_LANES = 4
_SUM_IN_THE_TOP_LANE = np.uint64(0x0001_0001_0001_0001)
_TOP_LANE = np.uint64(48)  # bits below it
_MOST_ROWS = 64  # of a block: four times as many pixels of 255 still have a sum of 16 bits


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
        if across == _LANES and down <= _MOST_ROWS:
            image = _means_of_four_columns(whole, down)
        elif across == down == _THREE:
            image = _means_of_nine(whole)
        else:
            image = np.asarray(cv2.resize(whole, size, interpolation=cv2.INTER_AREA), np.uint8)
    return image if image.shape == (rows, columns) else enlarge(image, rows, columns, version)


def _means_of_four_columns(image: Image8, down: int) -> Image8:
    """What OpenCV's means by area are, to the bit, in less than half of the time.

    Scans of 512 pixels a side are searched for their head at a quarter of that; OpenCV has a quick way for halves only.
    Here rows are added up first, and then four columns at once, as the 16-bit lanes of one number.

    Args:
        image: uint8 [h, w], h a multiple of ``down`` and w one of 4.
        down: Rows of a block, up to _MOST_ROWS.

    Returns:
        uint8 [h / down, w / 4].
    """
    lanes = _sums_of_rows(image, down).view(np.uint64)
    lanes *= _SUM_IN_THE_TOP_LANE  # a sum of all four, whichever of them is the first in memory
    lanes >>= _TOP_LANE
    return np.asarray(cv2.convertScaleAbs(lanes.astype(np.uint16), alpha=1 / (down * _LANES)), np.uint8)


def _means_of_nine(image: Image8) -> Image8:
    """Means of blocks of 3 x 3, to the bit as OpenCV's, in half of the time.

    Heads of 480 to 639 pixels take them, and the search for the head in scans of 384 to 511.

    A ninth of a whole number never lies in the middle between two, so that no way of rounding differs.

    Args:
        image: uint8 [h, w], both multiples of 3.

    Returns:
        uint8 [h / 3, w / 3].
    """
    sums = _sums_of_rows(image, _THREE)
    first, second, third = cv2.split(sums.reshape(len(sums), -1, _THREE))
    return np.asarray(cv2.convertScaleAbs(first + second + third, alpha=1 / _THREE**2), np.uint8)


def _sums_of_rows(image: Image8, down: int) -> npt.NDArray[np.uint16]:
    sums = image[::down].astype(np.uint16, order="C")
    for row in range(1, down):
        sums += image[row::down]
    return sums


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
