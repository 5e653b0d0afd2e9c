"""The honest test of few-shot learning: what a method is worth depends on what it has seen before.

Each protocol says which scans a method may meta-learn from and which ones make the episodes it is judged on:

* ``published``: system A's own. Both classes, all scans, copies included, in meta-training *and* in the test; nothing
  keeps groups apart. It says nothing about new tasks, and is here to be compared with.
* ``unseen-groups``: both classes are known, the patients and pictures of the episodes are not.
* ``held-out:CLASS``: that class is in no task of meta-training; the episodes tell it from each of the others.
* ``other-source``: tumour against none. Support from the sources of meta-training, tumours to find from another one.
* ``other-source-support``: the same with support tumours from that other source too. A method may then tell sources
  apart instead of tumours, for the scans without a tumour come from elsewhere: read it beside the one before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgebrain.errors import TrainingError
from edgebrain.intervals import group_index
from edgebrain.labelled import ANY_TUMOR, NO_TUMOR, Sample

from .episodes import EpisodeSampler, Indices, Pool, pool_of

PUBLISHED, UNSEEN, OTHER, OTHER_SUPPORT = "published", "unseen-groups", "other-source", "other-source-support"
HELD_OUT = "held-out:"
PAIR = ("glioma", "meningioma")
SPLITS = ("train", "val", "test")
BINARY = (NO_TUMOR, ANY_TUMOR)


@dataclass(frozen=True)
class Protocol:
    """What may be learned from, and what is asked.

    Attributes:
        name: Its name.
        classes: Names of the classes that ``targets`` counts.
        targets: int [N], the class of each scan; -1 for scans that have none here.
        train: Pool of meta-training.
        val: Pool that chooses weights and numbers.
        test: Pool of the episodes that judge.
        train_tasks: Tuples of classes in meta-training.
        test_tasks: Tuples of classes in the test.
        permute: Whether a class has no label of its own.
        disjoint: Whether groups are kept apart.
        training: Protocols with the same text share their meta-training.
    """

    name: str
    classes: tuple[str, ...]
    targets: Indices
    train: Pool
    val: Pool
    test: Pool
    train_tasks: tuple[tuple[int, ...], ...]
    test_tasks: tuple[tuple[int, ...], ...]
    permute: bool
    disjoint: bool
    training: str

    def sampler(self, part: str, groups: Indices, *, shots: int, queries: int, seed: int) -> EpisodeSampler:
        """Episodes of ``train``, ``val`` or ``test``."""
        pool = {"train": self.train, "val": self.val, "test": self.test}[part]
        tasks = self.test_tasks if part == "test" else self.train_tasks
        return EpisodeSampler(
            pool,
            groups,
            tasks,
            shots=shots,
            queries=queries,
            seed=seed + _SEED_OF[part],
            permute=self.permute,
            disjoint=self.disjoint,
        )


_SEED_OF = {"train": 0, "val": 1_000_003, "test": 2_000_003}
"""Added to the seed, so that no part repeats the draws of another."""


def groups_of(samples: Sequence[Sample]) -> Indices:
    """Groups of scans as numbers; a scan without one is a group of its own."""
    return group_index([s.group or s.path for s in samples])


def protocols(samples: Sequence[Sample]) -> list[Protocol]:
    """Every protocol that the data can serve, in reading order.

    Args:
        samples: Prepared scans with label, group and split; copies too, which only ``published`` uses.

    Raises:
        TrainingError: The data can serve none.
    """
    table = _Table(samples)
    found: list[Protocol] = []
    if table.has(PAIR):
        found += [_published(table), _unseen(table)]
    labels = tuple(sorted({s.label for s in samples if s.split == "train"} - {ANY_TUMOR}))
    kept = tuple(label for label in labels if table.has((label,)))
    if len(kept) > 2:  # noqa: PLR2004 - two classes must be left to learn from
        found += [_held_out(table, kept, label) for label in kept]
    if NO_TUMOR in kept and len(kept) > 1 and table.rows(label=ANY_TUMOR, split="external").size:
        found += [_other(table, kept, name) for name in (OTHER, OTHER_SUPPORT)]
    if not found:
        raise TrainingError(
            "The data serves no protocol: two classes in train, val and test are needed.",
            remedy="Make splits with: edgebrain audit DIR... --splits FILE.csv",
        )
    return found


class _Table:
    """Columns of the samples as arrays."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.labels = np.array([s.label for s in samples])
        self.splits = np.array([s.split for s in samples])
        self.sound = np.array([not s.copy_of and not s.conflict for s in samples])

    def rows(self, *, label: str, split: str | None = None, copies: bool = False) -> Indices:
        """Rows of a label in a split, copies and conflicts left out unless wanted."""
        chosen = self.labels == label
        if split is not None:
            chosen &= self.splits == split
        return np.flatnonzero(chosen if copies else chosen & self.sound)

    def has(self, labels: Sequence[str]) -> bool:
        """Whether every label has at least two scans in each split."""
        return all(
            self.rows(label=label, split=split).size > 1 for label in labels for split in ("train", "val", "test")
        )

    def targets(self, classes: Sequence[str]) -> Indices:
        """The class of each row, -1 for others."""
        result = np.full(len(self.labels), -1, np.intp)
        for number, label in enumerate(classes):
            result[self.labels == label] = number
        return result

    def pool(self, classes: Sequence[str], split: str) -> Pool:
        """A pool of some classes in a split; the classes are numbered as given."""
        rows = {number: self.rows(label=label, split=split) for number, label in enumerate(classes)}
        return Pool(rows, rows)


