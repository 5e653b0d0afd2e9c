"""The gate: a smaller file must be as good as the one it came from, on scans that it was not calibrated with.

Where there are no such scans, only the golden inputs of the bundle are left: drawn phantoms, on which both files must
say the same. That is a limited gate, and says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from edgebrain.calibration import calibration_error
from edgebrain.decision import DecisionSpec, outlier_score, probabilities_of
from edgebrain.intervals import mcnemar
from edgebrain.metrics import class_rates, confusion_matrix
from edgebrain.types import Float32, Float64

GOLDEN_SHIFT = 0.15
"""Largest change of a probability of a golden input in a limited gate. Phantoms lie between the classes, where 8 bits
move a probability more than on scans."""
Outputs = Mapping[str, Float32]
"""What a graph gives, by the name of the output."""
_Judged = tuple[Outputs, Float64]
Targets = np.ndarray[tuple[int], np.dtype[np.int64]]


@dataclass(frozen=True)
class Limits:
    """What a quantised file may lose.

    Attributes:
        accuracy_drop: Largest loss of accuracy.
        flips: Largest share of scans that the float file calls a tumour and the quantised one does not.
        ece_change: Largest change of the expected calibration error, either way.
        to_standard: Largest share of the tumours that only the quantised file puts below ``standard_below``.
        outlier: Largest share of scans that only one of the files takes for no brain MRI.
        float_layers: Largest share of an INT8 file's layers that may stay in float to keep the other limits.
    """

    accuracy_drop: float = 0.002
    flips: float = 0.001
    ece_change: float = 0.005
    to_standard: float = 0.001
    outlier: float = 0.01
    float_layers: float = 0.5

    @property
    def scans_wanted(self) -> int:
        """Scans of which the strictest share is one; fewer cannot show a loss of its size."""
        shares = [s for s in (self.accuracy_drop, self.flips, self.to_standard, self.outlier) if s > 0]
        return round(1 / min(shares)) if shares else 0


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
        mean_shift: Mean absolute change of a probability.
        recall: Of the float file, by class in the order of the labels; None where a class has no scan.
        recall_quantised: Of the quantised file.
        outlier_shift: Largest change of an outlier score; None where the graph has none.
        outlier_changes: Scans that only one of the files takes for no brain MRI.
        limited: Whether there were no held-out scans: the figures are of golden inputs, and the float file's answers
            stand for the truth.
        scans_wanted: Scans below which the strictest share allows no scan at all, see :class:`Limits`.
        failures: Limits that are broken, in words; empty when the gate passes.
        unprioritised: How many tumours the float file prioritises, and the quantised one does not; None in comparisons
            of earlier versions.
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
    mean_shift: float
    recall: tuple[float | None, ...]
    recall_quantised: tuple[float | None, ...]
    outlier_shift: float | None
    outlier_changes: int
    limited: bool
    scans_wanted: int
    failures: tuple[str, ...]
    unprioritised: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return asdict(self)


@dataclass(frozen=True)
class Judge:
    """What files are compared on, and how strictly.

    Attributes:
        targets: int64 [N]; None where only golden inputs are at hand.
        spec: The decision that every file is used with.
        negative: Index of the label that means "no tumour", or None.
        limits: What may be lost.
    """

    targets: Targets | None
    spec: DecisionSpec
    negative: int | None
    limits: Limits

    def compare(self, original: Outputs, other: Outputs) -> Comparison:
        """Compare two files by their outputs on the same inputs.

        Args:
            original: Outputs of the float file: ``logits`` [N, K], ``outlier`` and ``contradicted`` [N] where there
                are any.
            other: Outputs of the file to judge.

        Returns:
            The comparison, with the limits that are broken.
        """
        temperature = self.spec.temperature
        first, second = (probabilities_of(outputs["logits"], temperature) for outputs in (original, other))
        limited = self.targets is None
        targets = first.argmax(1).astype(np.int64) if self.targets is None else self.targets
        right, right_other = first.argmax(1) == targets, second.argmax(1) == targets
        tumours, to_standard = self._to_standard(first, second, targets)
        shift, changes = self._outliers(original, other)
        found = Comparison(
            scans=len(targets),
            accuracy=float(right.mean()),
            accuracy_quantised=float(right_other.mean()),
            p_value=float(mcnemar(right, right_other).p_value),
            flips=self._flips(first, second),
            tumours=tumours,
            to_standard=to_standard,
            ece=_ece(first, right),
            ece_quantised=_ece(second, right_other),
            largest_shift=float(np.abs(first - second).max()),
            mean_shift=float(np.abs(first - second).mean()),
            recall=_recall(targets, first),
            recall_quantised=_recall(targets, second),
            outlier_shift=shift,
            outlier_changes=changes,
            limited=limited,
            scans_wanted=self.limits.scans_wanted,
            failures=(),
            unprioritised=self._unprioritised((original, first), (other, second), targets),
        )
        broken = _broken_on_golden(found) if limited else _broken(found, self.limits)
        return replace(found, failures=(*_not_finite(original, other), *broken))

    def _flips(self, first: Float64, second: Float64) -> int:
        if self.negative is None:
            return 0
        return int(((first.argmax(1) != self.negative) & (second.argmax(1) == self.negative)).sum())

    def _to_standard(self, first: Float64, second: Float64, targets: Targets) -> tuple[int, int]:
        if self.negative is None:
            return 0, 0
        ill = targets != self.negative
        kept, still_kept = (1 - p[:, self.negative] >= self.spec.standard_below for p in (first, second))
        return int(ill.sum()), int((ill & kept & ~still_kept).sum())

    def _unprioritised(self, original: _Judged, other: _Judged, targets: Targets) -> int:
        if self.negative is None:
            return 0
        before, after = (self._prioritised(outputs, found) for outputs, found in (original, other))
        return int(((targets != self.negative) & before & ~after).sum())

    def _prioritised(self, outputs: Outputs, probabilities: Float64) -> np.ndarray[Any, np.dtype[np.bool_]]:
        likely = 1 - probabilities[:, self.negative] >= self.spec.operating_point
        contradicted = outputs.get("contradicted")
        settled: np.ndarray[Any, np.dtype[np.bool_]] = likely if contradicted is None else likely & (contradicted <= 0)
        return settled

    def _outliers(self, original: Outputs, other: Outputs) -> tuple[float | None, int]:
        if "outlier" not in original:
            return None, 0
        scores = [np.array([outlier_score(float(v)) for v in o["outlier"]]) for o in (original, other)]
        limit = 1.0 if self.spec.max_outlier is None else self.spec.max_outlier
        changes = int(((scores[0] > limit) != (scores[1] > limit)).sum())
        return float(np.abs(scores[0] - scores[1]).max()), changes


def _broken(found: Comparison, limits: Limits) -> tuple[str, ...]:
    drop = found.accuracy - found.accuracy_quantised
    # Asked so that a number that is none is never within a limit.
    within = {
        f"accuracy falls by {drop:.2%}, more than {limits.accuracy_drop:.2%}": drop <= limits.accuracy_drop,
        f"{found.flips} of {found.scans} scans flip from tumour to no tumour, more than {limits.flips:.2%}": (
            found.flips <= limits.flips * found.scans
        ),
        f"{found.to_standard} of {found.tumours} tumours fall below standard_below, more than "
        f"{limits.to_standard:.2%}": found.to_standard <= limits.to_standard * found.tumours,
        f"ECE changes from {found.ece:.4f} to {found.ece_quantised:.4f}, more than {limits.ece_change}": (
            abs(found.ece_quantised - found.ece) <= limits.ece_change
        ),
        f"{found.outlier_changes} of {found.scans} scans are an outlier to one file only, more than "
        f"{limits.outlier:.2%}": found.outlier_changes <= limits.outlier * found.scans,
    }
    return tuple(text for text, kept in within.items() if not kept)


def _broken_on_golden(found: Comparison) -> tuple[str, ...]:
    other = round((1 - found.accuracy_quantised) * found.scans)
    within = {
        f"{other} of {found.scans} golden inputs get another label": other <= 0,
        f"a probability of a golden input changes by {found.largest_shift:.3f}, more than {GOLDEN_SHIFT}": (
            found.largest_shift <= GOLDEN_SHIFT
        ),
    }
    return tuple(text for text, kept in within.items() if not kept)


def _not_finite(original: Outputs, other: Outputs) -> tuple[str, ...]:
    """What no limit may be asked of: a label or a score of a number that is none says nothing."""
    return tuple(
        f"{int((~np.isfinite(values)).sum())} values of {name} of {whose} are not finite"
        for whose, outputs in (("the float file", original), ("this file", other))
        for name, values in outputs.items()
        if not np.isfinite(values).all()
    )


def _recall(targets: Targets, probabilities: Float64) -> tuple[float | None, ...]:
    confusion = confusion_matrix(targets.astype(np.intp), probabilities.argmax(1), probabilities.shape[1])
    return tuple(None if np.isnan(v) else float(v) for v in class_rates(confusion).recall)


def _ece(probabilities: Float64, right: np.ndarray[Any, np.dtype[np.bool_]]) -> float:
    return float(calibration_error(probabilities.max(1), right))
