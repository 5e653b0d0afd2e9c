"""What the audit derives from its samples: tables, contradictions, leaks and shortcuts. Pure functions."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from statistics import median
from typing import NamedTuple

import numpy as np

from edgebrain.labelled import ANY_TUMOR, NO_TUMOR, Sample
from edgebrain.types import Image8

from .audit_report import ClassRow, Finding, Overlap, Shortcut, SplitRow
from .similarity import Indices
from .splits import other_vocabulary, usable

_FOLDS = 10

_BRIGHTNESS_STEP = 16  # grey levels that count as the same
_ASPECT_STEP = 0.05
_LARGEST = 5  # sizes reported

Members = list[int]
"""Indices of samples, ascending."""


class Look(NamedTuple):
    """What the audit keeps of one file; ``brightness`` is its mean grey level, ``thumbnail`` uint8 [1024]."""

    sha256: str
    width: int
    height: int
    format: str
    brightness: float
    thumbnail: Image8


def members(labels: Indices) -> list[Members]:
    """List the sets that an array [N] describes by giving equal numbers to what belongs together."""
    order = np.argsort(labels, kind="stable")
    cuts = np.flatnonzero(np.diff(labels[order])) + 1
    return [part.tolist() for part in np.split(order, cuts)]


def largest(sets: Iterable[Members]) -> tuple[int, ...]:
    """Return the sizes of the largest sets, descending."""
    return tuple(sorted(map(len, sets), reverse=True)[:_LARGEST])


def contradict(labels: Iterable[str]) -> bool:
    """Say whether labels cannot all be true of one image: ``tumor`` goes with any kind of tumour."""
    distinct = set(labels)
    if distinct - {ANY_TUMOR, NO_TUMOR}:
        distinct.discard(ANY_TUMOR)
    return len(distinct) > 1


def splits_of(samples: Sequence[Sample], indices: Members) -> tuple[str, ...]:
    """Return the different splits of some samples, sorted, without the undecided."""
    return tuple(sorted({samples[i].split for i in indices} - {""}))


def findings(samples: Sequence[Sample], sets: Iterable[Members]) -> tuple[Finding, ...]:
    """Describe sets of samples, sorted by their first path."""
    described = (
        Finding(
            labels=tuple(sorted({samples[i].label for i in indices})),
            splits=splits_of(samples, indices),
            members=tuple(sorted(samples[i].path for i in indices)),
        )
        for indices in sets
    )
    return tuple(sorted(described, key=lambda finding: finding.members))


def without(sets: Iterable[Members], known: Iterable[Members]) -> list[Members]:
    """Drop the sets that hold a known one whole."""
    seen = {indices[0] for indices in known}
    return [indices for indices in sets if seen.isdisjoint(indices)]


def class_rows(samples: Sequence[Sample], looks: Sequence[Look]) -> tuple[ClassRow, ...]:
    """Make the table of classes and sources."""
    cells: defaultdict[tuple[str, str], Members] = defaultdict(list)
    for index, sample in enumerate(samples):
        cells[sample.source, sample.label].append(index)
    rows = []
    for (source, label), indices in sorted(cells.items()):
        sizes = Counter((looks[i].width, looks[i].height) for i in indices)
        common = min(sizes, key=lambda size: (-sizes[size], size))
        rows.append(
            ClassRow(
                source=source,
                label=label,
                images=len(indices),
                unique=sum(not samples[i].copy_of for i in indices),
                groups=len({samples[i].group for i in indices}),
                formats=dict(sorted(Counter(looks[i].format for i in indices).items())),
                sizes=len(sizes),
                common_size=f"{common[0]}x{common[1]}",
                brightness=round(median(looks[i].brightness for i in indices), 1),
            )
        )
    return tuple(rows)


def overlaps(samples: Sequence[Sample], copies: Indices) -> tuple[Overlap, ...]:
    """Count the images of one source that have a copy in another one."""
    images = Counter(sample.source for sample in samples)
    copied: Counter[tuple[str, str]] = Counter()
    for indices in members(copies):
        here = Counter(samples[i].source for i in indices)
        for source, count in here.items():
            for other in here.keys() - {source}:
                copied[source, other] += count
    return tuple(Overlap(source, other, images[source], count) for (source, other), count in sorted(copied.items()))


def shortcuts(samples: Sequence[Sample], looks: Sequence[Look]) -> tuple[Shortcut, ...]:
    """Measure how well properties that show no tumour predict the class of unique images of one vocabulary."""
    outside = other_vocabulary(samples)
    indices = [i for i, sample in enumerate(samples) if usable(sample) and i not in outside]
    labels = [samples[i].label for i in indices]
    properties: dict[str, Callable[[int], Hashable]] = {
        "source": lambda i: samples[i].source,
        "format": lambda i: looks[i].format,
        "size": lambda i: (looks[i].width, looks[i].height),
        "shape": lambda i: round(looks[i].width / looks[i].height / _ASPECT_STEP),
        "brightness": lambda i: round(looks[i].brightness / _BRIGHTNESS_STEP),
    }
    baseline = guess_accuracy(labels, [0] * len(labels))
    return tuple(
        Shortcut(name, guess_accuracy(labels, [value(i) for i in indices]), baseline)
        for name, value in properties.items()
    )


def guess_accuracy(labels: Sequence[str], values: Sequence[Hashable]) -> float:
    """Guess each label as the most common one of the same value, among the samples of the other folds.

    A fold holds a tenth of every label. Leaving out one sample at a time would make its own label the rarer one where
    labels are equally common, and the guess worse than chance.

    Args:
        labels: One a sample.
        values: The property, one a sample. Where no sample of another fold has the value, all of them vote.

    Returns:
        The share of right guesses, a tie counting as a share of one; 0 without samples.
    """
    seen: Counter[str] = Counter()
    groups: Counter[tuple[Hashable, int, str]] = Counter()
    for label, value in zip(labels, values, strict=True):
        groups[value, seen[label] % _FOLDS, label] += 1
        seen[label] += 1
    total = Counter(labels)
    by_value: defaultdict[Hashable, Counter[str]] = defaultdict(Counter)
    by_fold: defaultdict[Hashable, Counter[str]] = defaultdict(Counter)
    by_both: defaultdict[Hashable, Counter[str]] = defaultdict(Counter)
    for (value, fold, label), count in groups.items():
        for votes, key in ((by_value, value), (by_fold, fold), (by_both, (value, fold))):
            votes[key][label] += count
    right = 0.0
    for (value, fold, label), count in groups.items():
        right += count * _share(label, by_value[value] - by_both[value, fold] or total - by_fold[fold])
    return round(right / len(labels), 4) if labels else 0.0


def _share(label: str, votes: Counter[str]) -> float:
    """How likely the label is guessed: one share among those that lead."""
    winners = [name for name, count in votes.items() if count == max(votes.values())]
    return (label in winners) / len(winners) if winners else 0.0


def split_rows(samples: Sequence[Sample]) -> tuple[SplitRow, ...]:
    """Make the table of splits."""
    images = Counter((s.split, s.label, s.source) for s in samples)
    unique = Counter((s.split, s.label, s.source) for s in samples if usable(s))
    return tuple(SplitRow(*key, images=count, unique=unique[key]) for key, count in sorted(images.items()))
