"""Few-shot episodes: a handful of labelled scans to learn from, and others to be judged on.

The scans of one patient, and copies of one picture, look alike. An episode whose query repeats a group of its support
rewards memory, so no group is ever in both. Every episode is fixed by a seed and its index: episode 17 is the same
whichever method asks for it, on any machine, and in any order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from edgebrain.errors import TrainingError

Indices = np.ndarray[Any, np.dtype[np.intp]]


class Episode(NamedTuple):
    """One task.

    Attributes:
        classes: The classes to tell apart; their place is the label in the episode.
        support: intp [ways, shots], rows to learn from.
        query: intp [ways, queries], rows to be judged on.
    """

    classes: tuple[int, ...]
    support: Indices
    query: Indices


class Pool(NamedTuple):
    """What episodes are drawn from.

    Attributes:
        support: Rows of each class that may be learned from.
        query: Rows of each class that may be asked for; often the same ones.
    """

    support: Mapping[int, Indices]
    query: Mapping[int, Indices]


def pool_of(targets: Indices, rows: Indices | None = None) -> Pool:
    """A pool in which every row may be support or query.

    Args:
        targets: int [N], the class of each row.
        rows: The rows to use; all of them if None.
    """
    chosen = np.arange(len(targets)) if rows is None else rows
    table = {int(c): chosen[targets[chosen] == c] for c in np.unique(targets[chosen])}
    return Pool(table, table)


class EpisodeSampler:
    """Draws episodes.

    Args:
        pool: Rows to draw from.
        groups: int [N], the group of each row.
        tasks: Tuples of classes; each episode takes one of them at random.
        shots: Support rows of a class.
        queries: Query rows of a class.
        seed: Seed; it fixes every episode together with the episode's index.
        permute: Give the classes of each episode a random order, so that no class has a label of its own.
        disjoint: Keep the groups of support and query apart. Off only to repeat what others did.

    Raises:
        TrainingError: A class has too few groups to be in both support and query.
    """

    def __init__(
        self,
        pool: Pool,
        groups: Indices,
        tasks: Sequence[tuple[int, ...]],
        *,
        shots: int,
        queries: int,
        seed: int,
        permute: bool = False,
        disjoint: bool = True,
    ) -> None:
        self.pool = pool
        # Where groups may mix, every row is a group of its own: no row is in both support and query even then.
        self.groups = groups if disjoint else np.arange(len(groups))
        self.tasks = tuple(tasks)
        self.shots = shots
        self.queries = queries
        self.seed = seed
        self.permute = permute
        for one in sorted({c for task in self.tasks for c in task}):
            rows = [pool.support.get(one, _NONE), pool.query.get(one, _NONE)]
            if min(map(len, rows)) == 0 or np.unique(self.groups[np.concatenate(rows)]).size <= 1:
                raise TrainingError(
                    f"Class {one} has too few groups for an episode: support and query need one each at least.",
                    remedy="Give more scans, or scans of more patients.",
                )

    def episode(self, index: int) -> Episode:
        """The episode of an index, always the same one."""
        rng = np.random.default_rng([self.seed, index])
        classes = self.tasks[int(rng.integers(len(self.tasks)))]
        if self.permute:
            classes = tuple(classes[i] for i in rng.permutation(len(classes)))
        learned: set[int] = set()
        asked: set[int] = set()
        support, query = [], []
        for one in classes:
            mine, theirs = self._groups(one, learned, asked, rng)
            learned.update(mine)
            asked.update(theirs)
            support.append(self._rows(self.pool.support[one], mine, self.shots, rng))
            query.append(self._rows(self.pool.query[one], theirs, self.queries, rng))
        return Episode(classes, np.stack(support), np.stack(query))

    def _groups(
        self, one: int, learned: set[int], asked: set[int], rng: np.random.Generator
    ) -> tuple[list[int], list[int]]:
        """Groups of one class for support and query; a group that another class uses keeps its side."""
        order: list[int] = rng.permutation(np.unique(self.groups[self.pool.support[one]])).tolist()
        others: list[int] = rng.permutation(np.unique(self.groups[self.pool.query[one]])).tolist()
        free = [g for g in order if g not in asked]
        askable = [g for g in others if g not in learned]
        both = len(set(free) & set(askable))
        wanted = self.shots
        if both and len(set(free) | set(askable)) < self.shots + self.queries:
            # Too few for one row a group: share them out, and leave at least one to the query.
            wanted = min(self.shots, max(1, both * self.shots // (self.shots + self.queries)))
        mine = free[:wanted]
        theirs = [g for g in askable if g not in set(mine)][: self.queries]
        if not mine or not theirs:
            raise TrainingError(f"Class {one} has too few groups for an episode that keeps groups apart.")
        return mine, theirs

    def _rows(self, rows: Indices, groups: list[int], count: int, rng: np.random.Generator) -> Indices:
        """Rows of some groups, one of each first; rows come again only when there are no others."""
        waiting = [rng.permutation(rows[self.groups[rows] == g]).tolist() for g in groups]
        chosen: list[int] = []
        turn = 0
        while len(chosen) < count:
            round_ = [stack[turn] for stack in waiting if turn < len(stack)]
            if not round_:
                turn = 0
                continue
            chosen += round_
            turn += 1
        return np.array(chosen[:count], np.intp)


_NONE: Indices = np.empty(0, np.intp)
