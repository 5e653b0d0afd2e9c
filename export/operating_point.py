"""Fitting the decision parameters of a bundle on held-out scans."""

from __future__ import annotations

import numpy as np

from edgebrain.calibration import fit_temperature
from edgebrain.decision import DecisionSpec, probabilities_of
from edgebrain.types import Float32

MISSED_TUMOURS = 0.005
"""Share of held-out tumours that may end as ``standard``."""
FALSE_ALARMS = 0.01
"""Share of held-out scans without a tumour that may be prioritised."""
STANDARD_RANGE = (0.02, 0.5)
"""``standard_below`` is kept in here: below, nothing would ever be standard; above, a likely tumour could be."""
OPERATING_RANGE = (0.5, 0.9)
"""The operating point is kept in here: a scan that more likely shows a tumour than not is at least not left in turn."""
MIN_CONFIDENCE = 0.5


def fit_decision(
    logits: Float32, targets: np.ndarray[tuple[int], np.dtype[np.int64]], negative: int | None
) -> DecisionSpec:
    """Fit temperature and thresholds.

    The temperature minimises the negative log-likelihood. ``standard_below`` is the tumour probability that at most
    MISSED_TUMOURS of the tumours stay under; the operating point is the one that at most FALSE_ALARMS of the scans
    without a tumour reach. Between them the model abstains.

    Args:
        logits: float32 [N, K] on scans that were not trained on, copies left out.
        targets: int64 [N].
        negative: Index of the label that means "no tumour", or None.

    Returns:
        The parameters.
    """
    temperature = round(fit_temperature(logits.astype(np.float64), targets), 4)
    if negative is None:
        return DecisionSpec(temperature=temperature, min_confidence=MIN_CONFIDENCE)
    tumor = 1.0 - probabilities_of(logits, temperature)[:, negative]
    ill, well = tumor[targets != negative], tumor[targets == negative]
    below = _clip(float(np.quantile(ill, MISSED_TUMOURS, method="lower")) if len(ill) else 0.0, STANDARD_RANGE)
    point = _clip(float(np.quantile(well, 1 - FALSE_ALARMS, method="higher")) if len(well) else 1.0, OPERATING_RANGE)
    return DecisionSpec(
        temperature=temperature,
        operating_point=round(max(point, below), 4),
        standard_below=round(below, 4),
        min_confidence=MIN_CONFIDENCE,
    )


def _clip(value: float, limits: tuple[float, float]) -> float:
    return min(max(value, limits[0]), limits[1])
