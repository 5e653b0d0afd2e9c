"""The shortcuts of the search for the head give what the long way gives."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edgebrain import head
from edgebrain.types import Image8

SIDES = st.tuples(st.integers(8, 24), st.integers(8, 24))
SMALL = SIDES.flatmap(lambda shape: arrays.arrays(np.uint8, shape))
MASKS = SIDES.flatmap(lambda shape: arrays.arrays(np.uint8, shape, elements=st.integers(0, 1)))
LEAST = np.ones((3, 3), np.uint8)


def border_of(small: Image8) -> Image8:
    inside = np.zeros(small.shape, bool)
    inside[1:-1, 1:-1] = True
    return np.sort(small[~inside])


def tolerance_by_sorting(small: Image8) -> int:
    """The definition, with a median over all pixels."""
    border = border_of(small)
    middle = (int(border[(border.size - 1) // 2]) + int(border[border.size // 2])) // 2
    distance = np.sort(np.abs(small.astype(int) - middle), axis=None)
    span = int(small.max()) - int(small.min())
    standing_out = distance[distance > 6]
    typical = int(standing_out[(standing_out.size - 1) // 2]) if standing_out.size else span
    noise = (int(border[3 * border.size // 4]) - int(border[border.size // 4])) / 1.35
    return int(min(int(max(5.0, 0.1 * span)), max(6, 3 * noise + 3, 0.35 * typical)))


@given(SMALL)
@example(np.zeros((8, 8), np.uint8))
@example(np.full((8, 8), 255, np.uint8))
def test_the_tolerance_is_that_of_a_median_over_all_pixels(small: Image8) -> None:
    border = head._sorted_border(small)
    assert border == border_of(small).tobytes()
    away = head._away_from(small, head._median(border))
    assert head._tolerance(small, border, away, 2) == tolerance_by_sorting(small)


@pytest.mark.parametrize("inside", [0, 7, 20, 40, 57, 58, 71, 72, 73, 120, 255])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_so_it_is_where_the_shortcut_ends(inside: int, share: float) -> None:
    small = np.zeros((20, 20), np.uint8)
    small[4:16, 4:16] = 9
    small[4 : 4 + round(12 * share), 4:16] = inside
    border = head._sorted_border(small)
    away = head._away_from(small, head._median(border))
    assert head._tolerance(small, border, away, 2) == tolerance_by_sorting(small)


@given(SMALL, st.integers(0, 255), st.integers(5, 255))
def test_pixels_are_found_that_are_further_away_than_a_distance(small: Image8, level: int, distance: int) -> None:
    found = head._further(head._away_from(small, level), distance)
    assert (found == (np.abs(small.astype(int) - level) > distance)).all()


@pytest.mark.parametrize("usual", range(5, 26))
def test_the_level_at_which_the_shortcut_is_taken_gives_the_usual_tolerance(usual: int) -> None:
    assert int(head._DARK_SHARE * math.ceil(usual / head._DARK_SHARE)) >= usual


@given(MASKS)
def test_three_passes_over_a_mask_are_an_opening_and_a_closing(mask: Image8) -> None:
    opened = cv2.morphologyEx(mask, cv2.MORPH_OPEN, LEAST)
    closed = cv2.morphologyEx(opened, cv2.MORPH_CLOSE, LEAST, iterations=2)
    assert (head._cleaned(mask) == closed).all()


@given(SMALL, st.integers(5, 25))
def test_a_background_is_the_median_that_half_of_the_border_is_like(small: Image8, tolerance: int) -> None:
    border = border_of(small)
    middle = (int(border[(border.size - 1) // 2]) + int(border[border.size // 2])) // 2
    alike = np.count_nonzero(np.abs(border.astype(int) - middle) <= tolerance)
    found = head._sorted_border(small)
    assert head._median(found) == middle
    assert head._is_uniform(found, middle, tolerance) == (alike >= border.size / 2)
