"""Fitting the decision: what the thresholds promise holds on the scans they were fitted on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch", reason="the package edgebrain.export needs the extra 'export'")

from edgebrain.decision import probabilities_of
from edgebrain.export.operating_point import FALSE_ALARMS, MISSED_TUMOURS, OPERATING_RANGE, STANDARD_RANGE, fit_decision


def make_logits(seed: int, count: int, sharpness: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 4, count)
    targets[:4] = range(4)
    logits = rng.normal(0, 1, (count, 4))
    logits[np.arange(count), targets] += sharpness
    return logits.astype(np.float32), targets.astype(np.int64)


@given(st.integers(0, 10_000), st.floats(0, 12))
def test_thresholds_are_ordered_and_inside_their_ranges(seed: int, sharpness: float) -> None:
    spec = fit_decision(*make_logits(seed, 200, sharpness), negative=2).spec
    assert 0 < spec.standard_below <= spec.operating_point <= 1
    assert spec.temperature > 0


def test_shares_are_kept_where_the_ranges_allow() -> None:
    logits, targets = make_logits(1, 4000, 5.0)
    spec = fit_decision(logits, targets, negative=2).spec
    tumor = 1 - probabilities_of(logits, spec.temperature)[:, 2]
    missed = (tumor[targets != 2] < spec.standard_below).mean()
    alarms = (tumor[targets == 2] >= spec.operating_point).mean()
    assert missed <= MISSED_TUMOURS + 1e-3
    assert alarms <= FALSE_ALARMS + 1e-2


def test_fit_says_what_it_rests_on() -> None:
    logits, targets = make_logits(3, 400, 20.0)
    fitted = fit_decision(logits, targets, negative=2)
    assert (fitted.tumours, fitted.others) == (int((targets != 2).sum()), int((targets == 2).sum()))
    # So sure a model leaves no scan between 2 % and 90 %.
    assert fitted.capped[0].startswith("standard_below is held at its limit 0.05 ")
    assert fitted.capped[1].startswith("operating_point is held at its limit 0.5 ")
    assert (
        f"{fitted.tumours} validation scans with a tumour and {fitted.others} without; standard_b" in fitted.describe()
    )


def test_limits_that_were_not_met_are_not_claimed() -> None:
    logits, targets = make_logits(1, 4000, 5.0)
    fitted = fit_decision(logits, targets, negative=2)
    named = {text.split()[0] for text in fitted.capped}
    on_limit = {"standard_below": STANDARD_RANGE, "operating_point": OPERATING_RANGE}
    assert named == {name for name, limits in on_limit.items() if getattr(fitted.spec, name) in limits}


def test_model_without_a_negative_label_gets_a_temperature_only() -> None:
    logits, targets = make_logits(2, 300, 3.0)
    spec = fit_decision(logits, targets, negative=None).spec
    assert spec.temperature != 1.0
    assert spec.min_confidence == 0.5
