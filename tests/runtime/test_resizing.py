"""How every preprocessing version makes images smaller and larger."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgebrain.phantom import PhantomSpec, draw_phantom
from edgebrain.resizing import enlarge, shrink
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


@given(
    down=st.integers(1, 70),
    rows=st.integers(1, 9),
    columns=st.integers(1, 40),
    seed=st.integers(0, 2**32 - 1),
    levels=st.integers(1, 256),
    mirrored=st.booleans(),
)
@example(down=64, rows=3, columns=5, seed=1, levels=1, mirrored=False)
@example(down=65, rows=3, columns=5, seed=1, levels=1, mirrored=True)
def test_a_quarter_in_width_is_the_mean_by_area_to_the_bit(  # noqa: PLR0917 - a picture in numbers
    down: int, rows: int, columns: int, seed: int, levels: int, mirrored: bool
) -> None:
    rng = np.random.default_rng(seed)
    # The brightest levels, so that sums are as large as they can be.
    image = (255 - rng.integers(0, levels, (rows * down, columns * 4 + 3))).astype(np.uint8)[:, : columns * 4]
    image = image[:, ::-1] if mirrored else image
    assert (shrink(image, rows, columns, 3) == by_area(np.ascontiguousarray(image), rows, columns)).all()


@given(rows=st.integers(1, 40), columns=st.integers(1, 40), seed=st.integers(0, 2**32 - 1), levels=st.integers(1, 256))
def test_a_third_is_the_mean_by_area_to_the_bit(rows: int, columns: int, seed: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    image = (255 - rng.integers(0, levels, (rows * 3, columns * 3 + 2))).astype(np.uint8)[:, : columns * 3]
    for one in (image, image[::-1, ::-1], np.asfortranarray(image)):
        assert (shrink(one, rows, columns, 3) == by_area(np.ascontiguousarray(one), rows, columns)).all()


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
