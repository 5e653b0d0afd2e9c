"""Fitting the decision parameters of a bundle on held-out scans."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgebrain.calibration import fit_temperature
from edgebrain.decision import DecisionSpec, probabilities_of
from edgebrain.types import Float32

MISSED_TUMOURS = 0.005
"""Share of held-out tumours that may end as ``standard``."""
FALSE_ALARMS = 0.01
"""Share of held-out scans without a tumour that may be prioritised."""
STANDARD_RANGE = (0.02, 0.05)
"""``standard_below`` is kept in here. Below, next to nothing would be standard. Above, held-out scans of the same
sources would allow more, but their calibration does not reach other sources (docs/decisions/0009)."""
OPERATING_RANGE = (0.5, 0.9)
"""The operating point is kept in here: a scan that more likely shows a tumour than not is at least not left in turn."""
MIN_CONFIDENCE = 0.5


@dataclass(frozen=True)
class FittedDecision:
    """Decision parameters and what they rest on.

    Attributes:
        spec: The parameters.
        tumours: Number of scans with a tumour that they were fitted on.
        others: Number of scans without one.
        capped: Thresholds that the scans would have put outside of their range, in words.
    """

    spec: DecisionSpec
    tumours: int
    others: int
    capped: tuple[str, ...] = ()

    def describe(self) -> str:
        """What the parameters rest on, for the manifest and the card."""
        limits = "; ".join(self.capped) or "no threshold met its limit"
        return f"{self.tumours} validation scans with a tumour and {self.others} without; {limits}"


def fit_decision(
    logits: Float32, targets: np.ndarray[tuple[int], np.dtype[np.int64]], negative: int | None
) -> FittedDecision:
    """Fit temperature and thresholds.

    The temperature minimises the negative log-likelihood. ``standard_below`` is the tumour probability that at most
    MISSED_TUMOURS of the tumours stay under; the operating point is the one that at most FALSE_ALARMS of the scans
    without a tumour reach. Between them the model abstains.

    Args:
        logits: float32 [N, K] on scans that were not trained on, copies left out.
        targets: int64 [N].
        negative: Index of the label that means "no tumour", or None.

    Returns:
        The parameters, and what they rest on.
    """
    temperature = round(fit_temperature(logits.astype(np.float64), targets), 4)
    if negative is None:
        return FittedDecision(DecisionSpec(temperature=temperature, min_confidence=MIN_CONFIDENCE), len(targets), 0)
    tumor = 1.0 - probabilities_of(logits, temperature)[:, negative]
    ill, well = tumor[targets != negative], tumor[targets == negative]
    wanted_below = float(np.quantile(ill, MISSED_TUMOURS, method="lower")) if len(ill) else 0.0
    wanted_point = float(np.quantile(well, 1 - FALSE_ALARMS, method="higher")) if len(well) else 1.0
    below, point = _clip(wanted_below, STANDARD_RANGE), _clip(wanted_point, OPERATING_RANGE)
    spec = DecisionSpec(
        temperature=temperature,
        operating_point=round(max(point, below), 4),
        standard_below=round(below, 4),
        min_confidence=MIN_CONFIDENCE,
    )
    thresholds = (("standard_below", wanted_below, below), ("operating_point", wanted_point, point))
    capped = tuple(
        f"{name} is held at its limit {kept:g} (the scans alone give {wanted:.4f})"
        for name, wanted, kept in thresholds
        if wanted != kept
    )
    return FittedDecision(spec, len(ill), len(well), capped)


def _clip(value: float, limits: tuple[float, float]) -> float:
    return min(max(value, limits[0]), limits[1])
