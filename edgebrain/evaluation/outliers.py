"""Whether a model refuses pictures that are no brain MRI, and only those.

Pictures are in no figure on tumours: they have no right label. What counts is what becomes of them, and what the limit
that keeps them out costs on scans. See Hendrycks & Gimpel, "A Baseline for Detecting Misclassified and
Out-of-Distribution Examples in Neural Networks", ICLR 2017, for the area under the ROC curve as its measure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgebrain.evaluation.record import OutlierFigures, PictureSource, ScoreBin
from edgebrain.intervals import Estimate, bootstrap, estimate, group_index, proportion
from edgebrain.metrics import ratio, weighted_auroc
from edgebrain.types import Triage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgebrain.metrics import Flags
    from edgebrain.types import Float64

BINS = 40

_AUROC = "auroc"
_SOURCE = "source/"


@dataclass(frozen=True)
class Seen:
    """One answer, of a scan or of another picture.

    Attributes:
        picture: Whether it is a picture and no scan.
        source: Data set it comes from.
        triage: What the model asked for.
        score: Outlier score in [0, 1]; None where the model gives none.
    """

    picture: bool
    source: str
    triage: Triage
    score: float | None


def outlier_figures(
    seen: Sequence[Seen],
    limit: float | None,
    *,
    groups: Sequence[str] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> OutlierFigures:
    """Measure the refusal of pictures.

    Args:
        seen: At least one answer.
        limit: Outlier score above which the model refuses, or None.
        groups: Names of groups of answers that belong together, one an answer, or None.
        resamples: Number of bootstrap resamples.
        seed: Seed of the bootstrap.

    Returns:
        The figures; what needs pictures, scans, scores or a limit is undefined without them.
    """
    picture = np.array([one.picture for one in seen])
    scores = np.array([np.nan if one.score is None else one.score for one in seen], np.float64)
    numbers = None if groups is None else group_index(groups)
    shares = _shares(seen, picture, scores, limit)
    hits = np.stack([hit & among for hit, among in shares.values()], axis=1).astype(np.float64)
    members = np.stack([among for _, among in shares.values()], axis=1).astype(np.float64)
    scored = ~np.isnan(scores)

    def statistic(weights: Float64) -> Float64:
        area = weighted_auroc(picture[scored], scores[scored], weights[:, scored])
        return np.concatenate((ratio(weights @ hits, weights @ members), area[:, None]), axis=1)

    draws = bootstrap(statistic, len(seen), numbers, resamples=resamples, seed=seed)
    figures: dict[str, Estimate] = {
        name: proportion(*share, numbers, draws[:, column]) for column, (name, share) in enumerate(shares.items())
    }
    area = float(statistic(np.ones((1, len(seen))))[0, -1])
    figures[_AUROC] = estimate(area, draws[:, -1], clustered=numbers is not None)
    sources = [name for name in shares if name.startswith(_SOURCE)]
    return OutlierFigures(
        n=int(picture.sum()),
        accepted=figures["accepted"],
        standard=figures["standard"],
        per_source=tuple(
            PictureSource(name.removeprefix(_SOURCE), int(shares[name][1].sum()), figures[name]) for name in sources
        ),
        scans=int((~picture & scored).sum()),
        limit=limit,
        refused_as_outlier=figures["refused_as_outlier"],
        auroc=figures[_AUROC],
        scores=_histogram(picture, scores) if scored.any() else (),
    )


def _shares(
    seen: Sequence[Seen], picture: Flags, scores: Float64, limit: float | None
) -> dict[str, tuple[Flags, Flags]]:
    """Figures that are proportions: what is counted, and among what."""
    accepted = np.array([one.triage is not Triage.CANNOT_ASSESS for one in seen])
    standard = np.array([one.triage is Triage.STANDARD for one in seen])
    above = scores > (np.inf if limit is None else limit)
    judged = ~picture & ~np.isnan(scores) & (limit is not None)
    shares = {"accepted": (accepted, picture), "standard": (standard, picture), "refused_as_outlier": (above, judged)}
    sources = np.array([one.source for one in seen], object)
    for source in sorted({one.source for one in seen if one.picture}):
        shares[_SOURCE + source] = (accepted, picture & (sources == source))
    return shares


def _histogram(picture: Flags, scores: Float64) -> tuple[ScoreBin, ...]:
    edges = np.linspace(0, 1, BINS + 1)
    scans, pictures = (
        np.histogram(scores[kind & ~np.isnan(scores)], edges)[0].tolist() for kind in (~picture, picture)
    )
    return tuple(
        ScoreBin(float(low), float(high), int(own), int(others))
        for low, high, own, others in zip(edges[:-1], edges[1:], scans, pictures, strict=True)
    )
