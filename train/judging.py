"""How good a method is on episodes, and how sure that is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from edgebrain.inner import Start, inner_loop
from edgebrain.intervals import Estimate, bootstrap, estimate, group_index, proportion
from edgebrain.types import Float64

from .episodes import Episode, EpisodeSampler, Indices

Flags = np.ndarray[Any, np.dtype[np.bool_]]
Solver = Callable[[Episode], Float64]
"""Learns from an episode's support, and gives scores [Q, ways] of its query, in the query's order."""


class Outcome(NamedTuple):
    """What came out of many episodes.

    Attributes:
        hits: bool [E, Q], whether each query scan got its class.
        groups: intp [E, Q], the group of each query scan.
        classes: intp [E, Q], its class.
    """

    hits: Flags
    groups: Indices
    classes: Indices


def judge(solve: Solver, sampler: EpisodeSampler, episodes: int, follow: Callable[[], None] | None = None) -> Outcome:
    """Solve the episodes 0 to ``episodes - 1``.

    Args:
        solve: The method.
        sampler: Where episodes come from.
        episodes: Number of episodes E.
        follow: Is told after each episode.
    """
    hits, groups, classes = [], [], []
    for index in range(episodes):
        episode = sampler.episode(index)
        ways, queries = episode.query.shape
        truth = np.repeat(np.arange(ways), queries)
        hits.append(solve(episode).argmax(1) == truth)
        groups.append(sampler.groups[episode.query.ravel()])
        classes.append(np.array(episode.classes)[truth])
        if follow is not None:
            follow()
    return Outcome(np.stack(hits), np.stack(groups), np.stack(classes))


def head_solver(features: Float64, start: Start) -> Solver:
    """The inner loop of the device as something that solves episodes."""

    def solve(episode: Episode) -> Float64:
        ways, shots = episode.support.shape
        targets = np.repeat(np.arange(ways), shots)
        weight, bias = inner_loop(features[episode.support.ravel()], targets, start)
        result: Float64 = features[episode.query.ravel()] @ weight.T + bias
        return result

    return solve


def accuracy_of(outcome: Outcome, *, seed: int = 0) -> Estimate:
    """Mean accuracy with its 95 % interval.

    Episodes share scans, so an interval over episodes alone says how sure the mean over *these* scans is. The other
    bootstrap draws the groups of the query scans, and where nothing or almost nothing went wrong Wilson's interval over
    groups is wider than both. The widest of the three is given.
    """
    value = float(outcome.hits.mean())
    over_episodes = bootstrap(
        lambda w: (w @ outcome.hits.mean(1)) / w.sum(1), len(outcome.hits), resamples=1000, seed=seed
    )
    index = group_index([str(g) for g in outcome.groups.ravel()])
    right = np.bincount(index, outcome.hits.ravel().astype(np.float64))
    asked = np.bincount(index).astype(np.float64)
    over_groups = bootstrap(lambda w: (w @ right) / (w @ asked), len(right), resamples=1000, seed=seed)
    hits = outcome.hits.ravel()
    figures = (
        estimate(value, over_episodes, clustered=False),
        estimate(value, over_groups, clustered=True),
        proportion(hits, np.ones_like(hits), index, over_groups),  # a bootstrap of nothing but hits has no width
    )
    return max(figures, key=_width)


def recall_of(outcome: Outcome, one: int) -> float:
    """Share of a class's query scans that got it; ``nan`` where the class was never asked for."""
    asked = outcome.classes == one
    return float(outcome.hits[asked].mean()) if asked.any() else float("nan")


def _width(figure: Estimate) -> float:
    return 0.0 if figure.low is None or figure.high is None else figure.high - figure.low
