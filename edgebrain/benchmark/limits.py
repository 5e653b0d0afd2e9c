"""Limits that a build is held to: pure verdicts on a record."""

from __future__ import annotations

from dataclasses import dataclass

from edgebrain.benchmark.record import Benchmark
from edgebrain.errors import UsageError


@dataclass(frozen=True)
class Limits:
    """What the first case of a record is held to; None for no limit.

    Attributes:
        min_scans_per_hour: Of the steady run.
        max_p95_ms: Of one scan at a time, from file to record.
    """

    min_scans_per_hour: float | None = None
    max_p95_ms: float | None = None


def missed(record: Benchmark, limits: Limits) -> tuple[str, ...]:
    """Say which limits the first case does not keep; empty when it keeps all.

    Raises:
        UsageError: A figure that is limited was not measured well enough to exist.
    """
    found = []
    case = record.cases[0]
    rate, least = case.summary.scans_per_hour.value, limits.min_scans_per_hour
    if least is not None and (rate is None or rate < least):
        found.append(f"{0 if rate is None else rate:,.0f} scans per hour are fewer than {least:,.0f}.")
    if limits.max_p95_ms is not None:
        p95 = case.summary.latency_ms["total"]["p95"].value
        if p95 is None:
            raise UsageError("Too few scans were timed for a 95th percentile.", remedy="Raise --min-iterations.")
        if p95 > limits.max_p95_ms:
            found.append(f"p95 is {p95:.3g} ms, above {limits.max_p95_ms:g} ms.")
    return tuple(found)
