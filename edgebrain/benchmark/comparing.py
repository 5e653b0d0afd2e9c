"""Two records side by side: ratios with intervals, and whether they say anything. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgebrain.benchmark.figures import PERCENTILES, ratio_of_percentiles, ratio_of_rates
from edgebrain.benchmark.record import Benchmark, Case
from edgebrain.errors import UsageError
from edgebrain.intervals import Estimate

Verdict = Literal["faster", "slower", "no clear difference"]


@dataclass(frozen=True)
class Ratio:
    """A figure of the second record over that of the first.

    Attributes:
        name: Which figure.
        ratio: Second over first.
        more_is_better: Whether a ratio above 1 is a gain.
    """

    name: str
    ratio: Estimate
    more_is_better: bool

    @property
    def verdict(self) -> Verdict:
        """What can be said: only an interval that leaves 1 out tells the two apart."""
        low, high = self.ratio.low, self.ratio.high
        if low is None or high is None or low <= 1 <= high:
            return "no clear difference"
        return "faster" if (low > 1) == self.more_is_better else "slower"


@dataclass(frozen=True)
class CaseComparison:
    """One case that both records have."""

    key: str
    ratios: tuple[Ratio, ...]


@dataclass(frozen=True)
class Comparison:
    """Two records.

    Attributes:
        cases: Cases of both, in the order of the first.
        warnings: Why the ratios may not mean what they seem to.
    """

    cases: tuple[CaseComparison, ...]
    warnings: tuple[str, ...]


def compare(first: Benchmark, second: Benchmark) -> Comparison:
    """Compare the cases that two records share.

    Raises:
        UsageError: They share none.
    """
    theirs = {case.setup.key: case for case in second.cases}
    shared = [(case, theirs[case.setup.key]) for case in first.cases if case.setup.key in theirs]
    if not shared:
        raise UsageError(
            "The two records have no case in common.",
            remedy="Measure both with the same --engine, --precision, --threads and --batch-size.",
        )
    cases = tuple(CaseComparison(a.setup.key, _ratios(a, b)) for a, b in shared)
    return Comparison(cases, tuple(_warnings(first, second, shared)))


def _ratios(first: Case, second: Case) -> tuple[Ratio, ...]:
    found = [Ratio("scans per hour", ratio_of_rates(first.throughput, second.throughput), more_is_better=True)]
    a, b = first.latency_ms.get("total", ()), second.latency_ms.get("total", ())
    if a and b:
        times = ((f"{name} of one scan", ratio_of_percentiles(a, b, PERCENTILES[name])) for name in ("p50", "p95"))
        found += [Ratio(name, ratio, more_is_better=False) for name, ratio in times]
    return tuple(found)


def _warnings(first: Benchmark, second: Benchmark, shared: list[tuple[Case, Case]]) -> list[str]:
    found = []
    if first.machine.get("processor") != second.machine.get("processor"):
        found.append(f"other machines: {first.machine.get('processor')}, {second.machine.get('processor')}")
    if (first.scans, first.n_files) != (second.scans, second.n_files):
        found.append(f"other scans: {first.n_files} ({first.scans}), {second.n_files} ({second.scans})")
    if any(a.setup.sha256 != b.setup.sha256 for a, b in shared):
        found.append("other files of the model: this compares models, not programs or machines")
    return found
