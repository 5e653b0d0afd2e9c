"""The scans that a training is given: splits as they are, the splits of a run that goes on, or data sets to audit.

Samples keep the labels that they were given, so that what a run writes down serves every other recipe; which split a
scan belongs to is decided on the labels that the recipe asks for.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from edgebrain.asked import as_asked
from edgebrain.errors import printable
from edgebrain.labelled import Sample

from . import audit as auditing
from .config import SPLITS_FILE, Recipe
from .given_splits import Given, names_of, read_given, read_splits, read_unreadable
from .processes import is_first
from .splits import by_group, one_vocabulary
from .tasks import check_classes


def labelled_samples(
    data: Sequence[Path], splits: Sequence[Path], recipe: Recipe, folder: Path, *, resume: bool = False
) -> Given:
    """The scans of a run, each in a split.

    Args:
        data: Labelled folders or CSV manifests, to audit and to split.
        splits: Manifests that say the splits; these win.
        recipe: What is trained.
        folder: Of the run.
        resume: Whether the run goes on; then its own splits count, and the data is not looked at.

    Returns:
        The samples, labelled as they were given, and what could not be read.

    Raises:
        EdgebrainError: The data cannot be used, or lacks a label.
    """
    labels = recipe.data.labels
    if splits:
        return from_splits(splits, labels)
    own = folder / SPLITS_FILE
    # Processes beside the first find what it wrote; where they see no folder of its, they audit as it did.
    if (resume or not is_first()) and own.is_file():
        if data and resume and is_first():
            sys.stderr.write(f"splits: those of {printable(str(own))}; --data is not read again\n")
        return read_given(own, labels=labels)
    return from_data(data, labels, seed=recipe.seed)


def from_splits(paths: Sequence[Path], labels: Sequence[str], *, known: Sequence[str] = ()) -> Given:
    """Read splits that somebody gives, those of a run for instance.

    Args:
        paths: CSV manifests.
        labels: Of the recipe.
        known: Further labels to accept.

    Returns:
        The samples, labelled as they were given, and the names that lie beside the manifests of what is in none.

    Raises:
        EdgebrainError: They cannot be used, or lack a label.
    """
    samples = _as_asked_split(read_splits(paths, labels=(*labels, *known)), labels, one_vocabulary)
    check_classes(samples, labels)
    return Given(samples, tuple(sorted(name for path in paths for name in read_unreadable(path))))


def from_data(paths: Sequence[Path], labels: Sequence[str], *, seed: int, known: Sequence[str] = ()) -> Given:
    """Read, audit and split data sets for a recipe, and say how many scans there are.

    Args:
        paths: Labelled folders or CSV manifests.
        labels: Of the recipe.
        seed: Of the split.
        known: Further labels to accept.

    Returns:
        What can be read, with groups, copies, conflicts and splits, and the names of what cannot.

    Raises:
        EdgebrainError: The data cannot be used, or lacks a label.
    """
    samples = auditing.collect(paths, labels=(*labels, *known))
    check_classes(samples, labels)  # before an audit of minutes
    if is_first() and any(s.split == "test" for s in samples):
        sys.stderr.write(
            "note: the data's own splits are not kept; to keep its test split, make splits with: "
            "edgebrain audit DIR... --splits FILE.csv --keep-test\n"
        )
    with auditing.progress_bar() as progress:
        report = auditing.audit(samples, progress=progress)
    if is_first():
        copies = report.images - report.unique
        sys.stderr.write(
            f"audit: {report.images} scans, {copies} copies, {len(report.conflicts)} conflicts, "
            f"{len(report.unreadable)} unreadable, {report.groups} groups\n"
        )
        for one in report.unreadable:
            sys.stderr.write(f"left out: {printable(one.message)}\n")
    samples = _as_asked_split(report.samples, labels, lambda asked: by_group(asked, seed=seed))
    return Given(samples, names_of(report.unreadable))


def _as_asked_split(
    samples: Sequence[Sample], labels: Sequence[str], split: Callable[[Sequence[Sample]], list[Sample]]
) -> list[Sample]:
    """Split by the labels that a recipe asks for; the labels themselves stay."""
    decided = split(as_asked(samples, labels))
    return [replace(s, split=one.split) for s, one in zip(samples, decided, strict=True)]
