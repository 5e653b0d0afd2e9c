from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgebrain.phantom import PhantomSpec, draw_phantom
from edgebrain.stress.changes import apply, find_stress
from edgebrain.stress.scalp import depth_in_head
from edgebrain.types import Float32, Image8


def disc(side: int = 200, radius: int = 80, level: int = 120) -> Image8:
    image = np.zeros((side, side), np.uint8)
    return np.asarray(cv2.circle(image, (side // 2, side // 2), radius, (level,), cv2.FILLED), np.uint8)


def depth(image: Image8) -> Float32:
    found = depth_in_head(image)
    assert found is not None
    return found


@given(
    st.tuples(st.integers(1, 60), st.integers(1, 60)).flatmap(
        lambda shape: hnp.arrays(np.uint8, shape, elements=st.integers(0, 255))
    )
)
@settings(max_examples=60)
def test_any_picture_has_a_depth_of_its_own_shape_or_none(image: Image8) -> None:
    found = depth_in_head(image)
    if found is not None:
        assert found.shape == image.shape
        assert found.dtype == np.float32
        assert np.isfinite(found).all()
        assert found.min() >= 0


@pytest.mark.parametrize("side", [64, 200, 512])
def test_depth_is_a_share_of_the_size_of_the_head_whatever_the_resolution(side: int) -> None:
    found = depth(disc(side, round(0.4 * side)))
    assert found[side // 2, side // 2] == pytest.approx(1 / np.sqrt(np.pi), abs=0.03)  # the radius of a disc of area 1
    assert found[0, 0] == 0
    halfway = found[side // 2, side // 2 + round(0.2 * side)]
    assert halfway == pytest.approx(found.max() / 2, abs=0.03)


@pytest.mark.parametrize("shape", [(200, 400), (400, 200)])
def test_as_much_is_peeled_off_on_every_side_whatever_the_shape_of_the_picture(shape: tuple[int, int]) -> None:
    image = np.zeros(shape, np.uint8)
    cv2.circle(image, (shape[1] // 2, shape[0] // 2), 90, (120,), cv2.FILLED)
    left = depth(image) > 0.09
    assert left.any(axis=0).sum() == pytest.approx(left.any(axis=1).sum(), abs=3)
    assert 140 < left.any(axis=0).sum() < 170  # of 180


def test_a_dark_brain_in_a_bright_scalp_is_no_hole() -> None:
    ring = disc(level=230)
    cv2.circle(ring, (100, 100), 70, (4,), cv2.FILLED)
    assert depth(ring)[100, 100] == pytest.approx(depth(disc())[100, 100], abs=0.02)


def test_a_bright_lesion_is_not_taken_for_the_head() -> None:
    image = disc(level=70)
    cv2.circle(image, (120, 100), 25, (255,), cv2.FILLED)
    assert depth(image)[100, 100] == pytest.approx(depth(disc())[100, 100], abs=0.02)


def test_nothing_and_a_speck_are_no_head() -> None:
    assert depth_in_head(np.zeros((50, 50), np.uint8)) is None
    assert depth_in_head(disc(200, 10)) is None


def test_the_stress_takes_off_the_outside_and_leaves_the_rest_as_it_was() -> None:
    head = draw_phantom(PhantomSpec(seed=4, lesion="hemisphere", side=192))
    shallow, deep = (apply(find_stress(name), head, "a") for name in ("stripped_6", "stripped_9"))
    kept = deep > 0
    np.testing.assert_array_equal(deep[kept], head[kept])
    assert 0.05 * head.size < np.count_nonzero(head) - np.count_nonzero(shallow)
    assert np.count_nonzero(deep) < np.count_nonzero(shallow)
    np.testing.assert_array_equal(deep[80:112, 80:112], head[80:112, 80:112])


def test_the_stress_knows_the_black_of_other_depths() -> None:
    head = draw_phantom(PhantomSpec(seed=4, side=192)).astype(np.int16) * 7 - 1000
    stripped = apply(find_stress("stripped_9"), head, "a")
    assert stripped.dtype == np.int16
    assert stripped[0, 0] == pytest.approx(-1000, abs=7)
    assert (stripped[80:112, 80:112] == head[80:112, 80:112]).all()


def test_a_picture_without_a_head_is_left_alone() -> None:
    blank = np.zeros((64, 64), np.uint8)
    blank[30:33, 30:33] = 200
    np.testing.assert_array_equal(apply(find_stress("stripped_6"), blank, "a"), blank)
