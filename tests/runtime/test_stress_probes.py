from __future__ import annotations

import numpy as np
import pytest

from edgebrain.phantom import PhantomSpec, draw_phantom
from edgebrain.stress.probes import (
    COARSE,
    MAX_REGION,
    coarse_view,
    fill,
    find_regions,
    head_mask,
    outline_only,
    without_background,
)

IMAGE = draw_phantom(PhantomSpec(seed=2, lesion="hemisphere", side=160))
HEAD = head_mask(IMAGE)


def activation(row: int, column: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    heat = np.zeros((10, 10), np.float32)
    heat[row, column] = 4.0
    return heat


def test_the_head_is_found_with_its_dark_inside() -> None:
    assert HEAD[80, 80]
    assert not HEAD[0].any()
    assert 0.3 < HEAD.mean() < 0.8


def test_a_blank_picture_is_all_head() -> None:
    assert head_mask(np.full((64, 64), 9, np.uint8)).all()


@pytest.mark.parametrize(("row", "column"), [(3, 4), (6, 6), (5, 3)])
def test_regions_are_equal_in_size_and_apart(row: int, column: int) -> None:
    regions = find_regions(activation(row, column), HEAD, np.random.default_rng(0))
    assert regions is not None
    assert regions.hot[row * 16 + 8, column * 16 + 8]
    assert regions.hot.sum() == regions.control.sum() <= MAX_REGION * HEAD.sum() + 1
    assert not (regions.hot & regions.control).any()
    assert (regions.control <= HEAD).all()


def test_a_large_region_is_cut_to_its_hottest_part() -> None:
    heat = np.outer(np.hanning(12)[1:-1], np.hanning(12)[1:-1]).astype(np.float32)
    regions = find_regions(heat, HEAD, np.random.default_rng(0))
    assert regions is not None
    assert MAX_REGION * HEAD.sum() * 0.8 < regions.hot.sum() <= MAX_REGION * HEAD.sum() + 1


def test_a_flat_map_has_no_region() -> None:
    assert find_regions(np.ones((10, 10), np.float32), HEAD, np.random.default_rng(0)) is None


def test_no_room_in_the_head_means_no_control() -> None:
    tiny = np.zeros_like(HEAD)
    tiny[72:80, 72:80] = True
    regions = find_regions(activation(4, 4), tiny, np.random.default_rng(0))
    assert regions is None or regions.control[tiny].sum() == regions.hot.sum()


def test_filling_hides_a_lesion_and_nothing_else() -> None:
    flat = np.where(HEAD, 100, 0).astype(np.uint8)
    region = np.zeros_like(HEAD)
    region[70:90, 70:90] = True
    lesion = np.where(region, 250, flat).astype(np.uint8)
    np.testing.assert_array_equal(fill(lesion, region, HEAD), flat)


def test_filling_everything_or_nothing_is_harmless() -> None:
    everything, nothing = np.ones_like(HEAD), np.zeros_like(HEAD)
    np.testing.assert_array_equal(fill(IMAGE, nothing, HEAD), IMAGE)
    np.testing.assert_array_equal(fill(IMAGE, everything, HEAD), IMAGE)


def test_views_leave_what_they_say() -> None:
    outline = outline_only(IMAGE, HEAD)
    assert len(set(outline[HEAD].tolist())) == 1
    np.testing.assert_array_equal(outline[~HEAD], IMAGE[~HEAD])
    alone = without_background(IMAGE, HEAD)
    assert not alone[~HEAD].any()
    np.testing.assert_array_equal(alone[HEAD], IMAGE[HEAD])
    coarse = coarse_view(IMAGE)
    assert coarse.shape == IMAGE.shape
    assert abs(float(coarse.mean()) - float(IMAGE.mean())) < 2
    fine = np.indices(IMAGE.shape).sum(axis=0) % 2 * 255
    assert np.ptp(coarse_view(fine.astype(np.uint8))) <= 1
    assert COARSE == 16
