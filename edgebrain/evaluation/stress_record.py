"""The records of a stress run and of the shortcut probes, ready for JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from edgebrain.intervals import Estimate

STRESS_SCHEMA = 1
PROBES_SCHEMA = 1

Mode = Literal["labels", "tumor_vs_none"]


@dataclass(frozen=True)
class StressRow:
    """What one stress did; every share is among the scans that the model answers as they are.

    Attributes:
        name: Name of the stress.
        description: What was done to the scans.
        n: Number of scans.
        n_refused: Scans that got no answer once changed; they count as not right, and as not assessed.
        accuracy: Share of scans whose most probable label is the true one.
        tumor_sensitivity: Share of tumours whose most probable label is a tumour, of whatever kind.
        tumor_specificity: Share of scans without a tumour whose most probable label says so.
        abstention: Share of scans that triage cannot assess.
        tumors_standard: Share of tumours left in their turn.
        change: Accuracy less that of the clean scans, in points (percent of scans), with a paired bootstrap interval.
        limit: Points that this stress may cost; None where nothing is asked.
        within_limit: Whether it costs no more; judged by the change itself, not by its interval.
    """

    name: str
    description: str
    n: int
    n_refused: int
    accuracy: Estimate
    tumor_sensitivity: Estimate
    tumor_specificity: Estimate
    abstention: Estimate
    tumors_standard: Estimate
    change: Estimate
    limit: float | None
    within_limit: bool


@dataclass(frozen=True)
class StressReport:
    """A model under every stress; intervals are at 95 %.

    Attributes:
        mode: ``labels``, or ``tumor_vs_none`` when the truth only says whether there is a tumour.
        n: Scans that the model answers as they are; the figures are about these.
        n_failed: Scans without an answer as they are; left out.
        n_groups: Groups among them, or None when every scan was taken as independent.
        rows: One row a stress, the clean scans first.
        resamples: Number of bootstrap resamples.
        seed: Seed of the bootstrap.
        schema: Version of this record.
    """

    mode: Mode
    n: int
    n_failed: int
    n_groups: int | None
    rows: tuple[StressRow, ...]
    resamples: int
    seed: int
    schema: int = STRESS_SCHEMA

    @property
    def exceeded(self) -> tuple[str, ...]:
        """Names of the stresses that cost more than they may."""
        return tuple(row.name for row in self.rows if not row.within_limit)

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, dicts, numbers and None, never ``nan``."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self), allow_nan=False))
        return plain


@dataclass(frozen=True)
class MaskedFigures:
    """What hiding a region did to tumours that were called right.

    Attributes:
        flipped: Share that is now called free of tumour.
        lost: Share that is, or whose tumour probability fell by more than one half.
        mean_drop: Mean fall of the tumour probability, from -1 to 1.
    """

    flipped: Estimate
    lost: Estimate
    mean_drop: Estimate


@dataclass(frozen=True)
class Masking:
    """The tumour hidden, against an equally large region of the head hidden elsewhere.

    Attributes:
        n: Tumours called right that have a hottest region, and room for a control.
        n_without: Tumours called right that have not.
        region_share: Mean size of the region as a share of the head.
        outside_head: Mean share of the region that lies outside of the head.
        hidden: The hottest region hidden.
        control: A region elsewhere hidden.
    """

    n: int
    n_without: int
    region_share: float | None
    outside_head: float | None
    hidden: MaskedFigures
    control: MaskedFigures


@dataclass(frozen=True)
class Answered:
    """Scans of one truth and the shares of them that got each label."""

    truth: str
    n: int
    labels: dict[str, float]


@dataclass(frozen=True)
class View:
    """What the model says of pictures in which something is left out.

    Attributes:
        name: ``outline``, ``coarse`` or ``no_background``.
        description: What was left.
        accuracy: Share of scans whose most probable label is still the true one.
        same_label: Share of scans whose most probable label is what it was before.
        answered: Per true label, what the model says.
    """

    name: str
    description: str
    accuracy: Estimate
    same_label: Estimate
    answered: tuple[Answered, ...]


@dataclass(frozen=True)
class ProbeReport:
    """The shortcut probes of one model; intervals are at 95 %.

    Attributes:
        mode: As in the stress run.
        n: Scans with an answer.
        n_failed: Scans without one; left out.
        n_groups: Groups among them, or None.
        accuracy: On the same scans as they are.
        majority: The true label that most scans have.
        majority_share: Their share: the accuracy of always saying so.
        masking: The tumour hidden.
        views: What outline, coarse view and head alone give.
        resamples: Number of bootstrap resamples.
        seed: Seed of the bootstrap.
        schema: Version of this record.
    """

    mode: Mode
    n: int
    n_failed: int
    n_groups: int | None
    accuracy: Estimate
    majority: str
    majority_share: float
    masking: Masking
    views: tuple[View, ...]
    resamples: int
    seed: int
    schema: int = PROBES_SCHEMA

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, dicts, numbers and None, never ``nan``."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self), allow_nan=False))
        return plain
