from __future__ import annotations

import json
import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgebrain.errors import UsageError
from edgebrain.evaluation.measure import Evaluation, evaluate_arrays
from edgebrain.intervals import Estimate, wilson

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgebrain.types import Float64

LABELS = ("glioma", "meningioma", "no_tumor", "pituitary")
TRIAGE = ("prioritise", "standard", "cannot_assess")

# Six scans: one glioma called meningioma, one pituitary missed, one abstention.
TRUTH = ["glioma", "glioma", "meningioma", "no_tumor", "no_tumor", "pituitary"]
CHANCES = np.array(
    [
        [0.9, 0.05, 0.02, 0.03],
        [0.3, 0.6, 0.05, 0.05],
        [0.1, 0.8, 0.05, 0.05],
        [0.0, 0.1, 0.9, 0.0],
        [0.1, 0.2, 0.6, 0.1],
        [0.1, 0.1, 0.5, 0.3],
    ]
)
CHOICES = ["prioritise", "prioritise", "prioritise", "standard", "cannot_assess", "standard"]


def six(**changes: Any) -> Evaluation:
    arguments: dict[str, Any] = {
        "labels": LABELS,
        "negative": "no_tumor",
        "truth": TRUTH,
        "probabilities": CHANCES,
        "triage": CHOICES,
        "groups": None,
        "resamples": 50,
    }
    return evaluate_arrays(**(arguments | changes))


def simulate(n: int, seed: int = 0) -> tuple[list[str], Float64, list[str], list[str]]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 4, n)
    logits = rng.normal(0, 1.5, (n, 4))
    logits[np.arange(n), truth] += 3
    chances = np.exp(logits)
    chances /= chances.sum(axis=1, keepdims=True)
    return [LABELS[k] for k in truth], chances, list(rng.choice(TRIAGE, n)), [f"patient {i // 3}" for i in range(n)]


