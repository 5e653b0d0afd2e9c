"""What a measure gives: paired samples of ours and of what it is held against, and what follows from them."""

from __future__ import annotations

import random
import statistics
from dataclasses import dataclass, field
from typing import Literal

RESAMPLES = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class Outcome:
    """One comparison.

    Attributes:
        name: What is compared.
        ours: Our side, in words.
        against: The other side, in words.
        unit: Of the samples.
        ours_samples: One figure a round.
        against_samples: One figure a round, taken in turn with ours.
        target: What the value is held to; None where it is only told.
        at_most: Whether the target is an upper limit.
        kind: Whether the value is a ratio of the two sides, or their difference in the samples' unit.
        rival: Name of the other side among others, where it is something that a user could run instead.
    """

    name: str
    ours: str
    against: str
    unit: str
    ours_samples: list[float]
    against_samples: list[float]
    target: float | None = None
    at_most: bool = True
    kind: Literal["ratio", "difference"] = "ratio"
    rival: str = ""

    @property
    def values(self) -> list[float]:
        """The value of each round: what slows the machine down slows both sides of a round down."""
        pairs = zip(self.ours_samples, self.against_samples, strict=True)
        return [a / b if self.kind == "ratio" else a - b for a, b in pairs]

    @property
    def value(self) -> float:
        """Median of the rounds."""
        return statistics.median(self.values)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % percentile bootstrap interval of the median (Efron & Tibshirani, 1993)."""
        values = self.values
        draw = random.Random(0)
        medians = sorted(statistics.median(draw.choices(values, k=len(values))) for _ in range(RESAMPLES))
        tail = (1 - LEVEL) / 2
        return medians[int(tail * (RESAMPLES - 1))], medians[int((1 - tail) * (RESAMPLES - 1))]

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None where there is none."""
        if self.target is None:
            return None
        return self.value <= self.target if self.at_most else self.value >= self.target


@dataclass(frozen=True)
class Curve:
    """What a plot shows of a series.

    Attributes:
        x: Name of the horizontal axis, which is logarithmic.
        y: Name of the vertical axis, which starts at 0.
        points: What lies on them.
    """

    x: str
    y: str
    points: list[tuple[float, float]]


@dataclass(frozen=True)
class Series:
    """Figures along the way of one run, told as they are."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    curve: Curve | None = None


@dataclass(frozen=True)
class Findings:
    """All that one measure found.

    Attributes:
        title: Heading.
        how: How it was measured, in a sentence or two.
        outcomes: Its comparisons.
        series: Its series.
        skipped: Why nothing was measured; empty if something was.
    """

    title: str
    how: str
    outcomes: list[Outcome] = field(default_factory=list)
    series: list[Series] = field(default_factory=list)
    skipped: str = ""


def findings_from(tree: dict[str, object]) -> Findings:
    """Read back what ``dataclasses.asdict`` made of findings."""
    import msgspec

    return msgspec.convert(tree, Findings)
