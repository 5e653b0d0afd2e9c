"""The gate: passes on equal files, and every limit can fail."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="the package edgebrain.export needs the extra 'export'")

from edgebrain.decision import DecisionSpec
from edgebrain.export.verify import Comparison, Judge, Limits

TARGETS = np.array([0, 1, 2, 3] * 50, np.int64)
SPEC = DecisionSpec(standard_below=0.3)
SURE = (np.eye(4, dtype=np.float32) * 6)[TARGETS]


def compare(original: np.ndarray, quantised: np.ndarray, *, negative: int | None, limits: Limits) -> Comparison:
    return Judge(TARGETS, SPEC, negative, limits).compare({"logits": original}, {"logits": quantised})


def gate(quantised: np.ndarray, limits: Limits | None = None) -> Comparison:
    return compare(SURE, quantised, negative=2, limits=limits or Limits())


def test_equal_files_pass() -> None:
    result = gate(SURE)
    assert result.failures == ()
    assert (result.flips, result.largest_shift, result.p_value) == (0, 0.0, 1.0)


def test_lost_accuracy_fails() -> None:
    worse = SURE.copy()
    worse[0] = SURE[1]
    assert any("accuracy falls" in text for text in gate(worse).failures)


def test_a_tumour_that_becomes_none_fails_even_if_accuracy_holds() -> None:
    worse = SURE.copy()
    worse[0] = SURE[2]
    result = gate(worse, Limits(accuracy_drop=1.0, ece_change=1.0))
    assert result.flips == 1
    assert any("flip from tumour to no tumour" in text for text in result.failures)


def test_a_flip_the_other_way_is_no_flip() -> None:
    other = SURE.copy()
    other[2] = SURE[0]
    assert gate(other, Limits(accuracy_drop=1.0, ece_change=1.0)).failures == ()


def logits_of(no_tumor: float) -> np.ndarray:
    return np.log(np.array([(1 - no_tumor) / 3] * 2 + [no_tumor, (1 - no_tumor) / 3], np.float32))


def test_a_tumour_that_only_int8_leaves_as_standard_fails() -> None:
    # In both files the best label is "no tumour": neither a flip nor lost accuracy would show it.
    original, quantised = SURE.copy(), SURE.copy()
    original[0], quantised[0] = logits_of(0.65), logits_of(0.75)
    loose = Limits(accuracy_drop=1.0, ece_change=1.0)
    result = compare(original, quantised, negative=2, limits=loose)
    assert (result.flips, result.to_standard, result.tumours) == (0, 1, 150)
    assert any("1 of 150 tumours fall below standard_below" in text for text in result.failures)
    back = compare(quantised, original, negative=2, limits=loose)
    assert (back.to_standard, back.failures) == (0, ())


def test_a_scan_without_a_tumour_may_become_standard() -> None:
    original, quantised = SURE.copy(), SURE.copy()
    original[2], quantised[2] = logits_of(0.65), logits_of(0.75)
    result = compare(original, quantised, negative=2, limits=Limits(ece_change=1.0))
    assert (result.to_standard, result.failures) == (0, ())


def test_without_a_negative_label_nothing_is_standard() -> None:
    result = compare(SURE, SURE, negative=None, limits=Limits())
    assert (result.flips, result.tumours, result.to_standard, result.failures) == (0, 0, 0, ())


def test_lost_calibration_fails() -> None:
    assert any("ECE changes" in text for text in gate(SURE / 6).failures)


@pytest.mark.parametrize("limits", [Limits(float("nan")), Limits(ece_change=float("nan"))])
def test_a_limit_that_is_no_number_allows_nothing(limits: Limits) -> None:
    assert gate(SURE, limits).failures


@pytest.mark.parametrize("role", ["logits", "embedding", "outlier"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_output_that_is_not_finite_fails(role: str, value: float) -> None:
    outputs = {"logits": SURE, "embedding": SURE, "outlier": SURE[:, 0]}
    spoilt = outputs[role].copy()
    spoilt.flat[0] = value
    loose = Limits(1.0, 1.0, 1.0, 1.0, 1.0)
    result = Judge(TARGETS, SPEC, 2, loose).compare(outputs, {**outputs, role: spoilt})
    assert any(f"1 values of {role} of this file are not finite" in text for text in result.failures)


def test_the_strictest_share_says_how_many_scans_are_wanted() -> None:
    assert Limits().scans_wanted == 1000
    assert Limits(-1.0, 0.0, 0.0, 0.0, 0.0).scans_wanted == 0
