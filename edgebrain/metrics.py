"""How good a classifier is: pure functions over labels and scores.

Classes are integers ``0..K-1``, N is the number of scans, K of classes and R of resamples. Whatever is not defined
because a class is absent (recall without a scan of the class, precision without a prediction of it, an AUROC with one
side empty) is ``nan``, never 0 and never a warning; means over classes leave the undefined ones out. Functions named
``weighted_*`` take sample weights [R, N] and answer for all R rows at once: with the counts of a bootstrap as weights
(``intervals.py``) they replace R slow loops. ``calibration.py`` has what concerns probabilities.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from edgebrain.types import Float64

Indices = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]
Numbers = npt.NDArray[Any]


class ClassRates(NamedTuple):
    """One-vs-rest rates, each float64 [..., K]; ``nan`` where undefined."""

    precision: Float64
    recall: Float64
    specificity: Float64
    f1: Float64
    f2: Float64


class Detection(NamedTuple):
    """A yes/no test: its two rates (``nan`` where undefined) and the four counts behind them."""

    sensitivity: float
    specificity: float
    true_positives: int
    false_negatives: int
    true_negatives: int
    false_positives: int


class RocCurve(NamedTuple):
    """Points of a ROC curve from (0, 0) to (1, 1), one per distinct score; the first threshold is infinite."""

    false_positive_rate: Float64
    true_positive_rate: Float64
    thresholds: Float64


def ratio(numerator: Numbers, denominator: Numbers) -> Float64:
    """Divide elementwise; ``nan`` where the denominator is 0."""
    top, bottom = np.broadcast_arrays(np.asarray(numerator, np.float64), np.asarray(denominator, np.float64))
    quotient: Float64 = np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom != 0)
    return quotient


def mean_defined(values: Numbers) -> Float64:
    """Mean over the last axis of what is not ``nan``; ``nan`` where nothing is."""
    defined = ~np.isnan(values)
    return ratio(np.where(defined, values, 0.0).sum(axis=-1), np.count_nonzero(defined, axis=-1))


def confusion_matrix(truth: Indices, predicted: Indices, classes: int) -> npt.NDArray[np.int64]:
    """Count scans by true class (row) and predicted class (column).

    Args:
        truth: int [N] in 0..K-1.
        predicted: int [N] in 0..K-1.
        classes: K.

    Returns:
        int64 [K, K].
    """
    cells = np.bincount(truth * classes + predicted, minlength=classes * classes)
    return cells.reshape(classes, classes).astype(np.int64)


def weighted_confusion(truth: Indices, predicted: Indices, classes: int, weights: Float64) -> Float64:
    """Confusion matrices of all resamples by one matrix product.

    Args:
        truth: int [N] in 0..K-1.
        predicted: int [N] in 0..K-1.
        classes: K.
        weights: float64 [R, N].

    Returns:
        float64 [R, K, K].
    """
    used, column = np.unique(truth * classes + predicted, return_inverse=True)
    member = np.zeros((truth.size, used.size))
    member[np.arange(truth.size), column] = 1.0
    cells = np.zeros((weights.shape[0], classes * classes))
    cells[:, used] = weights @ member
    return cells.reshape(-1, classes, classes)


def class_rates(confusion: Numbers) -> ClassRates:
    """Precision, recall (sensitivity), specificity, F1 and F2 of each class against the rest.

    F-beta is ``(1 + b²) TP / ((1 + b²) TP + b² FN + FP)`` (van Rijsbergen, Information Retrieval, 1979); it is defined
    as soon as the class occurs in the truth or in the predictions. F2 weighs a missed scan four times a false alarm.

    Args:
        confusion: [..., K, K], rows are the truth.

    Returns:
        The rates, each [..., K].
    """
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    support, named = confusion.sum(axis=-1), confusion.sum(axis=-2)
    others = confusion.sum(axis=(-2, -1))[..., None] - support
    missed, alarms = support - hits, named - hits
    return ClassRates(
        precision=ratio(hits, named),
        recall=ratio(hits, support),
        specificity=ratio(others - alarms, others),
        f1=ratio(2 * hits, 2 * hits + missed + alarms),
        f2=ratio(5 * hits, 5 * hits + 4 * missed + alarms),
    )


def accuracy(confusion: Numbers) -> Float64:
    """Share of scans on the diagonal of [..., K, K]."""
    return ratio(np.trace(confusion, axis1=-2, axis2=-1), confusion.sum(axis=(-2, -1)))


def balanced_accuracy(confusion: Numbers) -> Float64:
    """Mean recall over the classes that occur in the truth (Brodersen et al., ICPR 2010)."""
    return mean_defined(class_rates(confusion).recall)


def macro_f1(confusion: Numbers) -> Float64:
    """Mean F1 over the classes that occur in the truth or in the predictions."""
    return mean_defined(class_rates(confusion).f1)


def weighted_auroc(positive: Flags, score: Float64, weights: Float64) -> Float64:
    """Area under the ROC curve for every row of weights, as the Mann-Whitney statistic.

    It is the chance that a random positive scores above a random negative, a tie counting one half (Hanley & McNeil,
    Radiology 1982).

    Args:
        positive: bool [N].
        score: finite float [N]; higher means more likely positive.
        weights: float64 [R, N].

    Returns:
        float64 [R]; ``nan`` where a row holds no positive or no negative.
    """
    if score.size == 0:
        return np.full(weights.shape[0], np.nan)
    order = np.argsort(score, kind="stable")
    ranked = score[order]
    starts = np.flatnonzero(np.concatenate(([True], ranked[1:] != ranked[:-1])))
    mass = weights.take(order, axis=1)
    positives = np.add.reduceat(mass * positive[order], starts, axis=1)
    negatives = np.add.reduceat(mass, starts, axis=1) - positives
    below = np.cumsum(negatives, axis=1) - negatives / 2
    return ratio((positives * below).sum(axis=1), positives.sum(axis=1) * negatives.sum(axis=1))


def auroc(positive: Flags, score: Float64) -> float:
    """Area under the ROC curve; see ``weighted_auroc``. ``nan`` when one side is empty."""
    return float(weighted_auroc(positive, score, np.ones((1, score.size)))[0])


def roc_curve(positive: Flags, score: Float64) -> RocCurve:
    """True against false positive rate, one point per distinct score (Fawcett, Pattern Recognition Letters 2006).

    Args:
        positive: bool [N].
        score: finite float [N].

    Returns:
        The curve; a rate is ``nan`` throughout when its side is empty.
    """
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    ends = np.flatnonzero(np.concatenate((ranked[1:] != ranked[:-1], [True][: score.size])))
    hits = np.concatenate(([0], np.cumsum(positive[order])[ends]))
    alarms = np.concatenate(([0], np.cumsum(~positive[order])[ends]))
    return RocCurve(ratio(alarms, alarms[-1]), ratio(hits, hits[-1]), np.concatenate(([np.inf], ranked[ends])))


def detection(positive: Flags, score: Float64, threshold: float) -> Detection:
    """Sensitivity and specificity of calling positive whatever scores at least ``threshold``.

    For tumours, ``positive`` is "the truth is anything but the negative label" and ``score`` is one minus the
    probability of that label.

    Args:
        positive: bool [N].
        score: float [N].
        threshold: Lowest score that is called positive.

    Returns:
        Rates and counts.
    """
    called = score >= threshold
    true_positives, false_negatives = int((positive & called).sum()), int((positive & ~called).sum())
    false_positives, true_negatives = int((~positive & called).sum()), int((~positive & ~called).sum())
    return Detection(
        float(ratio(np.array(true_positives), np.array(true_positives + false_negatives))),
        float(ratio(np.array(true_negatives), np.array(true_negatives + false_positives))),
        true_positives,
        false_negatives,
        true_negatives,
        false_positives,
    )
