from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgebrain.decision import DecisionSpec, decide, outlier_score, probabilities_of
from edgebrain.types import Float32, Triage

LABELS = ("glioma", "meningioma", "no_tumor", "pituitary")
FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)
LOGITS = st.lists(FINITE, min_size=4, max_size=4)
TEMPERATURES = st.floats(min_value=5e-324, max_value=1e308)
SHARES = st.floats(min_value=0, max_value=1)
SPEC = DecisionSpec(operating_point=0.6, standard_below=0.3, min_confidence=0.75)


def logits_of(*probabilities: float) -> Float32:
    return np.asarray(np.log(probabilities), np.float32)


@given(LOGITS, TEMPERATURES)
@example([3.4e38, -3.4e38, 0.0, 1.0], 1e-320)
@example([0.0, 0.0, 0.0, 0.0], 1e300)
def test_probabilities_of_any_finite_logits_sum_to_one(logits: list[float], temperature: float) -> None:
    row = probabilities_of(np.array(logits, np.float32), temperature)
    assert row.dtype == np.float64
    assert ((row >= 0) & (row <= 1)).all()
    assert row.sum() == pytest.approx(1, abs=1e-12)


def test_probabilities_are_those_of_a_softmax_of_the_scaled_logits() -> None:
    logits = np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 2.0]], np.float32)
    expected = np.exp(logits / 2.0) / np.exp(logits / 2.0).sum(1, keepdims=True)
    assert probabilities_of(logits, 2.0) == pytest.approx(expected)


@given(st.lists(st.integers(-500, 500), min_size=4, max_size=4), st.integers(-(2**20), 2**20))
def test_a_shift_of_all_logits_changes_nothing(logits: list[int], shift: int) -> None:
    row = np.array(logits, np.float32)
    assert (probabilities_of(row + np.float32(shift), 1.3) == probabilities_of(row, 1.3)).all()


@pytest.mark.parametrize(
    ("probabilities", "triage", "words"),
    [
        ((0.9, 0.02, 0.05, 0.03), Triage.PRIORITISE, "reaches the operating point"),
        ((0.35, 0.2, 0.4, 0.05), Triage.PRIORITISE, "the kind is uncertain"),
        ((0.3, 0.1, 0.55, 0.05), Triage.CANNOT_ASSESS, "lies between"),
        ((0.1, 0.1, 0.72, 0.08), Triage.CANNOT_ASSESS, "best label no_tumor at 72.0%"),
        ((0.05, 0.05, 0.85, 0.05), Triage.STANDARD, "is below 30.0%"),
    ],
)
def test_zones(probabilities: tuple[float, ...], triage: Triage, words: str) -> None:
    verdict = decide(logits_of(*probabilities), LABELS, "no_tumor", SPEC)
    assert verdict.triage is triage
    assert any(words in reason for reason in verdict.reasons)
    assert verdict.tumor_probability == pytest.approx(1 - probabilities[2], abs=1e-6)
    assert verdict.probabilities == pytest.approx(dict(zip(LABELS, probabilities, strict=True)), abs=1e-6)
    assert verdict.label == LABELS[int(np.argmax(probabilities))]


@given(LOGITS, SHARES, SHARES, SHARES, st.floats(min_value=0.01, max_value=100))
def test_never_standard_from_the_threshold_on(
    logits: list[float], one: float, other: float, confidence: float, temperature: float
) -> None:
    below, point = sorted((one, other))
    spec = DecisionSpec(temperature, operating_point=point, standard_below=below, min_confidence=confidence)
    verdict = decide(np.array(logits, np.float32), LABELS, "no_tumor", spec)
    assert verdict.tumor_probability is not None
    assert verdict.reasons
    assert sum(verdict.probabilities.values()) == pytest.approx(1, abs=1e-9)
    if verdict.tumor_probability >= below:
        assert verdict.triage is not Triage.STANDARD
    if verdict.tumor_probability >= point:
        assert verdict.triage is Triage.PRIORITISE


