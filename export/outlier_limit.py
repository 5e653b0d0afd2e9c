"""Fitting the limit of the outlier score: how little like a brain MRI slice a picture may look."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edgebrain.decision import outlier_score
from edgebrain.types import Float32

REFUSED = 0.01
"""Share of held-out scans that may be refused for the sake of pictures that look like scans."""
ACCEPTED = 0.005
"""Share of held-out pictures that the limit lets pass, where scans leave room for that."""
RANGE = (0.03, 0.999)
"""The limit is kept in here. Below lie scans of other scanners, and scans that were changed on their way here
(docs/decisions/0011 has the counts)."""
_PLACES = 10_000


@dataclass(frozen=True)
class FittedLimit:
    """The limit and what it rests on.

    Attributes:
        limit: Outlier score above which a picture is not judged.
        scans: Number of held-out scans.
        refused: Share of them above the limit.
        pictures: Number of held-out pictures that are no brain MRI.
        accepted: Share of them below the limit; None without pictures.
        wanted: What scans and pictures alone give, before the limit is kept in its range.
    """

    limit: float
    scans: int
    refused: float
    pictures: int
    accepted: float | None
    wanted: float

    def describe(self) -> str:
        """What the limit rests on, for the manifest and the card."""
        others = "no picture" if self.accepted is None else f"{self.accepted:.1%} of {self.pictures} other pictures"
        held = (
            ""
            if self.wanted == self.limit
            else f" is held at its limit {self.limit:g} (these alone give {self.wanted:g}),"
        )
        return f"max_outlier{held} refuses {self.refused:.1%} of {self.scans} validation scans and accepts {others}"


def fit_outlier_limit(scans: Float32, pictures: Float32) -> FittedLimit:
    """Fit the limit of the outlier score.

    Where scans and pictures are apart, it lies half way between them, so that neither gets closer to it than needed on
    data from elsewhere. Where they overlap, it refuses at most REFUSED of the scans.

    Args:
        scans: float32 [N] outlier logits of held-out scans.
        pictures: float32 [M] of held-out pictures that are no brain MRI; M may be 0.

    Returns:
        The limit.
    """
    highest = float(np.quantile(scans, 1 - REFUSED, method="higher"))
    between = highest
    if len(pictures):
        between = max(highest, (highest + float(np.quantile(pictures, ACCEPTED, method="lower"))) / 2)
    rounded = math.ceil(outlier_score(between) * _PLACES) / _PLACES  # up, or scans just at the limit would be refused
    limit = min(max(rounded, RANGE[0]), RANGE[1])
    above = [np.array([outlier_score(float(v)) > limit for v in values]) for values in (scans, pictures)]
    return FittedLimit(
        limit=limit,
        scans=len(scans),
        refused=float(above[0].mean()),
        pictures=len(pictures),
        accepted=float(1 - above[1].mean()) if len(pictures) else None,
        wanted=rounded,
    )
