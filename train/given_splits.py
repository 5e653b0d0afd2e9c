"""Splits that are given: all manifests together, without anything that trains a model and judges it too.

What an audit could not read is in no split; its names are kept in a file beside the splits, so that a run which goes on
still counts them.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import msgspec

from edgebrain.errors import UsageError
from edgebrain.files import failing
from edgebrain.folders import absolute
from edgebrain.labelled import Sample, read_labelled, write_samples
from edgebrain.outputs import write_whole

from .audit_report import Unreadable
from .splits import EXTERNAL, SPLITS

_APART = (*map(set, combinations(SPLITS, 2)), {SPLITS[0], EXTERNAL})
_LEFT_OUT = ".unreadable.json"


@dataclass(frozen=True)
class Given:
    """What a run is given.

    Attributes:
        samples: Labelled scans, each with its split.
        unreadable: Names of the files that an audit could not read, without their folders.
    """

    samples: list[Sample]
    unreadable: tuple[str, ...] = ()


def names_of(unreadable: Iterable[Unreadable]) -> tuple[str, ...]:
    """Names of files that cannot be used, sorted; folders, which may name a patient, are not in them."""
    return tuple(sorted(one.path.replace("\\", "/").rsplit("/", 1)[-1] for one in unreadable))


def left_out_figures(before: Sequence[str], unreadable: Iterable[Unreadable]) -> dict[str, Any]:
    """Count and name the files that a run could not read.

    Args:
        before: Names of those that an audit found.
        unreadable: Those that the run itself found.
    """
    names = sorted([*before, *names_of(unreadable)])
    return {"count": len(names), "files": names}


def unreadable_file(splits: Path) -> Path:
    """The file beside a manifest that names what could not be read; there is none where all could."""
    return splits.with_suffix(_LEFT_OUT)


def write_given(splits: Path, samples: Sequence[Sample], unreadable: Sequence[str]) -> None:
    """Write a manifest, and beside it the names of files that could not be read; without names no file stays there.

    Raises:
        EdgebrainError: A file cannot be written.
    """
    beside = unreadable_file(splits)
    if unreadable:  # first: who finds the manifest must find them
        write_whole(beside, (json.dumps(sorted(unreadable)) + "\n").encode())
    else:
        with failing(str(beside), "Remove it; it names files of other splits."):
            beside.unlink(missing_ok=True)
    write_samples(splits, samples)


def read_given(splits: Path, *, labels: Collection[str] = ()) -> Given:
    """Read what :func:`write_given` wrote.

    Raises:
        UsageError: A file cannot be read.
    """
    return Given(read_labelled(splits, labels=labels), read_unreadable(splits))


def read_unreadable(splits: Path) -> tuple[str, ...]:
    """Read the names that :func:`write_given` left beside a manifest; none where there is no such file.

    Raises:
        UsageError: The file cannot be read, or holds something else.
    """
    beside = unreadable_file(splits)
    try:
        # Names may hold what no UTF-8 text does, which msgspec's own decoder refuses.
        return tuple(msgspec.convert(json.loads(beside.read_bytes()), list[str])) if beside.is_file() else ()
    except (OSError, ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise UsageError(
            f"{beside} is no list of file names: {error}.", remedy="Remove it; it only names files."
        ) from error


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
