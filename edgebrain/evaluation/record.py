"""The record of an evaluation: what ``edgebrain evaluate`` knows about a model, ready for JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from edgebrain.intervals import Estimate

if TYPE_CHECKING:
    from rich.console import RenderableType

EVALUATION_SCHEMA = 2
_NONE = Estimate(None)


@dataclass(frozen=True)
class ClassFigures:
    """One label against the rest; ``support`` is the number of scans whose truth it is."""

    label: str
    support: int
    precision: Estimate
    recall: Estimate
    specificity: Estimate
    f1: Estimate
    f2: Estimate
    auroc: Estimate


@dataclass(frozen=True)
class TumorFigures:
    """Any tumour against none.

    Attributes:
        tumors: Number of scans with a tumour.
        others: Number of scans without.
        sensitivity: Share of tumours whose most probable label is a tumour, of whatever kind.
        specificity: Share of the others whose most probable label is the negative one.
        auroc: For one minus the probability of the negative label.
        prioritised: Share of tumours that the operating point of the model puts first.
        standard: Share of tumours left in their turn: what the operating point misses.
        cannot_assess: Share of tumours handed to a person unjudged.
    """

    tumors: int
    others: int
    sensitivity: Estimate
    specificity: Estimate
    auroc: Estimate
    prioritised: Estimate
    standard: Estimate
    cannot_assess: Estimate


@dataclass(frozen=True)
class TriageRow:
    """What triage did with the scans of one truth: a label, ``tumor`` (any tumour) or ``all``."""

    truth: str
    n: int
    prioritise: Estimate
    standard: Estimate
    cannot_assess: Estimate


@dataclass(frozen=True)
class ReliabilityBin:
    """Scans of similar confidence: their number, mean confidence, and accuracy with Wilson's interval."""

    count: int
    confidence: float
    accuracy: Estimate


@dataclass(frozen=True)
class CalibrationFigures:
    """Whether probabilities mean what they say.

    Attributes:
        ece: Expected calibration error of the most probable label, 15 bins of equal mass.
        ece_equal_width: The same with 15 bins of equal width.
        brier: Multi-class Brier score, 0 to 2.
        nll: Negative log-likelihood in nats.
        bins: The non-empty bins of equal width.
        ece_if_calibrated: What ``ece`` would be, on scans of these confidences, if they meant what they say: mean and
            95 % range. An ``ece`` inside it is no sign of a fault.
    """

    ece: Estimate
    ece_equal_width: Estimate
    brier: Estimate
    nll: Estimate
    bins: tuple[ReliabilityBin, ...]
    ece_if_calibrated: Estimate = _NONE


@dataclass(frozen=True)
class RocPoints:
    """A ROC curve, thinned for drawing; ``label`` against the rest."""

    label: str
    false_positive_rate: tuple[float, ...]
    true_positive_rate: tuple[float, ...]


@dataclass(frozen=True)
class RiskPoints:
    """Error rate among the most confident share of scans, thinned for drawing; ``aurc`` is of the whole curve."""

    aurc: float | None
    coverage: tuple[float, ...]
    risk: tuple[float, ...]
    confidence: tuple[float, ...]


@dataclass(frozen=True)
class PictureSource:
    """Pictures of one data set that are no brain MRI, and the share of them that was not refused."""

    source: str
    n: int
    accepted: Estimate


@dataclass(frozen=True)
class ScoreBin:
    """How many scans and pictures have an outlier score in [low, high); the last bin holds 1, too."""

    low: float
    high: float
    scans: int
    pictures: int


@dataclass(frozen=True)
class OutlierFigures:
    """Whether the model tells brain MRI slices from other pictures.

    Attributes:
        n: Pictures, labelled ``not_brain_mri``, with an answer.
        accepted: Share of pictures that are not ``cannot_assess``.
        standard: Share of pictures left in their turn.
        per_source: One row a data set of pictures.
        scans: Scans with an outlier score.
        limit: Outlier score above which the model refuses; None where it has no limit.
        refused_as_outlier: Share of scans above the limit.
        auroc: Chance that a picture's outlier score is above a scan's.
        scores: Histogram of the outlier score; empty where the model gives none.
    """

    n: int
    accepted: Estimate
    standard: Estimate
    per_source: tuple[PictureSource, ...]
    scans: int
    limit: float | None
    refused_as_outlier: Estimate
    auroc: Estimate
    scores: tuple[ScoreBin, ...]


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one stage over all scans."""

    stage: str
    mean: float
    median: float
    p95: float


@dataclass(frozen=True)
class Evaluation:
    """The figures of one model on one set of scans; intervals are at 95 %.

    Attributes:
        mode: ``labels``, or ``tumor_vs_none`` when the truth only says whether there is a tumour.
        notes: What a reader must know to read the figures right.
        n: Scans with an answer; the figures are about these. With none, every figure is undefined.
        n_failed: Scans and pictures without one.
        n_groups: Groups (patients, near-duplicates) among them, or None when every scan was taken as independent.
        labels: K labels, in the order of ``confusion``.
        negative: The label that means no tumour, or None.
        accuracy: Share of scans whose most probable label is the true one.
        balanced_accuracy: Mean recall over the labels that occur.
        macro_f1: Mean F1 over the labels that occur or are predicted.
        auroc: Mean one-vs-rest AUROC.
        coverage: Share of scans the model was willing to judge; the rest is ``cannot_assess``.
        accuracy_assessed: Accuracy on those.
        tumor: Any tumour against none; None where the model has no negative label.
        per_class: One row a label.
        confusion: Counts, a row per true and a column per predicted label.
        triage: What triage did, per truth.
        calibration: Whether probabilities mean what they say.
        roc: Curves of the labels that can have one, the negative one left out, and last of ``tumor``.
        risk_coverage: What abstaining buys.
        latency_ms: Time per stage, where it was measured.
        resamples: Number of bootstrap resamples.
        seed: Seed of the bootstrap.
        outliers: Pictures that are no brain MRI; None where there are none and the model has no outlier score.
        macro_f2: Mean F2 over the labels that occur or are predicted.
        macro_precision: Mean precision over the labels that are predicted.
        macro_specificity: Mean specificity of the labels, each against the rest.
        schema: Version of this record.
    """

    mode: Literal["labels", "tumor_vs_none"]
    notes: tuple[str, ...]
    n: int
    n_failed: int
    n_groups: int | None
    labels: tuple[str, ...]
    negative: str | None
    accuracy: Estimate
    balanced_accuracy: Estimate
    macro_f1: Estimate
    auroc: Estimate
    coverage: Estimate
    accuracy_assessed: Estimate
    tumor: TumorFigures | None
    per_class: tuple[ClassFigures, ...]
    confusion: tuple[tuple[int, ...], ...]
    triage: tuple[TriageRow, ...]
    calibration: CalibrationFigures
    roc: tuple[RocPoints, ...]
    risk_coverage: RiskPoints
    latency_ms: tuple[Latency, ...]
    resamples: int
    seed: int
    outliers: OutlierFigures | None = None
    macro_f2: Estimate = _NONE
    macro_precision: Estimate = _NONE
    macro_specificity: Estimate = _NONE
    schema: int = EVALUATION_SCHEMA

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, dicts, numbers and None, never ``nan``: what ``json.dumps(..., allow_nan=False)`` takes."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self), allow_nan=False))
        return plain

    def render(self) -> list[RenderableType]:
        """Tables for a ``rich`` console."""
        from edgebrain.report.write import summary

        return summary(self)
