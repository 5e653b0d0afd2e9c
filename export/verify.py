"""The gate: a smaller file must be as good as the one it came from, on scans that it was not calibrated with."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edgebrain.calibration import calibration_error
from edgebrain.decision import DecisionSpec, probabilities_of
from edgebrain.intervals import mcnemar
from edgebrain.types import Float32, Float64


@dataclass(frozen=True)
class Limits:
    """What a quantised file may lose.

    Attributes:
        accuracy_drop: Largest loss of accuracy.
        flips: Largest share of scans that the float file calls a tumour and the quantised one does not.
        ece_change: Largest change of the expected calibration error, either way.
        to_standard: Largest share of the tumours that only the quantised file puts below ``standard_below``.
    """

    accuracy_drop: float = 0.002
    flips: float = 0.001
    ece_change: float = 0.005
    to_standard: float = 0.001


@dataclass(frozen=True)
class Comparison:
    """A quantised file against its float original on the same scans.

    Attributes:
        scans: Number of scans.
        accuracy: Of the float file.
        accuracy_quantised: Of the quantised file.
        p_value: Exact McNemar test that they are equally often right.
        flips: Scans called a tumour by the float file, and no tumour by the quantised one.
        tumours: Scans that show a tumour.
        to_standard: How many of those the float file keeps at or above ``standard_below``, and the quantised one below.
        ece: Expected calibration error of the float file.
        ece_quantised: Of the quantised file.
        largest_shift: Largest change of any probability.
        failures: Limits that are broken, in words; empty when the gate passes.
    """

    scans: int
    accuracy: float
    accuracy_quantised: float
    p_value: float
    flips: int
    tumours: int
    to_standard: int
    ece: float
    ece_quantised: float
    largest_shift: float
    failures: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return asdict(self)


def compare(
    original: Float32,
    quantised: Float32,
    targets: np.ndarray[tuple[int], np.dtype[np.int64]],
    *,
    spec: DecisionSpec,
    negative: int | None,
    limits: Limits,
) -> Comparison:
    """Compare two files by their logits.

    Args:
        original: float32 [N, K] of the float file.
        quantised: float32 [N, K] of the quantised one.
        targets: int64 [N].
        spec: The decision that both files are used with.
        negative: Index of the label that means "no tumour", or None.
        limits: What may be lost.

    Returns:
        The comparison, with the limits that are broken.
    """
    first, second = probabilities_of(original, spec.temperature), probabilities_of(quantised, spec.temperature)
    right, right_quantised = first.argmax(1) == targets, second.argmax(1) == targets
    flips, tumours, to_standard = 0, 0, 0
    if negative is not None:
        flips = int(((first.argmax(1) != negative) & (second.argmax(1) == negative)).sum())
        ill = targets != negative
        tumours = int(ill.sum())
        kept, still_kept = (1 - p[:, negative] >= spec.standard_below for p in (first, second))
        to_standard = int((ill & kept & ~still_kept).sum())
    ece, ece_quantised = _ece(first, right), _ece(second, right_quantised)
    drop = float(right.mean() - right_quantised.mean())
    broken = {
        f"accuracy falls by {drop:.2%}, more than {limits.accuracy_drop:.2%}": drop > limits.accuracy_drop,
        f"{flips} of {len(targets)} scans flip from tumour to no tumour, more than {limits.flips:.2%}": (
            flips > limits.flips * len(targets)
        ),
        f"{to_standard} of {tumours} tumours fall below standard_below, more than {limits.to_standard:.2%}": (
            to_standard > limits.to_standard * tumours
        ),
        f"ECE changes from {ece:.4f} to {ece_quantised:.4f}, more than {limits.ece_change}": (
            abs(ece_quantised - ece) > limits.ece_change
        ),
    }
    return Comparison(
        scans=len(targets),
        accuracy=float(right.mean()),
        accuracy_quantised=float(right_quantised.mean()),
        p_value=float(mcnemar(right, right_quantised).p_value),
        flips=flips,
        tumours=tumours,
        to_standard=to_standard,
        ece=ece,
        ece_quantised=ece_quantised,
        largest_shift=float(np.abs(first - second).max()),
        failures=tuple(text for text, failed in broken.items() if failed),
    )


def _ece(probabilities: Float64, right: np.ndarray[Any, np.dtype[np.bool_]]) -> float:
    return float(calibration_error(probabilities.max(1), right))
