"""How good a model is on labelled scans: every figure with its interval.

Truth may name the model's own labels, or only say whether there is a tumour (``tumor`` or ``yes`` against the negative
label or ``no``). Then the probabilities of all tumour labels are added up, and the evaluation is about tumours alone.
A model that only says whether there is a tumour is judged on that: every kind of tumour in the truth is one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgebrain.calibration import error_if_calibrated, reliability_bins, risk_coverage
from edgebrain.evaluation.case import ANY_TUMOR, BINS, Case, make_case, measure
from edgebrain.evaluation.record import (
    CalibrationFigures,
    ClassFigures,
    Evaluation,
    Latency,
    ReliabilityBin,
    RiskPoints,
    RocPoints,
    TriageRow,
    TumorFigures,
)
from edgebrain.intervals import LEVEL, Estimate, wilson
from edgebrain.metrics import RocCurve, confusion_matrix, roc_curve
from edgebrain.types import Triage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgebrain.metrics import Indices, Numbers
    from edgebrain.types import Float64

__all__ = ["ALL_SCANS", "Evaluation", "evaluate_arrays", "without_scans"]

ALL_SCANS = "all"

_POINTS = 200  # points of a curve that are kept; more cannot be seen
_DIGITS = 6
_STRAIGHT = 1e-15  # area of a triangle of three points of a curve that lie on one line, but for rounding


def evaluate_arrays(  # noqa: PLR0917 - parallel inputs, one row a scan
    labels: Sequence[str],
    negative: str | None,
    truth: Sequence[str],
    probabilities: Numbers,
    triage: Sequence[str],
    groups: Sequence[str] | None,
    *,
    failed: int = 0,
    seed: int = 0,
    resamples: int = 1000,
    latency_ms: Mapping[str, Sequence[float]] | None = None,
) -> Evaluation:
    """Evaluate the answers of a model on N labelled scans.

    Args:
        labels: The K labels of the model.
        negative: The one that means no tumour, or None.
        truth: N true labels. For a model whose labels are ``no_tumor`` and ``tumor``, every kind of tumour is
            ``tumor``. Else, if any is ``tumor``, ``tumour``, ``yes``, ``no``, ``no_tumor`` or ``no_tumour`` without
            being a label of the model, all tumours are taken together.
        probabilities: float [N, K], calibrated as the model gives them.
        triage: N values of ``Triage``.
        groups: N names of groups whose scans belong together (patients, near-duplicates), or None.
        failed: Number of further scans that got no answer.
        seed: Seed of the bootstrap.
        resamples: Number of its resamples.
        latency_ms: Milliseconds per scan of every stage.

    Returns:
        The evaluation.

    Raises:
        UsageError: There are no scans, lengths differ, a label or triage value is unknown, or the numbers are no
            probabilities.
    """
    case = make_case(labels, negative, truth, probabilities, triage=triage, groups=groups)
    figures = measure(case, resamples=resamples, seed=seed)
    confusion = confusion_matrix(case.truth, case.predicted, len(case.labels))
    return Evaluation(
        mode="tumor_vs_none" if case.collapsed else "labels",
        notes=_notes(case, failed),
        n=len(truth),
        n_failed=failed,
        n_groups=None if groups is None else len(set(groups)),
        labels=case.labels,
        negative=negative,
        accuracy=figures["accuracy"],
        balanced_accuracy=figures["balanced_accuracy"],
        macro_f1=figures["macro_f1"],
        macro_f2=figures["macro_f2"],
        macro_precision=figures["macro_precision"],
        macro_specificity=figures["macro_specificity"],
        auroc=figures["auroc"],
        coverage=figures["coverage"],
        accuracy_assessed=figures["accuracy_assessed"],
        tumor=_tumor(case, figures),
        per_class=tuple(_class(case, figures, k) for k in range(len(case.labels))),
        confusion=tuple(tuple(int(count) for count in row) for row in confusion),
        triage=_triage(case, figures),
        calibration=_calibration(case, figures),
        roc=_roc(case),
        risk_coverage=_risk(case),
        latency_ms=tuple(_latency(stage, times) for stage, times in (latency_ms or {}).items()),
        resamples=resamples,
        seed=seed,
    )


def without_scans(
    labels: Sequence[str], negative: str | None, *, failed: int = 0, seed: int = 0, resamples: int = 1000
) -> Evaluation:
    """The evaluation of a set without a labelled scan, of pictures alone for instance: every figure is undefined.

    Args:
        labels: The K labels of the model.
        negative: The one that means no tumour, or None.
        failed: Number of scans that got no answer.
        seed: Seed of the bootstrap, for the record.
        resamples: Number of its resamples, for the record.
    """
    none = Estimate(None)
    return Evaluation(
        mode="labels",
        notes=("No scan was evaluated: every figure on scans is left empty.",),
        n=0,
        n_failed=failed,
        n_groups=None,
        labels=tuple(labels),
        negative=negative,
        accuracy=none,
        balanced_accuracy=none,
        macro_f1=none,
        auroc=none,
        coverage=none,
        accuracy_assessed=none,
        tumor=None if negative is None else TumorFigures(0, 0, none, none, none, none, none, none),
        per_class=tuple(ClassFigures(label, 0, none, none, none, none, none, none) for label in labels),
        confusion=tuple((0,) * len(labels) for _ in labels),
        triage=(TriageRow(ALL_SCANS, 0, none, none, none),),
        calibration=CalibrationFigures(ece=none, ece_equal_width=none, brier=none, nll=none, bins=()),
        roc=(),
        risk_coverage=RiskPoints(None, (), (), ()),
        latency_ms=(),
        resamples=resamples,
        seed=seed,
    )


def _notes(case: Case, failed: int) -> tuple[str, ...]:
    notes = []
    if case.collapsed:
        notes.append(
            "The truth only says whether there is a tumour: the probabilities of all tumour labels are added up, and "
            "which kind of tumour it is was not evaluated."
        )
    if case.merged:
        notes.append(
            "The model only says whether there is a tumour: every kind of tumour in the truth counts as a tumour."
        )
    absent = [label for k, label in enumerate(case.labels) if not (case.truth == k).any()]
    if absent:
        notes.append(
            f"No scan is {' or '.join(absent)}: figures that need one are left empty, and means leave them out."
        )
    if case.groups is None:
        notes.append("Every scan counts as independent; slices of one patient would make the intervals too narrow.")
    if failed:
        notes.append("Scans without an answer are in no figure.")
    return tuple(notes)


def _class(case: Case, figures: Mapping[str, Estimate], k: int) -> ClassFigures:
    names = ("precision", "recall", "specificity", "f1", "f2", "auroc")
    return ClassFigures(case.labels[k], int((case.truth == k).sum()), *(figures[f"{name}/{k}"] for name in names))


def _tumor(case: Case, figures: Mapping[str, Estimate]) -> TumorFigures | None:
    if case.negative is None:
        return None
    tumors = int((case.truth != case.negative).sum())
    own = [figures[f"tumor/{name}"] for name in ("sensitivity", "specificity", "auroc")]
    return TumorFigures(tumors, case.truth.size - tumors, *own, *(figures[f"{value.value}/tumor"] for value in Triage))


def _triage(case: Case, figures: Mapping[str, Estimate]) -> tuple[TriageRow, ...]:
    populations = [(label, str(k), int((case.truth == k).sum())) for k, label in enumerate(case.labels)]
    if case.negative is not None and not case.one_tumor_label:
        populations.append((ANY_TUMOR, "tumor", int((case.truth != case.negative).sum())))
    populations.append((ALL_SCANS, "all", case.truth.size))
    return tuple(
        TriageRow(truth, n, *(figures[f"{value.value}/{key}"] for value in Triage)) for truth, key, n in populations
    )


def _calibration(case: Case, figures: Mapping[str, Estimate]) -> CalibrationFigures:
    bins = reliability_bins(case.confidence, case.correct, BINS, "equal_width")
    rows = [
        ReliabilityBin(int(n), float(mean), Estimate(float(right), *wilson(float(right * n), int(n)), "wilson"))
        for n, mean, right in zip(bins.counts, bins.confidence, bins.accuracy, strict=True)
    ]
    return CalibrationFigures(
        ece=figures["ece"],
        ece_equal_width=figures["ece_equal_width"],
        brier=figures["brier"],
        nll=figures["nll"],
        bins=tuple(rows),
        ece_if_calibrated=_if_calibrated(case),
    )


def _if_calibrated(case: Case) -> Estimate:
    errors = error_if_calibrated(case.confidence, BINS)
    low, high = np.quantile(errors, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return Estimate(float(errors.mean()), float(low), float(high), "consistency resampling")


def _roc(case: Case) -> tuple[RocPoints, ...]:
    sides = [
        (label, case.truth == k, case.probabilities[:, k])
        for k, label in enumerate(case.labels)
        if k != case.negative  # its curve is the one of any tumour, mirrored
    ]
    if case.negative is not None and not case.one_tumor_label:
        sides.append((ANY_TUMOR, case.truth != case.negative, 1 - case.probabilities[:, case.negative]))
    curves = [
        (label, roc_curve(positive, score)) for label, positive, score in sides if 0 < positive.sum() < positive.size
    ]
    return tuple(RocPoints(label, *_corners(curve)) for label, curve in curves)


def _corners(curve: RocCurve) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Drop points in the middle of a straight line, then thin evenly what is left."""
    right, up = np.diff(curve.false_positive_rate), np.diff(curve.true_positive_rate)
    bends = np.concatenate(([True], np.abs(right[1:] * up[:-1] - right[:-1] * up[1:]) > _STRAIGHT, [True]))
    kept = np.flatnonzero(bends)
    kept = kept[_thin(kept.size)]
    return _rounded(curve.false_positive_rate[kept]), _rounded(curve.true_positive_rate[kept])


def _risk(case: Case) -> RiskPoints:
    curve = risk_coverage(case.confidence, case.correct)
    kept = _thin(curve.coverage.size)
    points = (_rounded(values[kept]) for values in (curve.coverage, curve.risk, curve.threshold))
    return RiskPoints(curve.aurc, *points)


def _thin(n: int) -> Indices:
    return np.unique(np.linspace(0, n - 1, min(n, _POINTS)).round().astype(np.intp))


def _rounded(values: Float64) -> tuple[float, ...]:
    return tuple(round(float(value), _DIGITS) for value in values)


def _latency(stage: str, times: Sequence[float]) -> Latency:
    median, p95 = np.percentile(times, [50, 95])
    return Latency(stage, float(np.mean(times)), float(median), float(p95))
