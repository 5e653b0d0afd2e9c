"""The gate: passes on equal files, and every limit can fail."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="the package edgebrain.export needs the extra 'export'")

from edgebrain.export.verify import Comparison, Limits, compare

TARGETS = np.array([0, 1, 2, 3] * 50, np.int64)
SURE = (np.eye(4, dtype=np.float32) * 6)[TARGETS]


def gate(quantised: np.ndarray, limits: Limits | None = None) -> Comparison:  # type: ignore[type-arg]
    return compare(SURE, quantised, TARGETS, temperature=1.0, negative=2, limits=limits or Limits())


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


def test_lost_calibration_fails() -> None:
    assert any("ECE changes" in text for text in gate(SURE / 6).failures)
