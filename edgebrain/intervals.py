"""How sure a measured figure is: 95 % intervals and a paired test.

Slices of one patient resemble each other, so they count for less than as many patients would. Where groups are known,
whole groups are resampled (the cluster bootstrap: Davison & Hinkley, Bootstrap Methods and their Application, 1997,
section 3.8).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from edgebrain.metrics import Flags, Indices
    from edgebrain.types import Float64

LEVEL = 0.95
Method = Literal["wilson", "clustered wilson", "bootstrap", "cluster bootstrap", "consistency resampling", "none"]

_Z = 1.959963984540054  # the 97.5 % quantile of the normal distribution
_NO_SPREAD = 1e-9  # rounding makes equal shares differ by less
_FEW_CLUSTERS = 10  # below, the spread under the bootstrap says little
_CELLS = 500_000  # weights held at once, 4 MB: fits the caches, and a report never needs much memory


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval.

    Attributes:
        value: The figure on the whole set; None where it is undefined, because a class is absent for instance.
        low: Lower end; None where no interval can be given.
        high: Upper end; the same.
        method: How the interval was made.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    method: Method = "none"


@dataclass(frozen=True)
class McNemar:
    """Two classifiers on the same scans: how often only one of them was right, and the exact two-sided p-value."""

    only_first: int
    only_second: int
    p_value: float


def wilson(successes: float, trials: float) -> tuple[float, float]:
    """Score interval of a proportion (Wilson, JASA 1927): sound for few trials and for shares near 0 and 1.

    Args:
        successes: Number of successes, from 0 to ``trials``.
        trials: Number of independent trials, above 0.

    Returns:
        Lower and upper end in [0, 1].
    """
    share = successes / trials
    scale = 1 + _Z**2 / trials
    centre = (share + _Z**2 / (2 * trials)) / scale
    half = _Z / scale * math.sqrt(share * (1 - share) / trials + _Z**2 / (4 * trials**2))
    # Rounding must not push an end past the share itself.
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))


def group_index(groups: Sequence[str]) -> Indices:
    """Number groups 0..G-1: int [N] from N names."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in groups], np.intp)


def resampling_weights(
    n: int, groups: Indices | None = None, *, resamples: int = 1000, seed: int = 0
) -> Iterator[Float64]:
    """How often each scan was drawn, for resamples with replacement (Efron, Annals of Statistics 1979).

    Args:
        n: Number of scans N.
        groups: int [N] in 0..G-1; whole groups are drawn, G of them. None draws scans.
        resamples: Number of resamples R.
        seed: Seed of the generator; the same seed gives the same weights.

    Yields:
        float64 [r, N] in chunks of bounded size whose r add up to R.
    """
    generator = np.random.default_rng(seed)
    units = n if groups is None else int(groups.max(initial=-1)) + 1
    chunk = max(1, _CELLS // max(n, 1))
    for start in range(0, resamples, chunk):
        rows = min(chunk, resamples - start)
        drawn = generator.integers(0, max(units, 1), (rows, units)) + np.arange(rows)[:, None] * units
        counts = np.bincount(drawn.ravel(), minlength=rows * units).reshape(rows, units).astype(np.float64)
        yield counts if groups is None else counts.take(groups, axis=1)


def bootstrap(
    statistic: Callable[[Float64], Float64],
    n: int,
    groups: Indices | None = None,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Float64:
    """Distribution of a statistic under resampling.

    Args:
        statistic: Maps weights [r, N] to values [r] or [r, M].
        n: Number of scans N.
        groups: int [N] for a cluster bootstrap, or None.
        resamples: Number of resamples R.
        seed: Seed of the generator.

    Returns:
        float64 [R] or [R, M].
    """
    return np.concatenate([statistic(w) for w in resampling_weights(n, groups, resamples=resamples, seed=seed)])


def percentile_interval(values: Float64) -> tuple[float, float] | None:
    """The 2.5 % and 97.5 % quantiles (Efron, 1979) of the defined values of [R]; None where none is.

    Resamples that lost a class altogether leave the statistic undefined (``nan``) and are left out.
    """
    defined = values[~np.isnan(values)]
    if defined.size == 0:
        return None
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def estimate(value: float, resampled: Float64, *, clustered: bool) -> Estimate:
    """A figure with its percentile bootstrap interval.

    The interval is widened to hold the figure: a calibration error is biased upwards under resampling and may fall
    outside.

    Args:
        value: The figure on the whole set, ``nan`` where undefined.
        resampled: float64 [R].
        clustered: Whether groups were resampled.

    Returns:
        The estimate; without an interval when no resample defines it.
    """
    if math.isnan(value):
        return Estimate(None)
    ends = percentile_interval(resampled)
    if ends is None:
        return Estimate(value)
    method: Method = "cluster bootstrap" if clustered else "bootstrap"
    return Estimate(value, min(ends[0], value), max(ends[1], value), method)


def proportion(hits: Flags, among: Flags, groups: Indices | None = None, resampled: Float64 | None = None) -> Estimate:
    """A share of scans with its interval: Wilson's, with groups for the effective number of scans.

    That number is the one whose binomial variance is the variance under the cluster bootstrap (Korn & Graubard, Survey
    Methodology 1998). The percentiles of the bootstrap are not used: a tumour missed once in a thousand scans is in
    about a third of the resamples not missed at all, and simulated 95 % intervals held the true share 73 % of the time
    where these held it 96 %. When all resamples agree (nothing missed, or one group) the number of groups is taken, as
    if scans of one group said nothing new; so it is, at most, with a handful of groups, whose spread says little.

    Args:
        hits: bool [N], what is counted.
        among: bool [N], what it is a share of.
        groups: int [N], or None.
        resampled: float64 [R], the share under the cluster bootstrap; needed with groups.

    Returns:
        The estimate; undefined when ``among`` is empty.
    """
    trials = int(among.sum())
    if trials == 0:
        return Estimate(None)
    share = int((hits & among).sum()) / trials
    if groups is None or resampled is None:
        return Estimate(share, *wilson(share * trials, trials), "wilson")
    defined = resampled[~np.isnan(resampled)]
    spread = float(defined.std()) if defined.size else 0.0
    clusters = int(np.unique(groups[among]).size)
    effective = min(trials, share * (1 - share) / spread**2) if spread > _NO_SPREAD else clusters
    if clusters < _FEW_CLUSTERS:
        effective = min(effective, clusters)
    return Estimate(share, *wilson(share * effective, effective), "clustered wilson")


def mcnemar(first: Flags, second: Flags) -> McNemar:
    """Exact McNemar test of whether two classifiers err equally often (McNemar, Psychometrika 1947; binomial form).

    Args:
        first: bool [N], whether the first classifier was right.
        second: bool [N], whether the second was, on the same scans. Scans are taken as independent.

    Returns:
        Discordant counts and the two-sided p-value; 1.0 when the two never differ.
    """
    only_first, only_second = int((first & ~second).sum()), int((~first & second).sum())
    trials = only_first + only_second
    ways = total = 1
    for k in range(1, min(only_first, only_second) + 1):
        ways = ways * (trials - k + 1) // k
        total += ways
    # Whole numbers throughout: exact, and no overflow for thousands of discordant pairs.
    p_value = 1.0 if only_first == only_second else min(1.0, 2 * total / 2**trials)
    return McNemar(only_first, only_second, p_value)
