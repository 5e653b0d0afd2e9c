"""Whether probabilities mean what they say: reliability, proper scores, selective risk, temperature.

The conventions are those of ``metrics.py``: N scans, K classes, ``nan`` for what is not defined, no warnings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from edgebrain.metrics import mean_defined, ratio

if TYPE_CHECKING:
    from edgebrain.metrics import Flags, Indices, Numbers
    from edgebrain.types import Float64

Binning = Literal["equal_mass", "equal_width"]

TEMPERATURE_BOUNDS = (0.05, 20.0)
_EPSILON = float(np.finfo(np.float64).eps)


class Bins(NamedTuple):
    """The non-empty bins of a reliability diagram, by rising confidence."""

    counts: Indices
    confidence: Float64
    accuracy: Float64


class RiskCoverage(NamedTuple):
    """Error rate (``risk``) among the share of scans (``coverage``) that is at least as confident as ``threshold``."""

    coverage: Float64
    risk: Float64
    threshold: Float64
    aurc: float


def bin_index(confidence: Float64, bins: int = 15, scheme: Binning = "equal_mass") -> Indices:
    """Put confidences into bins, without ever splitting equal ones.

    Args:
        confidence: float [N] in [0, 1].
        bins: Largest number of bins.
        scheme: ``equal_width`` cuts [0, 1] evenly (Naeini et al., AAAI 2015); ``equal_mass`` cuts at quantiles, so that
            bins hold about as many scans each (Nixon et al., CVPR Workshops 2019) and a confident model is not judged
            by one bin alone.

    Returns:
        int [N] in 0..bins-1, rising with the confidence. Bin b of ``equal_width`` is (b / bins, (b + 1) / bins].
    """
    if confidence.size == 0:
        return np.zeros(0, np.intp)
    inner = np.arange(1, bins) / bins
    edges = inner if scheme == "equal_width" else np.unique(np.quantile(confidence, inner))
    return np.searchsorted(edges, confidence, side="left").astype(np.intp)


def reliability_bins(confidence: Float64, correct: Flags, bins: int = 15, scheme: Binning = "equal_mass") -> Bins:
    """Mean confidence and accuracy per bin (DeGroot & Fienberg, The Statistician 1983); empty bins are left out."""
    index = bin_index(confidence, bins, scheme)
    count = np.bincount(index, minlength=bins)
    used = count > 0
    return Bins(
        count[used],
        np.bincount(index, confidence, bins)[used] / count[used],
        np.bincount(index, correct.astype(np.float64), bins)[used] / count[used],
    )


def weighted_calibration_error(confidence: Float64, correct: Flags, index: Indices, weights: Float64) -> Float64:
    """Expected calibration error for every row of weights, over bins that stay as they are.

    Args:
        confidence: float [N].
        correct: bool [N].
        index: int [N], the bin of each scan (``bin_index``).
        weights: float64 [R, N].

    Returns:
        float64 [R] in [0, 1]; ``nan`` for a row without weight.
    """
    gaps = np.zeros((index.size, int(index.max(initial=-1)) + 1))
    gaps[np.arange(index.size), index] = correct - confidence
    return ratio(np.abs(weights @ gaps).sum(axis=1), weights.sum(axis=1))


def calibration_error(confidence: Float64, correct: Flags, bins: int = 15, scheme: Binning = "equal_mass") -> float:
    """Expected calibration error: mean |accuracy - confidence| over bins, weighted by their size.

    Naeini et al., AAAI 2015; Guo et al., ICML 2017.

    Args:
        confidence: float [N], the probability of the predicted class.
        correct: bool [N], whether it was the true one.
        bins: Largest number of bins.
        scheme: How they are cut, see ``bin_index``.

    Returns:
        The error in [0, 1]; ``nan`` without scans. It is biased upwards when bins hold few scans.
    """
    index = bin_index(confidence, bins, scheme)
    return float(weighted_calibration_error(confidence, correct, index, np.ones((1, index.size)))[0])


def error_if_calibrated(
    confidence: Float64, bins: int = 15, scheme: Binning = "equal_mass", *, draws: int = 1000, seed: int = 0
) -> Float64:
    """The calibration errors that these confidences would show if they meant what they say.

    On few scans even a perfect model has an error, because every bin's share of right answers is a matter of luck.
    Whether each scan is right is drawn from its confidence, scans by themselves (consistency resampling: Bröcker &
    Smith, "Increasing the reliability of reliability diagrams", Weather and Forecasting 2007).

    Args:
        confidence: float [N] in [0, 1].
        bins: As in ``calibration_error``.
        scheme: The same.
        draws: D.
        seed: Of the draws.

    Returns:
        float64 [D]; ``nan`` without scans.
    """
    rng = np.random.default_rng(seed)
    ranked = np.sort(confidence)  # the order of scans must not change what is drawn for them
    index = bin_index(ranked, bins, scheme)
    starts = np.flatnonzero(np.diff(index, prepend=-1))
    errors = np.full(draws, np.nan)
    for draw in range(draws if ranked.size else 0):
        gaps = (rng.random(ranked.size) < ranked) - ranked
        errors[draw] = np.abs(np.add.reduceat(gaps, starts)).sum() / ranked.size
    return errors


def brier_terms(probabilities: Float64, truth: Indices) -> Float64:
    """Squared distance in [0, 2] of each row of [N, K] to the true class (Brier, Monthly Weather Review 1950)."""
    target = np.arange(probabilities.shape[1]) == truth[:, None]
    terms: Float64 = np.square(probabilities - target).sum(axis=1)
    return terms


def nll_terms(probabilities: Float64, truth: Indices) -> Float64:
    """Minus the natural logarithm of each true class's probability, which is floored at 2.2e-16 (float64 epsilon)."""
    return -np.log(np.clip(probabilities[np.arange(truth.size), truth], _EPSILON, 1.0))


