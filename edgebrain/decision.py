"""From logits to an answer: calibrated probabilities, then triage. Pure, and the same for every engine.

Probabilities are ``softmax(logits / temperature)`` (temperature scaling, Guo et al., "On Calibration of Modern Neural
Networks", ICML 2017). Triage has three outcomes and no silent middle:

* The picture cannot be what the model was made for, since it is coloured or its outlier score is too high:
  *cannot_assess*.
* One network is sure that there is no tumour, and a second one finds one: *cannot_assess*, for a person to settle.
* The tumour probability reaches the operating point: *prioritise*, also when the kind of tumour is unclear.
* It lies below ``standard_below`` and the best label is confident: *standard*, read in turn.
* Anything in between: *cannot_assess*, which goes to a person too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from edgebrain.types import Float32, Float64, Triage

_DIGITS = range(2, 10)
"""Decimals of a score in words: as many as it takes to tell it from its limit."""


class DecisionSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How logits become an answer. All values are fitted on held-out groups and kept in the manifest.

    Attributes:
        temperature: Divides the logits before the softmax.
        operating_point: Tumour probability from which a scan is prioritised.
        standard_below: Tumour probability below which a scan is read in turn; between the two nothing is claimed.
        min_confidence: Probability that the best label needs, unless the scan is prioritised anyway.
        max_color_fraction: Share of coloured pixels above which the picture is not taken for an MRI slice.
        max_outlier: Outlier score above which the picture is not taken for a brain MRI slice; None for a model without
            a limit.
    """

    temperature: float = 1.0
    operating_point: float = 0.5
    standard_below: float = 0.5
    min_confidence: float = 0.0
    max_color_fraction: float = 0.05
    max_outlier: float | None = None


class Verdict(NamedTuple):
    """The answer for one scan; the fields are those of :class:`~edgebrain.types.Prediction`."""

    label: str
    probabilities: dict[str, float]
    tumor_probability: float | None
    triage: Triage
    reasons: tuple[str, ...]


def probabilities_of(logits: Float32, temperature: float) -> Float64:
    """Calibrated probabilities.

    Args:
        logits: float [..., K].
        temperature: Above 0; larger is less sure.

    Returns:
        float64 [..., K], each row sums to 1.
    """
    wide = logits.astype(np.float64)
    # The maximum goes first: whatever overflows in the division then is minus infinity, which has probability 0.
    with np.errstate(over="ignore"):
        exponents = np.exp((wide - wide.max(axis=-1, keepdims=True)) / temperature)
    result: Float64 = exponents / exponents.sum(axis=-1, keepdims=True)
    return result


def outlier_score(logit: float) -> float:
    """How little a picture is like a brain MRI slice: the sigmoid of the graph's outlier output.

    The output is trained on pictures of other things (outlier exposure: Hendrycks et al., "Deep Anomaly Detection with
    Outlier Exposure", ICLR 2019).

    Args:
        logit: Any number; ``nan`` stays ``nan``.

    Returns:
        The score in [0, 1].
    """
    small = math.exp(-abs(logit))  # of the absolute value, so that nothing overflows
    return small / (1 + small) if logit < 0 else 1 / (1 + small)


def decide(
    logits: Float32,
    labels: Sequence[str],
    negative: str | None,
    spec: DecisionSpec,
    *,
    color_fraction: float = 0.0,
    outlier: float | None = None,
    contradicted: bool = False,
) -> Verdict:
    """Decide on one scan.

    Args:
        logits: float32 [K].
        labels: K labels.
        negative: The label that means "no tumour", where the model has one.
        spec: Decision parameters.
        color_fraction: Share of coloured pixels; MRI slices are grey.
        outlier: Outlier score in [0, 1], see :func:`outlier_score`; None where the model has none.
        contradicted: Whether the first of two networks was sure that there is no tumour, and the second, whose logits
            these are, finds one.

    Returns:
        The verdict, with a reason for its triage in words.

    Raises:
        ValueError: There is a limit for the outlier score, and no score.
    """
    row = probabilities_of(logits, spec.temperature)
    best = int(row.argmax())
    label, confidence = labels[best], float(row[best])
    named = {name: float(p) for name, p in zip(labels, row, strict=True)}
    tumor = None if negative is None else 1.0 - named[negative]
    foreign = _no_such_picture(spec, color_fraction, outlier)
    if foreign:
        return Verdict(label, named, tumor, Triage.CANNOT_ASSESS, foreign)
    if contradicted:
        reason = (
            f"one network is sure of no tumour, the other finds {label} at {confidence:.1%}: a person must settle it"
        )
        return Verdict(label, named, tumor, Triage.CANNOT_ASSESS, (reason,))
    if tumor is None:
        triage, reasons = _triage_kind(label, confidence, spec)
    else:
        triage, reasons = _triage_tumor(label, confidence, tumor, spec)
    return Verdict(label, named, tumor, triage, reasons)


def _no_such_picture(spec: DecisionSpec, color_fraction: float, outlier: float | None) -> tuple[str, ...]:
    """Why the picture is not what the model was made for; empty if nothing says so."""
    if outlier is None and spec.max_outlier is not None:
        raise ValueError("The decision limits the outlier score, and no score was given.")
    reasons = []
    if not color_fraction <= spec.max_color_fraction:
        reasons.append(f"{color_fraction:.0%} of the pixels are coloured: not an MRI slice as the model knows them")
    # Asked so that a number that is none is never within the limit.
    limit = 1.0 if spec.max_outlier is None else spec.max_outlier
    if outlier is not None and not outlier <= limit:
        shown = next((d for d in _DIGITS if f"{outlier:.{d}f}" != f"{limit:.{d}f}"), _DIGITS[-1])
        reasons.append(
            f"does not look like a brain MRI slice (outlier score {outlier:.{shown}f}, limit {limit:.{shown}f})"
        )
    return tuple(reasons)


def _unsure(label: str, confidence: float, spec: DecisionSpec) -> str:
    return f"best label {label} at {confidence:.1%}, below {spec.min_confidence:.0%}"


def _triage_kind(label: str, confidence: float, spec: DecisionSpec) -> tuple[Triage, tuple[str, ...]]:
    # A model that only tells kinds of tumour apart takes whatever it is shown for one.
    if confidence < spec.min_confidence:
        return Triage.CANNOT_ASSESS, (_unsure(label, confidence, spec),)
    return Triage.PRIORITISE, (f"the model tells kinds of tumour apart: {label} at {confidence:.1%}",)


def _triage_tumor(label: str, confidence: float, tumor: float, spec: DecisionSpec) -> tuple[Triage, tuple[str, ...]]:
    unsure = _unsure(label, confidence, spec)
    if tumor >= spec.operating_point:
        reason = f"tumour probability {tumor:.1%} reaches the operating point {spec.operating_point:.1%}"
        kind = (f"the kind is uncertain: {unsure}",) if confidence < spec.min_confidence else ()
        return Triage.PRIORITISE, (reason, *kind)
    if not tumor < spec.standard_below:  # asked so that a number that is none never means "standard"
        return Triage.CANNOT_ASSESS, (
            f"tumour probability {tumor:.1%} lies between {spec.standard_below:.1%} and {spec.operating_point:.1%}",
        )
    if not confidence >= spec.min_confidence:
        return Triage.CANNOT_ASSESS, (unsure,)
    return Triage.STANDARD, (f"tumour probability {tumor:.1%} is below {spec.standard_below:.1%}",)
