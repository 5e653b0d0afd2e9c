"""The limit of the outlier score, fitted on logits of scans and of other pictures."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgebrain.decision import outlier_score
from edgebrain.export.outlier_limit import RANGE, REFUSED, fit_outlier_limit
from edgebrain.types import Float32

NOTHING = np.empty(0, np.float32)
LOGITS = st.lists(st.floats(-60, 60, width=32), min_size=1, max_size=300).map(lambda v: np.array(v, np.float32))
MODERATE = st.lists(st.floats(-2.5, 2.5, width=32), min_size=1, max_size=300).map(lambda v: np.array(v, np.float32))


def normal(mean: float, count: int, seed: int) -> Float32:
    return np.random.default_rng(seed).normal(mean, 1.0, count).astype(np.float32)


def above(logits: Float32, limit: float) -> float:
    return float(np.mean([outlier_score(float(v)) > limit for v in logits]))


def test_between_sets_that_are_apart_the_limit_lies_half_way() -> None:
    scans, pictures = np.linspace(-4, -2, 101, dtype=np.float32), np.linspace(3, 9, 101, dtype=np.float32)
    fitted = fit_outlier_limit(scans, pictures)
    assert fitted.limit == pytest.approx(outlier_score((-2.02 + 3) / 2), abs=0.003)
    assert outlier_score(-2) < fitted.limit < outlier_score(3)
    assert (fitted.refused, fitted.accepted) == (0.0, 0.0)
    assert (fitted.scans, fitted.pictures) == (101, 101)


def test_where_sets_overlap_hardly_a_scan_is_refused() -> None:
    scans, pictures = normal(-0.5, 1000, 0), normal(0.5, 1000, 1)
    fitted = fit_outlier_limit(scans, pictures)
    assert 0.005 <= fitted.refused <= REFUSED
    assert fitted.refused == pytest.approx(above(scans, fitted.limit))
    assert fitted.accepted == pytest.approx(1 - above(pictures, fitted.limit))
    assert fitted.accepted is not None
    assert fitted.accepted > 0.5


def test_without_pictures_the_limit_is_where_scans_end() -> None:
    scans = normal(0, 1000, 2)
    fitted = fit_outlier_limit(scans, NOTHING)
    assert fitted.limit == pytest.approx(outlier_score(float(np.quantile(scans, 0.99))), abs=0.02)
    assert (fitted.pictures, fitted.accepted) == (0, None)
    assert "no picture" in fitted.describe()


def test_the_limit_says_what_it_rests_on() -> None:
    fitted = fit_outlier_limit(normal(-6, 40, 0), np.array([-9, 9, 9, 9], np.float32))
    held = f" is held at its limit {RANGE[0]:g} (these alone give {fitted.wanted:g}),"
    shares = " refuses 0.0% of 40 validation scans and accepts 25.0% of 4 other pictures"
    assert fitted.wanted < RANGE[0]
    assert fitted.describe() == f"max_outlier{held}{shares}"


def test_a_limit_within_its_range_is_not_said_to_be_held() -> None:
    fitted = fit_outlier_limit(normal(-2, 400, 0), normal(2, 400, 1))
    assert fitted.wanted == fitted.limit
    assert "held" not in fitted.describe()


@given(scans=LOGITS, pictures=st.one_of(st.just(NOTHING), LOGITS))
def test_the_limit_stays_in_its_range_and_the_shares_are_true(scans: Float32, pictures: Float32) -> None:
    fitted = fit_outlier_limit(scans, pictures)
    assert RANGE[0] <= fitted.limit <= RANGE[1]
    assert fitted.refused == pytest.approx(above(scans, fitted.limit))
    if len(pictures):
        assert fitted.accepted == pytest.approx(1 - above(pictures, fitted.limit))


@given(scans=MODERATE, pictures=st.one_of(st.just(NOTHING), LOGITS))
def test_of_few_or_many_scans_at_most_one_per_cent_are_refused(scans: Float32, pictures: Float32) -> None:
    # Within the range of the limit; a scan that scores above it is refused whatever is fitted.
    assert fit_outlier_limit(scans, pictures).refused <= REFUSED


@given(scans=MODERATE, pictures=MODERATE.map(lambda v: v[:150]), gap=st.floats(0.5, 20))
def test_pictures_that_are_apart_are_all_refused(scans: Float32, pictures: Float32, gap: float) -> None:
    apart = pictures - pictures.min() + scans.max() + np.float32(gap)
    fitted = fit_outlier_limit(scans, apart)
    assert fitted.accepted == 0.0
