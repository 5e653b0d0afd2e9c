"""The labelled answers of a model, checked, and all figures of them under one resampling.

One statistic computes every figure for a whole matrix of weights. The point estimates are the same code with all
weights 1, so a figure and its interval cannot drift apart, and all intervals come from the same resamples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgebrain.asked import asked_label
from edgebrain.calibration import bin_index, brier_terms, nll_terms, weighted_calibration_error
from edgebrain.errors import UsageError
from edgebrain.intervals import Estimate, bootstrap, estimate, group_index, proportion
from edgebrain.metrics import (
    balanced_accuracy,
    class_rates,
    macro_f1,
    mean_defined,
    ratio,
    weighted_auroc,
    weighted_confusion,
)
from edgebrain.types import Triage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgebrain.metrics import Flags, Indices, Numbers
    from edgebrain.types import Float64

ANY_TUMOR = "tumor"
BINS = 15

_TUMOR_WORDS = frozenset({ANY_TUMOR, "tumour", "yes"})
_NEGATIVE_WORDS = frozenset({"no", "no_tumor", "no_tumour"})
_SUM_TOLERANCE = 1e-3  # float16 graphs round that much; more means these are no probabilities


@dataclass(frozen=True)
class Case:
    """Labelled answers, ready to be counted.

    Attributes:
        labels: K names; in a collapsed case ``tumor`` and the negative label.
        negative: Index of the negative label, or None.
        collapsed: Whether all tumour labels of the model were added up.
        merged: Whether the truth names kinds of tumour that the model does not tell apart; each counts as a tumour.
        truth: int [N].
        predicted: int [N], the most probable label.
        probabilities: float64 [N, K].
        triage: str [N], values of ``Triage``.
        groups: int [N] in 0..G-1, or None.
    """

    labels: tuple[str, ...]
    negative: int | None
    collapsed: bool
    truth: Indices
    predicted: Indices
    probabilities: Float64
    triage: Numbers
    groups: Indices | None
    merged: bool = False

    @property
    def confidence(self) -> Float64:
        """Probability of the predicted label, float64 [N]."""
        best: Float64 = self.probabilities.max(axis=1)
        return best

    @property
    def correct(self) -> Flags:
        """Whether the predicted label is the true one, bool [N]."""
        right: Flags = self.predicted == self.truth
        return right

    @property
    def one_tumor_label(self) -> bool:
        """Whether "any tumour" is one of the labels already."""
        return self.negative is not None and len(set(self.labels) - {self.labels[self.negative]}) == 1

    @property
    def assessed(self) -> Flags:
        """Whether the model was willing to judge, bool [N]."""
        judged: Flags = self.triage != Triage.CANNOT_ASSESS.value
        return judged


def make_case(
    labels: Sequence[str],
    negative: str | None,
    truth: Sequence[str],
    probabilities: Numbers,
    *,
    triage: Sequence[str],
    groups: Sequence[str] | None,
) -> Case:
    """Check the input of an evaluation and bring it into one shape; see ``evaluation.evaluate_arrays``.

    Raises:
        UsageError: Lengths differ, a label or triage value is unknown, or the numbers are no probabilities.
    """
    chances = np.asarray(probabilities, np.float64)
    _check(labels, negative, truth, chances, triage=triage, groups=groups)
    asked = [asked_label(name, labels) for name in truth]
    merged, truth = asked != list(truth), asked
    collapsed = not set(truth) <= set(labels)
    if collapsed:
        names, own = _tumor_or_not(labels, negative, truth)
        none = chances[:, list(labels).index(names[1])]
        # The tumour comes first, so that argmax decides a tie for it.
        chances = np.stack((chances.sum(axis=1) - none, none), axis=1)
    else:
        names, own = tuple(labels), np.array([list(labels).index(name) for name in truth], np.intp)
    return Case(
        labels=names,
        negative=None if negative is None else names.index(negative),
        collapsed=collapsed,
        truth=own,
        predicted=chances.argmax(axis=1),
        probabilities=chances,
        triage=np.array([Triage(value).value for value in triage]),
        groups=None if groups is None else group_index(groups),
        merged=merged,
    )


def _check(
    labels: Sequence[str],
    negative: str | None,
    truth: Sequence[str],
    chances: Float64,
    *,
    triage: Sequence[str],
    groups: Sequence[str] | None,
) -> None:
    n = len(truth)
    if n == 0:
        raise UsageError("There is nothing to evaluate.", remedy="Give at least one labelled scan that can be read.")
    if not labels or len(set(labels)) != len(labels) or (negative is not None and negative not in labels):
        raise UsageError(f"Labels {list(labels)!r} with negative label {negative!r} make no sense.")
    if chances.shape != (n, len(labels)) or len(triage) != n or (groups is not None and len(groups) != n):
        raise UsageError(
            f"An evaluation of {n} scans and {len(labels)} labels needs a row of each input for every scan."
        )
    if not np.isfinite(chances).all() or (chances < 0).any() or (abs(chances.sum(axis=1) - 1) > _SUM_TOLERANCE).any():
        raise UsageError("The probabilities of a scan must be between 0 and 1 and add up to 1.")
    unknown = sorted(set(triage) - {value.value for value in Triage})
    if unknown:
        raise UsageError(f"{unknown[0]!r} is no triage value.")


def _tumor_or_not(labels: Sequence[str], negative: str | None, truth: Sequence[str]) -> tuple[tuple[str, ...], Indices]:
    if negative is None:
        unknown = min(set(truth) - set(labels))
        raise UsageError(
            f"The truth {unknown!r} is not a label of this model.", remedy=f"Its labels are {', '.join(labels)}."
        )
    positives = _TUMOR_WORDS | (set(labels) - {negative})
    negatives = (_NEGATIVE_WORDS | {negative}) - positives
    unknown_names = sorted(name for name in set(truth) if name not in positives | negatives)
    if unknown_names:
        raise UsageError(
            f"The truth {unknown_names[0]!r} is not a label of this model.",
            remedy=f"Use {', '.join(labels)}, or {ANY_TUMOR!r} (any tumour) and {negative!r}.",
        )
    return (ANY_TUMOR, negative), np.array([int(name in negatives) for name in truth], np.intp)


def measure(case: Case, *, resamples: int, seed: int) -> dict[str, Estimate]:
    """Every figure of a case by name.

    Args:
        case: N scans, K labels.
        resamples: Number of bootstrap resamples.
        seed: Seed of the bootstrap.

    Returns:
        ``accuracy``, ``accuracy_assessed``, ``coverage``, ``macro_f1``, ``balanced_accuracy``, ``macro_f2``,
        ``macro_precision``, ``macro_specificity``, ``auroc``, ``ece``, ``ece_equal_width``,
        ``brier``, ``nll``; per label index k ``precision/k``, ``recall/k``, ``specificity/k``,
        ``f1/k``, ``f2/k``, ``auroc/k``, and ``<triage>/k``; ``<triage>/all``; with a negative label also
        ``tumor/sensitivity``, ``tumor/specificity``, ``tumor/auroc`` and ``<triage>/tumor``.
    """
    shares = _shares(case)
    names, statistic = _statistic(case, shares)
    values = statistic(np.ones((1, case.truth.size)))[0]
    draws = bootstrap(statistic, case.truth.size, case.groups, resamples=resamples, seed=seed)
    figures: dict[str, Estimate] = {}
    for column, name in enumerate(names):
        if name in shares:
            figures[name] = proportion(*shares[name], case.groups, draws[:, column])
        else:
            figures[name] = estimate(float(values[column]), draws[:, column], clustered=case.groups is not None)
    return figures


def _shares(case: Case) -> dict[str, tuple[Flags, Flags]]:
    """Figures that are proportions: what is counted, and among what."""
    everything = np.ones(case.truth.size, np.bool_)
    shares = {
        "accuracy": (case.correct, everything),
        "accuracy_assessed": (case.correct, case.assessed),
        "coverage": (case.assessed, everything),
    }
    populations = {"all": everything} | {str(k): case.truth == k for k in range(len(case.labels))}
    for k in range(len(case.labels)):
        own, named = case.truth == k, case.predicted == k
        shares |= {f"precision/{k}": (own, named), f"recall/{k}": (named, own), f"specificity/{k}": (~named, ~own)}
    if case.negative is not None:
        tumor, called = case.truth != case.negative, case.predicted != case.negative
        shares |= {"tumor/sensitivity": (called, tumor), "tumor/specificity": (~called, ~tumor)}
        populations["tumor"] = tumor
    for value in Triage:
        chosen = case.triage == value.value
        shares |= {f"{value.value}/{name}": (chosen, members) for name, members in populations.items()}
    return shares


def _statistic(case: Case, shares: dict[str, tuple[Flags, Flags]]) -> tuple[list[str], Callable[[Float64], Float64]]:
    """Names of all figures, and the function from weights [R, N] to their values [R, M]."""
    classes, chances, confidence = len(case.labels), case.probabilities, case.confidence
    hits = np.stack([hit & among for hit, among in shares.values()], axis=1).astype(np.float64)
    members = np.stack([among for _, among in shares.values()], axis=1).astype(np.float64)
    terms = np.stack((brier_terms(chances, case.truth), nll_terms(chances, case.truth)), axis=1)
    mass = bin_index(confidence, BINS, "equal_mass")
    width = bin_index(confidence, BINS, "equal_width")

    def statistic(weights: Float64) -> Float64:
        confusion = weighted_confusion(case.truth, case.predicted, classes, weights)
        rates = class_rates(confusion)
        areas = np.stack([weighted_auroc(case.truth == k, chances[:, k], weights) for k in range(classes)], axis=1)
        single = [
            macro_f1(confusion),
            balanced_accuracy(confusion),
            mean_defined(rates.f2),
            mean_defined(rates.precision),
            mean_defined(rates.specificity),
            mean_defined(areas),
            weighted_calibration_error(confidence, case.correct, mass, weights),
            weighted_calibration_error(confidence, case.correct, width, weights),
        ]
        if case.negative is not None:
            single.append(weighted_auroc(case.truth != case.negative, 1 - chances[:, case.negative], weights))
        proportions = ratio(weights @ hits, weights @ members)
        scores = ratio(weights @ terms, weights.sum(axis=1, keepdims=True))
        return np.concatenate((proportions, rates.f1, rates.f2, areas, scores, np.stack(single, axis=1)), axis=1)

    names = [*shares, *(f"{name}/{k}" for name in ("f1", "f2", "auroc") for k in range(classes)), "brier", "nll"]
    names += ["macro_f1", "balanced_accuracy", "macro_f2", "macro_precision", "macro_specificity"]
    names += ["auroc", "ece", "ece_equal_width"]
    return names + ["tumor/auroc"] * (case.negative is not None), statistic