def brier_score(probabilities: Float64, truth: Indices) -> float:
    """Multi-class Brier score in [0, 2], lower is better; ``nan`` without scans."""
    return float(mean_defined(brier_terms(probabilities, truth)))


def negative_log_likelihood(probabilities: Float64, truth: Indices) -> float:
    """Mean negative log-likelihood in nats, lower is better; ``nan`` without scans."""
    return float(mean_defined(nll_terms(probabilities, truth)))


def risk_coverage(confidence: Float64, correct: Flags) -> RiskCoverage:
    """Error rate among the most confident scans, for every share of them (El-Yaniv & Wiener, JMLR 2010).

    ``aurc`` is the risk averaged over coverages 1/N, 2/N ... 1 (Geifman, Uziel & El-Yaniv, ICLR 2019). Scans of equal
    confidence are taken in together; inside such a tie the average uses the risk expected of a random order, so the
    order of the input does not matter.

    Args:
        confidence: float [N].
        correct: bool [N].

    Returns:
        One point per distinct confidence, by rising coverage; empty with ``aurc`` ``nan`` without scans.
    """
    if confidence.size == 0:
        return RiskCoverage(np.zeros(0), np.zeros(0), np.zeros(0), float("nan"))
    order = np.argsort(-confidence, kind="stable")
    ranked = confidence[order]
    ends = np.flatnonzero(np.concatenate((ranked[1:] != ranked[:-1], [True]))) + 1
    errors = np.cumsum(~correct[order])[ends - 1]
    taken = np.arange(1, confidence.size + 1)
    # Straight lines between the ends of ties are the errors expected of a random order.
    expected = np.interp(taken, np.concatenate(([0], ends)), np.concatenate(([0], errors)))
    return RiskCoverage(ends / confidence.size, errors / ends, ranked[ends - 1], float((expected / taken).mean()))


def fit_temperature(logits: Numbers, truth: Indices, bounds: tuple[float, float] = TEMPERATURE_BOUNDS) -> float:
    """Temperature T that makes ``softmax(logits / T)`` most likely (Guo et al., ICML 2017).

    The negative log-likelihood is convex in 1/T: Newton's method on its derivative, kept inside a bracket that
    bisection shrinks.

    Args:
        logits: finite float [N, K].
        truth: int [N] in 0..K-1.
        bounds: Lowest and highest T. A perfect classifier has no best T and gets the lowest one.

    Returns:
        T within ``bounds``; 1.0 when the data say nothing about it (no scans, or logits that are all equal).
    """
    shifted = np.asarray(logits, np.float64)
    if shifted.size == 0 or not np.ptp(shifted, axis=1).any():
        return 1.0
    shifted = shifted - shifted.max(axis=1, keepdims=True)
    own = shifted[np.arange(truth.size), truth].mean()

    def slope_and_curvature(inverse: float) -> tuple[float, float]:
        chances = np.exp(shifted * inverse)
        chances /= chances.sum(axis=1, keepdims=True)
        mean = (chances * shifted).sum(axis=1)
        return float(mean.mean() - own), float(((chances * shifted**2).sum(axis=1) - mean**2).mean())

    low, high = 1.0 / bounds[1], 1.0 / bounds[0]
    if slope_and_curvature(low)[0] >= 0:
        return bounds[1]
    if slope_and_curvature(high)[0] <= 0:
        return bounds[0]
    inverse = min(max(1.0, low), high)
    for _ in range(200):
        slope, curvature = slope_and_curvature(inverse)
        low, high = (inverse, high) if slope < 0 else (low, inverse)
        step = inverse - slope / curvature if curvature > 0 else low
        following = step if low < step < high else (low + high) / 2
        if abs(following - inverse) <= 1e-12 * inverse:
            break
        inverse = following
    return 1.0 / inverse