def figures(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        if set(value) == {"value", "low", "high", "method"}:
            yield value
        for inner in value.values():
            yield from figures(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from figures(inner)


def test_six_scans_by_hand() -> None:
    result = six()
    assert result.mode == "labels"
    assert result.accuracy == Estimate(4 / 6, *wilson(4, 6), "wilson")
    assert result.confusion == ((1, 1, 0, 0), (0, 1, 0, 0), (0, 0, 2, 0), (0, 0, 1, 0))
    assert result.balanced_accuracy.value == pytest.approx((0.5 + 1 + 1 + 0) / 4)
    assert result.macro_f1.value == pytest.approx((2 / 3 + 2 / 3 + 4 / 5 + 0) / 4)
    assert result.coverage.value == pytest.approx(5 / 6)
    assert result.accuracy_assessed.value == pytest.approx(3 / 5)
    glioma, _, _, pituitary = result.per_class
    assert (glioma.support, glioma.recall.value, glioma.precision.value, glioma.specificity.value) == (2, 0.5, 1, 1)
    assert pituitary.precision == Estimate(None)
    assert pituitary.f2.value == 0


def test_tumour_figures_by_hand() -> None:
    tumor = six().tumor
    assert tumor is not None
    assert (tumor.tumors, tumor.others) == (4, 2)
    assert tumor.sensitivity == Estimate(3 / 4, *wilson(3, 4), "wilson")
    assert tumor.specificity.value == 1
    assert tumor.auroc.value == 1
    assert (tumor.prioritised.value, tumor.standard.value, tumor.cannot_assess.value) == (0.75, 0.25, 0)


def test_triage_rows_by_hand() -> None:
    rows = {row.truth: row for row in six().triage}
    assert list(rows) == [*LABELS, "tumor", "all"]
    assert [row.n for row in rows.values()] == [2, 1, 2, 1, 4, 6]
    negative = rows["no_tumor"]
    assert (negative.prioritise.value, negative.standard.value, negative.cannot_assess.value) == (0, 0.5, 0.5)
    assert rows["all"].prioritise.value == 0.5


def test_calibration_by_hand() -> None:
    result = six().calibration
    assert [row.count for row in result.bins] == [1, 2, 1, 2]
    own = [0.9, 0.3, 0.8, 0.9, 0.6, 0.3]
    assert result.nll.value == pytest.approx(-sum(math.log(p) for p in own) / 6)
    assert result.bins[-1].accuracy.value == 1


@pytest.mark.parametrize("words", [("tumor", "no_tumor"), ("yes", "no"), ("tumour", "no_tumour")])
def test_binary_truth_adds_up_the_tumours(words: tuple[str, str]) -> None:
    result = six(truth=[words[int(name == "no_tumor")] for name in TRUTH])
    assert result.mode == "tumor_vs_none"
    assert result.labels == ("tumor", "no_tumor")
    # The pituitary scan has half of its probability on tumours: a tie goes to the tumour.
    assert result.confusion == ((4, 0), (0, 2))
    assert [row.truth for row in result.triage] == ["tumor", "no_tumor", "all"]
    assert [curve.label for curve in result.roc] == ["tumor"]
    assert "which kind of tumour" in result.notes[0]
    tumor = result.tumor
    assert tumor is not None
    assert tumor.prioritised.value == 0.75


def test_binary_and_specific_truth_may_be_mixed() -> None:
    result = six(truth=["tumor", *TRUTH[1:]])
    assert result.mode == "tumor_vs_none"
    assert result.tumor is not None
    assert result.tumor.tumors == 4


def test_a_binary_model_has_no_row_twice() -> None:
    result = six(
        labels=("no_tumor", "tumor"),
        truth=["tumor", "no_tumor", "no"],
        probabilities=np.array([[0.2, 0.8], [0.7, 0.3], [0.9, 0.1]]),
        triage=CHOICES[:3],
    )
    assert result.accuracy.value == 1
    assert sorted(row.truth for row in result.triage) == ["all", "no_tumor", "tumor"]


def test_without_a_negative_label_there_are_no_tumour_figures() -> None:
    result = six(negative=None)
    assert result.tumor is None
    assert [row.truth for row in result.triage] == [*LABELS, "all"]


def test_an_absent_label_leaves_its_figures_empty_and_is_named() -> None:
    result = six(truth=["glioma"] * 6)
    assert result.per_class[1].recall == Estimate(None)
    assert result.per_class[0].auroc == Estimate(None)
    assert result.auroc.value is None
    assert result.roc == ()
    assert any("meningioma" in note for note in result.notes)


def test_nobody_assessed() -> None:
    result = six(triage=["cannot_assess"] * 6)
    assert result.coverage.value == 0
    assert result.accuracy_assessed == Estimate(None)


def test_notes_say_what_the_intervals_assume_and_what_failed() -> None:
    assert any("independent" in note for note in six().notes)
    grouped = six(groups=["a", "a", "b", "c", "d", "d"], failed=3)
    assert not any("independent" in note for note in grouped.notes)
    assert any("without an answer" in note for note in grouped.notes)
    assert (grouped.n, grouped.n_failed, grouped.n_groups) == (6, 3, 4)


def test_groups_widen_intervals() -> None:
    truth, chances, triage, _ = simulate(200)
    copies = [np.repeat(np.arange(200), 6)]
    names = [truth[i] for i in copies[0]]
    arguments = (LABELS, "no_tumor", names, chances[copies[0]], [triage[i] for i in copies[0]])
    alone, grouped = (evaluate_arrays(*arguments, groups) for groups in (None, [str(i) for i in copies[0]]))
    assert alone.accuracy.value == grouped.accuracy.value
    for narrow, wide in ((alone.accuracy, grouped.accuracy), (alone.macro_f1, grouped.macro_f1)):
        spans = [float(e.high or 0) - float(e.low or 0) for e in (narrow, wide)]
        assert spans[1] / spans[0] == pytest.approx(math.sqrt(6), rel=0.15)
    assert (grouped.accuracy.method, grouped.macro_f1.method) == ("clustered wilson", "cluster bootstrap")


def test_the_seed_fixes_the_intervals() -> None:
    truth, chances, triage, groups = simulate(90)
    first, again, other = (
        evaluate_arrays(LABELS, "no_tumor", truth, chances, triage, groups, seed=seed, resamples=100)
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first.macro_f1.value == other.macro_f1.value
    assert first.macro_f1 != other.macro_f1


def test_curves_are_thinned_and_keep_their_ends() -> None:
    truth, chances, triage, _ = simulate(3000)
    result = evaluate_arrays(LABELS, "no_tumor", truth, chances, triage, None, resamples=10)
    assert [curve.label for curve in result.roc] == ["glioma", "meningioma", "pituitary", "tumor"]
    for curve in result.roc:
        x, y = np.array(curve.false_positive_rate), np.array(curve.true_positive_rate)
        assert x.size <= 200
        assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
        area = next((row.auroc.value for row in result.per_class if row.label == curve.label), None)
        if area is None:
            assert result.tumor is not None
            area = result.tumor.auroc.value
        assert float((np.diff(x) * (y[1:] + y[:-1]) / 2).sum()) == pytest.approx(area, abs=2e-3)
    assert len(result.risk_coverage.coverage) == 200
    assert result.risk_coverage.coverage[-1] == 1
    assert result.risk_coverage.risk[-1] == pytest.approx(1 - (result.accuracy.value or 0), abs=1e-6)


def test_latency_is_summed_up() -> None:
    (stage,) = six(latency_ms={"infer": [1.0, 2.0, 3.0]}).latency_ms
    assert (stage.stage, stage.mean, stage.median) == ("infer", 2, 2)
    assert stage.p95 == pytest.approx(2.9)


def test_a_thousand_resamples_of_a_test_set_take_less_than_two_seconds() -> None:
    truth, chances, triage, groups = simulate(1500)
    start = time.process_time()
    evaluate_arrays(LABELS, "no_tumor", truth, chances, triage, groups)
    assert time.process_time() - start < 2


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 2), st.integers(0, 3)), min_size=1, max_size=25
    ),
    st.booleans(),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_whatever_the_answers_json_has_bounded_figures(
    rows: list[tuple[int, int, int, int]], grouped: bool, collapsed: bool
) -> None:
    truth = [LABELS[row[0]] for row in rows]
    if collapsed:
        truth = ["no" if name == "no_tumor" else "yes" for name in truth]
    groups = [str(row[3]) for row in rows] if grouped else None
    chances, choices = np.eye(4)[[row[1] for row in rows]], [TRIAGE[row[2]] for row in rows]
    result = evaluate_arrays(LABELS, "no_tumor", truth, chances, choices, groups, resamples=20)
    plain = result.to_dict()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    for figure in figures({key: value for key, value in plain.items() if key != "calibration"}):
        if figure["low"] is not None:
            assert 0 <= figure["low"] <= figure["value"] <= figure["high"] <= 1
        if figure["value"] is not None:
            assert 0 <= figure["value"] <= 1
    assert sum(sum(row) for row in plain["confusion"]) == len(rows)