@given(SHARES, SHARES, SHARES, SHARES, SHARES)
@example(one=1.0, other=1.0, first=1.0, second=0.5, confidence=0.75)
def test_more_tumour_probability_never_means_less_urgency(
    one: float, other: float, first: float, second: float, confidence: float
) -> None:
    below, point = sorted((one / 2, other))  # a bundle with a standard_below above one half is refused
    below = min(below, 0.5)
    spec = DecisionSpec(operating_point=point, standard_below=below, min_confidence=confidence)
    labels = ("tumor", "no_tumor")
    lower, higher = (
        decide(np.array([8 * logit - 4, 0.0], np.float32), labels, "no_tumor", spec)
        for logit in sorted((first, second))
    )
    assert lower.tumor_probability is not None
    assert higher.tumor_probability is not None
    assert lower.tumor_probability <= higher.tumor_probability
    urgency = [Triage.STANDARD, Triage.CANNOT_ASSESS, Triage.PRIORITISE]
    assert urgency.index(lower.triage) <= urgency.index(higher.triage)


@given(LOGITS, st.floats(min_value=0.051, max_value=1))
def test_coloured_pictures_cannot_be_assessed_whatever_the_logits(logits: list[float], share: float) -> None:
    for negative in ("no_tumor", None):
        verdict = decide(np.array(logits, np.float32), LABELS, negative, DecisionSpec(), color_fraction=share)
        assert verdict.triage is Triage.CANNOT_ASSESS
        assert "coloured" in verdict.reasons[0]


def test_a_little_colour_does_no_harm() -> None:
    verdict = decide(logits_of(0.05, 0.02, 0.9, 0.03), LABELS, "no_tumor", SPEC, color_fraction=0.04)
    assert verdict.triage is Triage.STANDARD


@pytest.mark.parametrize("broken", [(np.nan,) * 4, (0.0, np.nan, 9.0, 0.0), (np.inf, 0.0, np.inf, 0.0)])
def test_logits_that_are_no_numbers_are_never_standard(broken: tuple[float, ...]) -> None:
    with np.errstate(invalid="ignore"):
        verdict = decide(np.array(broken, np.float32), LABELS, "no_tumor", DecisionSpec())
    assert verdict.triage is not Triage.STANDARD


def test_a_model_of_kinds_has_no_tumour_probability_and_nothing_is_standard() -> None:
    kinds = ("glioma", "meningioma")
    sure = decide(logits_of(0.9, 0.1), kinds, None, SPEC)
    unsure = decide(logits_of(0.6, 0.4), kinds, None, SPEC)
    assert sure.tumor_probability is None
    assert (sure.triage, unsure.triage) == (Triage.PRIORITISE, Triage.CANNOT_ASSESS)


def test_labels_and_logits_must_match() -> None:
    with pytest.raises(ValueError, match="zip"):
        decide(logits_of(0.5, 0.5), LABELS, "no_tumor", SPEC)


# Pictures that are no brain MRI

LIMITS = st.floats(min_value=0, max_value=1, exclude_min=True, exclude_max=True)
ANY_LOGITS = st.lists(st.floats(width=32), min_size=4, max_size=4)


def limited(limit: float | None) -> DecisionSpec:
    return DecisionSpec(operating_point=0.6, standard_below=0.3, max_outlier=limit)


@given(st.floats(allow_nan=False), st.floats(allow_nan=False))
@example(-math.inf, math.inf)
@example(-1e308, 1e308)
def test_the_outlier_score_is_a_share_that_grows_with_the_logit(one: float, other: float) -> None:
    low, high = (outlier_score(logit) for logit in sorted((one, other)))
    assert 0 <= low <= high <= 1
    assert outlier_score(-one) == pytest.approx(1 - outlier_score(one), abs=1e-12)


