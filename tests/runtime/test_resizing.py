"""How every preprocessing version makes images smaller and larger."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edgebrain.phantom import PhantomSpec, draw_phantom
from edgebrain.resizing import block_means, enlarge, shrink
from edgebrain.types import PREPROCESSING_VERSIONS, Image8


@pytest.fixture(scope="module")
def image() -> Image8:
    return draw_phantom(PhantomSpec(seed=3, side=360))[:347]


def by_blocks(image: Image8, rows: int, columns: int) -> Image8:
    """Means of blocks, written out; half a level goes up."""
    blocks = image[: len(image) // rows * rows].reshape(rows, -1, columns, image.shape[1] // columns)
    return np.asarray(np.floor(blocks.mean((1, 3)) + 0.5), np.uint8)


def by_area(image: Image8, rows: int, columns: int) -> Image8:
    return np.asarray(cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA), np.uint8)


def test_version_3_takes_means_over_whole_factors(image: Image8) -> None:
    # 347 rows hold 115 blocks of three and two more, which are left out.
    found = shrink(image, 115, 120, 3)
    assert np.abs(found.astype(int) - by_blocks(image[:345], 115, 120)).max() <= 1
    assert (found == shrink(image[:345], 115, 120, 3)).all()


def test_version_3_interpolates_what_is_left(image: Image8) -> None:
    assert (shrink(image, 160, 166, 3) == enlarge(shrink(image, 173, 180, 3), 160, 166, 3)).all()
    assert (shrink(image, 200, 207, 3) == enlarge(image, 200, 207, 3)).all()


@pytest.mark.parametrize("version", PREPROCESSING_VERSIONS)
def test_an_image_of_the_right_size_stays(image: Image8, version: int) -> None:
    assert (shrink(image, image.shape[0], image.shape[1], version) == image).all()


@pytest.mark.parametrize("version", PREPROCESSING_VERSIONS)
@pytest.mark.parametrize(("rows", "columns"), [(8, 128), (1, 1), (160, 31), (33, 160)])
def test_any_smaller_size_can_be_had(image: Image8, version: int, rows: int, columns: int) -> None:
    found = shrink(np.asfortranarray(image), rows, columns, version)
    assert found.shape == (rows, columns)
    assert found.dtype == np.uint8
    assert image.min() <= found.min() <= found.max() <= image.max()


@pytest.mark.parametrize("version", [1, 2])
def test_versions_1_and_2_stay_what_they_were(image: Image8, version: int) -> None:
    for rows, columns in ((115, 120), (160, 166), (97, 64)):
        assert (shrink(image, rows, columns, version) == by_area(image, rows, columns)).all()
    small = image[100:190, 100:190]
    assert (enlarge(small, 128, 150, version) == cv2.resize(small, (150, 128))).all()


def test_version_3_rounds_the_same_way_everywhere(image: Image8) -> None:
    small = image[100:190, 100:190]
    exact = cv2.resize(small, (150, 128), interpolation=cv2.INTER_LINEAR_EXACT)
    assert (enlarge(small, 128, 150, 3) == exact).all()
    assert (exact != cv2.resize(small, (150, 128))).any()


@pytest.mark.parametrize("factor", [3, 4])
def test_block_means_round_every_sum_half_to_even(factor: int) -> None:
    area = factor * factor
    sums = np.arange(255 * area + 1)
    # A block for every sum that there can be: its pixels differ by one grey level at most.
    blocks = sums[:, None] // area + (np.arange(area) < sums[:, None] % area)
    image = blocks.reshape(-1, 1, factor, factor).swapaxes(1, 2).reshape(-1, factor).astype(np.uint8)
    image = np.hstack([image, image[::-1]])
    means = np.rint(sums / area).astype(np.uint8)
    assert np.array_equal(block_means(image, factor, factor), np.column_stack([means, means[::-1]]))


@pytest.mark.parametrize(("down", "across"), [(1, 2), (2, 1), (2, 2), (3, 3), (4, 4), (3, 4), (5, 5), (9, 7)])
@pytest.mark.parametrize("contiguous", [True, False])
def test_block_means_are_those_of_opencv(down: int, across: int, contiguous: bool) -> None:
    noise = np.random.default_rng(down * 10 + across).integers(0, 256, (down * 37, across * 41 + 5), dtype=np.uint8)
    image = noise[:, 5:] if not contiguous else noise[:, 5:].copy()
    expected = cv2.resize(image, (41, 37), interpolation=cv2.INTER_AREA)
    assert np.array_equal(block_means(image, down, across), expected)
