"""When a second reader is asked, and how much it counts: fitted on scans that neither network was trained on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgebrain.calibration import fit_temperature, negative_log_likelihood
from edgebrain.decision import probabilities_of
from edgebrain.engines.two_readers import Flags, answer_of_both, in_doubt, left_to_second, read_together
from edgebrain.types import Float32

MOST_SHIFT = 1.1
"""Largest shift of an outlier logit: a limit of 0.03 becomes one of 0.01. Doubt alone would earn more, but scans that
were changed on their way are in doubt more often, too (docs/decisions/0021)."""
_WEIGHTS = np.arange(1, 20) / 20


@dataclass(frozen=True)
class Fit:
    """When the second reader is asked, how much it counts, and what that did to the scans that it was fitted on.

    Attributes:
        margin: See :class:`~edgebrain.bundle.SecondReader`.
        weight: See there.
        outlier_shift: See there.
        negatives: See there.
        scans: How many scans fitted both.
        asked: How many of them are read twice.
        right: How many the first network alone is right on.
        right_together: How many are right with the second reader.
    """

    margin: float
    weight: float
    outlier_shift: float
    negatives: bool
    scans: int
    asked: int
    right: int
    right_together: int

    def describe(self) -> str:
        """All of it in words."""
        numbers = f"margin {self.margin:g}, weight {self.weight:g}, outlier shift {self.outlier_shift:g}"
        negatives = ", and all negatives" if self.negatives else ""
        return (
            f"asked about {self.asked} of {self.scans} validation scans ({numbers}{negatives}); "
            f"{self.right_together} of them right, {self.right} without it"
        )


def fit_reader(  # noqa: PLR0917 - what two networks gave, and how they are to be used
    first: Float32,
    second: Float32,
    targets: npt.NDArray[np.int64],
    pictures: Float32 | None,
    share: float,
    negative: int | None = None,
) -> Fit:
    """Fit when a second reader is asked, and how much it counts.

    It is asked about the scans whose two best labels are closest. Its weight is the one at which the mean of both is
    most likely, at the temperature that suits the mean, over all scans: those that would be asked are too few. The
    shift of the outlier logit is the logarithm of how much more often the first is in doubt about other pictures than
    about scans, the likelihood ratio that a doubt adds to the odds, up to MOST_SHIFT.

    Args:
        first: float32 [N, K] logits of the first network on scans that neither was trained on.
        second: float32 [N, K] of the second.
        targets: int64 [N].
        pictures: float32 [M, K] of the first on pictures that are no brain MRI; None where there are none.
        share: Share of the scans to read twice for doubt, above 0.
        negative: Index of the label that is left to the second; None leaves it none.

    Returns:
        The fit.
    """

    def loss(weight: float) -> float:
        mean = read_together(first, second, weight)
        return negative_log_likelihood(
            probabilities_of(mean, fit_temperature(mean.astype(np.float64), targets)), targets
        )

    weight = float(min(_WEIGHTS, key=loss))
    ordered = np.sort(first, axis=1)
    # Four digits, rounded up: at least the share is asked, and the manifest stays legible.
    margin = max(float(np.quantile(ordered[:, -1] - ordered[:, -2], share)), 0.0)
    margin = float(np.ceil(margin * 1e4 + 1) / 1e4)
    doubtful = in_doubt(first, margin)
    left = left_to_second(first, doubtful, negative)
    asked = doubtful | left
    together = np.where(asked[:, np.newaxis], answer_of_both(first, second, weight, left), first)
    return Fit(
        margin=margin,
        weight=weight,
        outlier_shift=0.0 if pictures is None else _shift(in_doubt(pictures, margin), doubtful),
        negatives=negative is not None,
        scans=len(targets),
        asked=int(asked.sum()),
        right=int((first.argmax(1) == targets).sum()),
        right_together=int((together.argmax(1) == targets).sum()),
    )


def _shift(pictures: Flags, scans: Flags) -> float:
    # One more of each kind on both sides, so that no ratio is without bounds.
    often, seldom = ((flags.sum() + 1) / (len(flags) + 2) for flags in (pictures, scans))
    return round(min(max(float(np.log(often / seldom)), 0.0), MOST_SHIFT), 4)