def test_the_outlier_score_is_the_sigmoid() -> None:
    assert outlier_score(0.0) == 0.5
    assert outlier_score(2.0) == pytest.approx(1 / (1 + math.exp(-2)))
    assert outlier_score(-3.0) == pytest.approx(1 / (1 + math.exp(3)))
    assert math.isnan(outlier_score(math.nan))


@given(ANY_LOGITS, st.floats(), LIMITS, st.sampled_from(["no_tumor", None]))
@example([-99.0, -99.0, 99.0, -99.0], math.nan, 0.5, "no_tumor")
@example([-99.0, -99.0, 99.0, -99.0], 0.500001, 0.5, "no_tumor")
def test_nothing_out_of_distribution_is_judged_whatever_the_logits(
    logits: list[float], score: float, limit: float, negative: str | None
) -> None:
    with np.errstate(invalid="ignore"):
        verdict = decide(np.array(logits, np.float32), LABELS, negative, limited(limit), outlier=score)
        free = decide(np.array(logits, np.float32), LABELS, negative, limited(None))
    if score <= limit:
        assert (verdict.triage, verdict.reasons) == (free.triage, free.reasons)
    else:
        assert verdict.triage is Triage.CANNOT_ASSESS
        assert "does not look like a brain MRI slice" in verdict.reasons[0]


@pytest.mark.parametrize(
    ("score", "limit", "words"),
    [
        (0.98, 0.5, "does not look like a brain MRI slice (outlier score 0.98, limit 0.50)"),
        (0.5004, 0.5, "does not look like a brain MRI slice (outlier score 0.5004, limit 0.5000)"),
        (math.nan, 0.5, "does not look like a brain MRI slice (outlier score nan, limit 0.50)"),
    ],
)
def test_the_reason_names_score_and_limit(score: float, limit: float, words: str) -> None:
    sure = logits_of(0.01, 0.01, 0.97, 0.01)
    assert decide(sure, LABELS, "no_tumor", limited(limit), outlier=score).reasons == (words,)


def test_a_score_without_a_limit_decides_nothing_unless_it_is_no_number() -> None:
    sure = logits_of(0.01, 0.01, 0.97, 0.01)
    assert decide(sure, LABELS, "no_tumor", limited(None), outlier=1.0).triage is Triage.STANDARD
    assert decide(sure, LABELS, "no_tumor", limited(None), outlier=math.nan).triage is Triage.CANNOT_ASSESS


def test_a_limit_without_a_score_is_a_mistake_of_the_program() -> None:
    for share in (0.0, 1.0):
        with pytest.raises(ValueError, match="no score was given"):
            decide(logits_of(0.1, 0.1, 0.7, 0.1), LABELS, "no_tumor", limited(0.5), color_fraction=share)


def test_every_reason_against_a_picture_is_given() -> None:
    sure = logits_of(0.01, 0.01, 0.97, 0.01)
    verdict = decide(sure, LABELS, "no_tumor", limited(0.5), color_fraction=0.5, outlier=0.9)
    assert ["coloured" in reason for reason in verdict.reasons] == [True, False]
    assert "outlier score 0.90" in verdict.reasons[1]
    assert decide(sure, LABELS, "no_tumor", SPEC, color_fraction=math.nan).triage is Triage.CANNOT_ASSESS


def test_two_networks_that_contradict_each_other_are_a_case_for_a_person() -> None:
    logits = logits_of(0.95, 0.02, 0.02, 0.01)
    usual = decide(logits, LABELS, "no_tumor", SPEC)
    verdict = decide(logits, LABELS, "no_tumor", SPEC, contradicted=True)
    assert usual.triage is Triage.PRIORITISE
    assert verdict.reasons == (
        "one network is sure of no tumour, the other finds glioma at 95.0%: a person must settle it",
    )
    assert verdict == usual._replace(triage=Triage.CANNOT_ASSESS, reasons=verdict.reasons)
    strange = decide(logits, LABELS, "no_tumor", limited(0.5), outlier=0.9, contradicted=True)
    assert "outlier score" in strange.reasons[0]
