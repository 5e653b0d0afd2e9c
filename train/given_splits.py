"""Splits that somebody gives: all manifests together, without anything that trains a model and judges it too."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import combinations
from pathlib import Path

from edgebrain.errors import UsageError
from edgebrain.folders import absolute
from edgebrain.labelled import Sample, read_labelled

from .splits import EXTERNAL, SPLITS

_APART = (*map(set, combinations(SPLITS, 2)), {SPLITS[0], EXTERNAL})


def read_splits(paths: Sequence[Path], *, labels: Collection[str] = ()) -> list[Sample]:
    """Read manifests with splits, one after the other.

    Args:
        paths: CSV manifests.
        labels: Further labels to accept.

    Returns:
        The samples of all of them, in their order.

    Raises:
        UsageError: A manifest cannot be read, or :func:`check_apart` refuses what they say together.
    """
    samples = [s for path in paths for s in read_labelled(path, labels=labels, patients_apart=True)]
    check_apart(samples)
    return samples


def check_apart(samples: Sequence[Sample]) -> None:
    """Refuse splits that share a file or a group.

    Args:
        samples: Of all manifests.

    Raises:
        UsageError: A file or a group is in two of train, val and test, or in train and ``external``.
    """
    files = [(str(absolute(s.path)), f"The file {s.path!r}", s.split) for s in samples]
    groups = [(s.group, f"The group of {s.path!r}", s.split) for s in samples if s.group]
    for rows in (files, groups):
        seen: dict[str, set[str]] = {}
        for key, what, split in rows:
            known = seen.setdefault(key, set())
            other = next((one for one in sorted(known) if _clash(one, split)), None)
            if other is not None:
                raise UsageError(
                    f"{what} is in the splits {other} and {split}.",
                    remedy="Split all data at once: edgebrain audit DIR... --splits FILE.csv",
                )
            known.add(split)


def _clash(one: str, other: str) -> bool:
    return {one, other} in _APART
