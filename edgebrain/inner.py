"""The inner loop in numpy: a few gradient steps of softmax regression on the support set.

The same steps as the inner loop of meta-training (train/heads.py), where the start was learned so that these steps
work (ANIL: Raghu et al., "Rapid Learning or Feature Reuse?", ICLR 2020). Each class counts the same, however many scans
it has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgebrain.calibration import fit_temperature
from edgebrain.decision import probabilities_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgebrain.metrics import Flags, Indices
    from edgebrain.types import Float64

SHARPNESS = 10.0
"""Factor on prototypes where they make the start: features have length one, and so have differences of about that."""
_HOTTEST = 1e3


@dataclass(frozen=True)
class Start:
    """Where the inner loop starts, and how it goes.

    Attributes:
        ways: Number of classes K.
        lr: Size of a step.
        steps: Number of steps.
        weight: float64 [K, D], or None to start from prototypes.
        bias: float64 [K], or None.
    """

    ways: int
    lr: float
    steps: int
    weight: Float64 | None = None
    bias: Float64 | None = None


def class_weights(targets: Indices, ways: int) -> Float64:
    """Weight of each scan in the loss, float64 [N]: classes count alike, and all of it is one."""
    counts = np.bincount(targets, minlength=ways)
    result: Float64 = 1.0 / (np.count_nonzero(counts) * counts[targets].astype(np.float64))
    return result


def prototypes(features: Float64, targets: Indices, ways: int) -> tuple[Float64, Float64]:
    """A head that judges by the distance to the mean of each class.

    -s |z - c|^2 / 2 is linear in z but for a term that all classes share: weight s c, bias -s |c|^2 / 2 (Snell et al.,
    "Prototypical Networks for Few-shot Learning", NeurIPS 2017, section 2.4).
    """
    means = np.stack([features[targets == k].mean(axis=0) for k in range(ways)])
    return SHARPNESS * means, -SHARPNESS / 2 * np.einsum("kd,kd->k", means, means)


def inner_loop(features: Float64, targets: Indices, start: Start) -> tuple[Float64, Float64]:
    """Take the steps.

    Args:
        features: float64 [N, D] of length one.
        targets: int [N] in 0..K-1, every class at least once.
        start: Where to start.

    Returns:
        Weight [K, D] and bias [K] after the steps.
    """
    if start.weight is None or start.bias is None:
        weight, bias = prototypes(features, targets, start.ways)
    else:
        weight, bias = start.weight, start.bias
    share = class_weights(targets, start.ways)[:, np.newaxis]
    truth = np.eye(start.ways)[targets]
    for _ in range(start.steps):
        error = (_softmax(features @ weight.T + bias) - truth) * share
        weight = weight - start.lr * (error.T @ features)
        bias = bias - start.lr * error.sum(axis=0)
    return weight, bias


def _softmax(logits: Float64) -> Float64:
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: Float64 = exponents / exponents.sum(axis=1, keepdims=True)
    return result


def leave_one_out(
    features: Float64 | Callable[[Flags], Float64], targets: Indices, groups: Indices, start: Start
) -> Float64:
    """Logits of every scan by a head that never saw its group.

    Args:
        features: float64 [N, D]; where they depend on the scans that are learned from, what makes them of bool [N],
            true where a scan is one of these.
        targets: int [N].
        groups: int [N] in 0..G-1; copies of one scan share one. Each class must be in two groups at least.
        start: Where to start.

    Returns:
        float64 [N, K].
    """
    logits = np.empty((len(targets), start.ways))
    for group in np.unique(groups):
        out = groups == group
        seen = features(~out) if callable(features) else features
        weight, bias = inner_loop(seen[~out], targets[~out], start)
        logits[out] = seen[out] @ weight.T + bias
    return logits


def careful_temperature(logits: Float64, targets: Indices, groups: Indices) -> float:
    """The temperature for logits of scans that were left out.

    The best one by likelihood, but not lower than a handful of scans can vouch for: when all of them were right, the
    likelihood wants a model that is always sure. The floor is the temperature at which the mean confidence is
    (right + 1) / (groups + 2), Laplace's rule of succession. A group counts once, by its means: copies of a scan vouch
    for no more than the scan.

    Args:
        logits: float64 [N, K], each from a head that did not see the scan.
        targets: int [N].
        groups: int [N]; copies of one scan share one.

    Returns:
        The temperature.
    """
    _, index, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    share = 1.0 / (sizes.size * sizes[index])
    right = sizes.size * float(share @ (logits.argmax(axis=1) == targets))
    most = max((right + 1) / (sizes.size + 2), 1.0 / logits.shape[1])

    def confidence(temperature: float) -> float:
        return float(share @ probabilities_of(logits.astype(np.float32), temperature).max(axis=1))

    low = high = fit_temperature(logits, targets)
    if confidence(low) <= most:
        return low
    while confidence(high) > most and high < _HOTTEST:
        high *= 2
    for _ in range(60):  # halves the bracket beyond float64
        middle = (low + high) / 2
        low, high = (middle, high) if confidence(middle) > most else (low, middle)
    return high
