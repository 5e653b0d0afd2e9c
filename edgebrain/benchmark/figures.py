"""Figures from samples: percentiles, rates and ratios, each with a 95 % bootstrap interval. Pure.

Times that follow each other resemble each other: a batch shares its inference, and what slows the machine down lasts.
Single samples would be drawn as if they were independent, and give intervals that are too narrow; so blocks of
successive samples are drawn (Künsch, "The jackknife and the bootstrap for general stationary observations", Annals of
Statistics 1989), about as many blocks as samples in a block.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from edgebrain.benchmark.record import Energy, Summary, Throughput
from edgebrain.intervals import Estimate, bootstrap, estimate, percentile_interval
from edgebrain.metrics import Indices
from edgebrain.types import Float64

PERCENTILES: Mapping[str, float] = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
HOUR = 3600
RESAMPLES = 1000
LEAST_BLOCKS = 5
"""With fewer, the spread between blocks says nothing, and no interval is given."""

_ROUNDING = 1e-9  # shares of whole numbers are rounded


def percentile(samples: Float64, share: float) -> float:
    """The smallest sample that is not below ``share`` of all: a time that was measured, never one in between.

    Args:
        samples: float64 [N], N above 0.
        share: In (0, 1).

    Returns:
        The sample; ``nan`` where less than one sample is expected above it: that would be the maximum in disguise.
    """
    if samples.size * (1 - share) < 1 - _ROUNDING:
        return math.nan
    return float(np.quantile(samples, share, method="inverted_cdf"))


def percentiles(samples: Sequence[float]) -> dict[str, Estimate]:
    """PERCENTILES of samples in the order in which they were taken.

    Args:
        samples: N times.

    Returns:
        A figure for each name; undefined where N is too small for it.
    """
    values = np.asarray(samples, np.float64)
    if values.size == 0:
        return dict.fromkeys(PERCENTILES, Estimate(None))
    return {
        name: _estimate(percentile(values, share), _percentile_resamples(values, share), values.size)
        for name, share in PERCENTILES.items()
    }


def blocks(n: int) -> Indices:
    """Number the blocks of N successive samples: int [N]; about the square root of N blocks."""
    length = max(1, round(math.sqrt(n)))
    last = max(0, n // length - 1)
    return np.minimum(np.arange(n, dtype=np.intp) // length, last)


def _estimate(value: float, resampled: Float64, *sizes: int) -> Estimate:
    if min(int(blocks(size)[-1]) + 1 for size in sizes) < LEAST_BLOCKS:
        return Estimate(None if math.isnan(value) else value)
    return estimate(value, resampled, clustered=True)


def rate(throughput: Throughput, per_seconds: float = 1.0) -> Estimate:
    """Scans per time, all chunks taken together.

    Args:
        throughput: At least one chunk.
        per_seconds: The time; HOUR for scans per hour.
    """
    seconds = np.asarray(throughput.seconds, np.float64)
    if seconds.size == 0:
        return Estimate(None)
    scans = throughput.chunk * per_seconds
    resampled = scans / _means(seconds)
    return _estimate(float(scans / seconds.mean()), resampled, seconds.size)


def _means(samples: Float64, seed: int = 0) -> Float64:
    def statistic(weights: Float64) -> Float64:
        means: Float64 = weights @ samples / weights.sum(axis=1)
        return means

    return bootstrap(statistic, samples.size, blocks(samples.size), resamples=RESAMPLES, seed=seed)


def ratio_of_rates(first: Throughput, second: Throughput) -> Estimate:
    """How many times as many scans per second the second run made, resampled on both sides."""
    ours, theirs = (np.asarray(run.seconds, np.float64) for run in (second, first))
    value = second.chunk / ours.mean() / (first.chunk / theirs.mean())
    resampled = (second.chunk / _means(ours, seed=1)) / (first.chunk / _means(theirs, seed=2))
    return _estimate(float(value), resampled, ours.size, theirs.size)


def ratio_of_percentiles(first: Sequence[float], second: Sequence[float], share: float) -> Estimate:
    """How many times as long a percentile of the second samples is, resampled on both sides."""
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if a.size == 0 or b.size == 0:
        return Estimate(None)
    value = percentile(b, share) / percentile(a, share)
    resampled = _percentile_resamples(b, share, seed=1) / _percentile_resamples(a, share, seed=2)
    return _estimate(value, resampled, a.size, b.size)


def _percentile_resamples(samples: Float64, share: float, seed: int = 0) -> Float64:
    order = np.argsort(samples, kind="stable")
    ranked = samples[order]

    def statistic(weights: Float64) -> Float64:
        reached = np.cumsum(weights[:, order], axis=1)
        places = (reached < share * reached[:, -1:] - _ROUNDING).sum(axis=1)
        found: Float64 = ranked[np.minimum(places, ranked.size - 1)]
        return found

    return bootstrap(statistic, samples.size, blocks(samples.size), resamples=RESAMPLES, seed=seed)


def middle(samples: Sequence[float]) -> Estimate:
    """Median of a few independent samples, of starts for instance, with a plain bootstrap interval."""
    values = np.asarray(samples, np.float64)
    if values.size == 0:
        return Estimate(None)
    if values.size == 1:
        return Estimate(float(values[0]))
    generator = np.random.default_rng(0)
    drawn = np.median(generator.choice(values, (RESAMPLES, values.size)), axis=1)
    ends = percentile_interval(drawn)
    assert ends is not None  # medians of numbers are numbers
    value = float(np.median(values))
    return Estimate(value, min(ends[0], value), max(ends[1], value), "bootstrap")


def summarise(latency_ms: Mapping[str, Sequence[float]], run: Throughput, energy: Energy | None) -> Summary:
    """All figures of a case."""
    return Summary(
        latency_ms={stage: percentiles(samples) for stage, samples in latency_ms.items()},
        scans_per_second=rate(run),
        scans_per_hour=rate(run, HOUR),
        joules_per_scan=None if energy is None else energy.joules_per_scan,
    )