def _published(table: _Table) -> Protocol:
    targets = table.targets(PAIR)
    known = np.concatenate(
        [table.rows(label=one, split=s, copies=True) for one in PAIR for s in ("train", "val", "test")]
    )
    pool, both = pool_of(targets, known), ((0, 1),)
    return Protocol(
        PUBLISHED, PAIR, targets, pool, pool, pool, both, both, permute=False, disjoint=False, training=PUBLISHED
    )


def _unseen(table: _Table) -> Protocol:
    train, val, test = (table.pool(PAIR, split) for split in SPLITS)
    pools, both = (train, val, test), ((0, 1),)
    return Protocol(
        UNSEEN, PAIR, table.targets(PAIR), *pools, both, both, permute=False, disjoint=True, training=UNSEEN
    )


def _held_out(table: _Table, labels: Sequence[str], label: str) -> Protocol:
    classes = (*(one for one in labels if one != label), label)
    last = len(classes) - 1
    pairs = tuple((a, b) for a in range(last) for b in range(a + 1, last))
    name = f"{HELD_OUT}{label}"
    train, val = (table.pool(classes[:-1], split) for split in ("train", "val"))
    asked = tuple((last, other) for other in range(last))
    pools = (train, val, table.pool(classes, "test"))
    targets = table.targets(classes)
    return Protocol(name, classes, targets, *pools, pairs, asked, permute=True, disjoint=True, training=name)


def _other(table: _Table, labels: Sequence[str], name: str) -> Protocol:
    kinds = [label for label in labels if label != NO_TUMOR]

    def binary(split: str) -> dict[int, Indices]:
        tumours = np.sort(np.concatenate([table.rows(label=kind, split=split) for kind in kinds]))
        return {0: table.rows(label=NO_TUMOR, split=split), 1: tumours}

    targets = np.where(table.labels == NO_TUMOR, 0, np.where(np.isin(table.labels, [*kinds, ANY_TUMOR]), 1, -1))
    train, val, here = binary("train"), binary("val"), binary("test")
    elsewhere = {**here, 1: table.rows(label=ANY_TUMOR, split="external")}
    test = Pool(elsewhere if name == OTHER_SUPPORT else here, elsewhere)
    pools, both = (Pool(train, train), Pool(val, val), test), ((0, 1),)
    return Protocol(
        name, BINARY, targets.astype(np.intp), *pools, both, both, permute=False, disjoint=True, training=OTHER
    )
