"""Which images nearly repeat each other.

An image is compared as a grey thumbnail of 32x32 pixels by the cosine of the mean-removed values (the normalised
cross-correlation), which ignores brightness, linear contrast, resolution and compression. The best of four orientations
counts: published sets hold the same slice mirrored and, among the images without a tumour, upside down.

Measured on 8,638 images (two public sets and a third source, copies at a cosine over 0.99): compared as they are, 5,618
sets of copies; mirrored left to right too, 3,632; upside down too, 3,526; quarter turns join none. The least alike of
1,205 copies that were looked at in 128x128 pixels had a cosine of 0.95 there: the same slice with other contrast.
The thumbnail is of the whole image. Cropped to the head first, there are 4,358 sets (left to right mirroring), since a
small change of the mask's edge moves the whole picture; and no copy between the sets that the whole image misses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from edgebrain.types import Float32, Float64, Image8

SIDE = 32
"""Pixels per side of a thumbnail."""
ORIENTATIONS = ("as it is", "mirrored", "upside down", "turned by 180 degrees")
"""What is done to one image before it is compared with the other."""

_DOUBT = 1e-4  # float32 products are closer to the true cosine than this; nearer to a threshold, integers decide
_CHUNK = 4096  # pairs compared in integers at a time: 32 MB an array

Indices = npt.NDArray[np.intp]
Progress = Callable[[int, int], None]


def thumbnail(image: Image8) -> Image8:
    """Shrink a uint8 image [H, W] to its thumbnail, uint8 [1024], by area averaging."""
    small = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8).reshape(-1)


def similarity(a: Image8, b: Image8) -> tuple[Float64, Indices]:
    """Compare thumbnails exactly: all sums are of integers, so every machine gives the same answer.

    Args:
        a: uint8 [n, 1024].
        b: uint8 [n, 1024], or [1, 1024] to compare one with all.

    Returns:
        float64 [n], the cosine in the best orientation (0 where an image is constant), and the index of that
        orientation in ``ORIENTATIONS``.
    """
    x = np.asarray(a, np.float64)
    y = np.asarray(b, np.float64)
    square = y.reshape(-1, SIDE, SIDE)
    turned = (square, square[:, :, ::-1], square[:, ::-1], square[:, ::-1, ::-1])
    dots = np.stack([(x * one.reshape(len(y), -1)).sum(1) for one in turned])
    pixels = SIDE * SIDE
    covariance = pixels * dots - x.sum(1) * y.sum(1)
    variance = (pixels * (x * x).sum(1) - x.sum(1) ** 2) * (pixels * (y * y).sum(1) - y.sum(1) ** 2)
    best = np.argmax(covariance, axis=0)
    top = covariance[best, np.arange(len(x))]
    return np.where(variance > 0, top / np.sqrt(np.maximum(variance, 1.0)), 0.0), best


def components(
    thumbnails: Image8, thresholds: Sequence[float], *, block: int = 2048, progress: Progress | None = None
) -> list[Indices]:
    """Join images that are more alike than a threshold, and those joined through others.

    Every pair is compared, in blocks: memory is that of the thumbnails plus a few ``block`` x ``block`` arrays.

    Args:
        thumbnails: uint8 [N, 1024].
        thresholds: Cosines; a pair over one is joined for it.
        block: Rows compared at a time.
        progress: Called with the blocks done and their number.

    Returns:
        One intp array [N] a threshold: the smallest index of the component that an image belongs to.
    """
    count = len(thumbnails)
    parts = _parity_parts(thumbnails)
    labels = [np.arange(count) for _ in thresholds]
    starts = range(0, count, block)
    pairs = [(top, left) for top in starts for left in starts if left >= top]
    for done, (top, left) in enumerate(pairs, start=1):
        alike = _best_cosines(parts, slice(top, top + block), slice(left, left + block))
        if top == left:
            alike = np.triu(alike, 1)
        for index, threshold in enumerate(thresholds):
            rows, columns = np.nonzero(alike > threshold - _DOUBT)
            sure = alike[rows, columns] > threshold + _DOUBT
            rows, columns = rows + top, columns + left
            sure[~sure] = _over(thumbnails, rows[~sure], columns[~sure], threshold)
            labels[index] = join(labels[index], rows[sure], columns[sure])
        if progress is not None:
            progress(done, len(pairs))
    return labels


def join(labels: Indices, a: Indices, b: Indices) -> Indices:
    """Unite the components of ``a[i]`` and ``b[i]`` for every i.

    Args:
        labels: intp [N], the smallest index of each one's component.
        a: Indices, any number.
        b: As many indices.

    Returns:
        The labels after uniting.
    """
    labels = labels.copy()
    while True:
        left, right = labels[a], labels[b]
        apart = left != right
        if not apart.any():
            return labels
        a, b, left, right = a[apart], b[apart], left[apart], right[apart]
        np.minimum.at(labels, np.maximum(left, right), np.minimum(left, right))
        while not np.array_equal(shorter := labels[labels], labels):
            labels = shorter


def keepers(thumbnails: Image8, members: Sequence[int], threshold: float) -> dict[int, tuple[int, int]]:
    """Choose which images of a component to keep, so that each other one is itself a copy of a kept one.

    A component joins images through others, and its ends need not be alike; dropping all but one would lose some.

    Args:
        thumbnails: uint8 [N, 1024].
        members: Indices of one component, best image first.
        threshold: Cosine over which two images are copies.

    Returns:
        For each member that is not kept: the index of the kept one that it is most like, and how it is turned.
    """
    kept: list[int] = []
    copies: dict[int, tuple[int, int]] = {}
    for member in members:
        if kept:
            alike, turned = similarity(thumbnails[kept], thumbnails[member][np.newaxis])
            best = int(np.argmax(alike))
            if alike[best] > threshold:
                copies[member] = (kept[best], int(turned[best]))
                continue
        kept.append(member)
    return copies


def _parity_parts(thumbnails: Image8) -> list[Float32]:
    """Split thumbnails of unit length into parts that are even or odd along each axis, float32 [N, 256] each.

    Mirroring only changes the sign of a part, so the products of the four parts give the cosines of all four
    orientations for the work of one.
    """
    flat = thumbnails.astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)
    square = flat.reshape(-1, SIDE, SIDE)
    half = SIDE // 2
    left, right = square[:, :, :half], square[:, :, half:][:, :, ::-1]
    parts: list[Float32] = []
    for across in (left + right, left - right):
        upper, lower = across[:, :half], across[:, half:][:, ::-1]
        parts += [
            np.ascontiguousarray(p.reshape(len(flat), -1) * np.float32(0.5)) for p in (upper + lower, upper - lower)
        ]
    return parts


def _best_cosines(parts: Sequence[Float32], rows: slice, columns: slice) -> Float32:
    even_even, even_odd, odd_even, odd_odd = (part[rows] @ part[columns].T for part in parts)
    # x is the left-right parity: mirroring flips the sign of odd_*, turning upside down that of *_odd.
    plain = np.abs(odd_even + odd_odd)
    plain += even_even
    plain += even_odd
    upside_down = np.abs(odd_even - odd_odd)
    upside_down += even_even
    upside_down -= even_odd
    best: Float32 = np.maximum(plain, upside_down, out=plain)
    return best


def _over(thumbnails: Image8, rows: Indices, columns: Indices, threshold: float) -> npt.NDArray[np.bool_]:
    answer = np.zeros(len(rows), np.bool_)
    for start in range(0, len(rows), _CHUNK):
        part = slice(start, start + _CHUNK)
        answer[part] = similarity(thumbnails[rows[part]], thumbnails[columns[part]])[0] > threshold
    return answer