@given(st.permutations(range(6)))
@settings(max_examples=20, deadline=None)
def test_the_order_of_scans_does_not_change_the_figures(order: list[int]) -> None:
    shuffled = six(truth=[TRUTH[i] for i in order], probabilities=CHANCES[order], triage=[CHOICES[i] for i in order])
    for ours, theirs in zip(figures(six().to_dict()), figures(shuffled.to_dict()), strict=True):
        assert ours["value"] == pytest.approx(theirs["value"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"truth": [], "probabilities": np.zeros((0, 4)), "triage": []}, "nothing to evaluate"),
        ({"truth": ["glioma", *["cat"] * 5]}, "'cat' is not a label"),
        ({"truth": ["yes"] * 6, "negative": None}, "'yes' is not a label"),
        ({"negative": "healthy"}, "make no sense"),
        ({"labels": ("glioma",) * 4}, "make no sense"),
        ({"probabilities": CHANCES[:5]}, "row of each input"),
        ({"groups": ["a"]}, "row of each input"),
        ({"probabilities": CHANCES * 2}, "add up to 1"),
        ({"probabilities": np.full((6, 4), np.nan)}, "add up to 1"),
        ({"triage": ["urgent"] * 6}, "'urgent' is no triage value"),
    ],
)
def test_bad_input_is_refused_with_one_clear_error(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        six(**changes)


def test_to_a_binary_model_every_kind_of_tumour_is_a_tumour() -> None:
    none = CHANCES[:, 2]
    binary = {"labels": ("no_tumor", "tumor"), "probabilities": np.stack((none, 1 - none), axis=1)}
    kinds = six(**binary)
    plain = six(**binary, truth=[name if name == "no_tumor" else "tumor" for name in TRUTH])
    assert kinds.mode == "labels"
    assert kinds.confusion == ((2, 0), (1, 3))
    (note,) = set(kinds.notes) - set(plain.notes)
    assert "every kind of tumour in the truth counts as a tumour" in note
    assert kinds.to_dict() | {"notes": None} == plain.to_dict() | {"notes": None}
    with pytest.raises(UsageError, match="'meningioma' is not a label of this model"):
        six(labels=("glioma", "no_tumor"), probabilities=binary["probabilities"])
