"""Percentiles, rates, ratios and verdicts: pure, so checked against what they mean."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgebrain.benchmark.comparing import Ratio, compare
from edgebrain.benchmark.figures import (
    HOUR,
    LEAST_BLOCKS,
    blocks,
    middle,
    percentile,
    percentiles,
    rate,
    ratio_of_percentiles,
    ratio_of_rates,
    summarise,
)
from edgebrain.benchmark.human import exams_per_hour, times_a_reader
from edgebrain.benchmark.limits import Limits, missed
from edgebrain.benchmark.record import STAGES, Benchmark, Case, Setup, Throughput
from edgebrain.errors import UsageError
from edgebrain.intervals import Estimate

TIMES = st.lists(st.floats(0.01, 1e4), min_size=1, max_size=80)


def make_case(seconds: tuple[float, ...], total: tuple[float, ...] = (), **changes: Any) -> Case:
    setup = {
        "model": "tiny",
        "version": "1.0.0",
        "sha256": "0" * 64,
        "precision": "fp32",
        "engine": "fake",
        "provider": "Fake",
        "engine_version": "1",
        "device": "cpu",
        "threads": 1,
        "batch_size": 8,
    }
    run = Throughput(32, seconds)
    latency = dict.fromkeys(STAGES, total) if total else {}
    return Case(Setup(**{**setup, **changes}), run, summarise(latency, run, None), latency_ms=latency)


def make_record(*cases: Case, **changes: Any) -> Benchmark:
    fields: dict[str, Any] = {
        "created": "2026-01-01T00:00:00+00:00",
        "edgebrain": "0",
        "machine": {"processor": "one", "cpus": 1, "python": "3", "load_average": 0.0},
        "libraries": {"numpy": "2"},
        "scans": "drawn",
        "n_files": 4,
        "slices_per_exam": 150,
        "cases": cases,
    }
    return Benchmark(**{**fields, **changes})


@given(TIMES, st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_a_percentile_was_measured_and_splits_the_samples(times: list[float], share: float) -> None:
    values = np.array(times)
    found = percentile(values, share)
    if values.size * (1 - share) < 1 - 1e-9:
        assert np.isnan(found)
        return
    assert found in times
    assert (values <= found).mean() >= share - 1e-9
    assert (values < found).mean() < share + 1e-9


@given(TIMES)
def test_percentiles_rise_and_lie_in_their_intervals(times: list[float]) -> None:
    found = percentiles(times)
    defined = [figure for figure in found.values() if figure.value is not None]
    values = [figure.value for figure in defined if figure.value is not None]
    assert values == sorted(values)
    for figure in defined:
        if figure.low is not None and figure.high is not None and figure.value is not None:
            assert min(times) <= figure.low <= figure.value <= figure.high <= max(times)


def test_percentiles_of_nothing_are_undefined() -> None:
    assert set(percentiles([]).values()) == {Estimate(None)}


def test_few_samples_give_no_high_percentile_and_no_interval() -> None:
    found = percentiles([1.0, 2.0, 3.0])
    assert found["p50"] == Estimate(2.0)
    assert found["p99"].value is None


@given(st.integers(1, 5000))
def test_blocks_are_successive_and_none_is_short(n: int) -> None:
    index = blocks(n)
    sizes = np.bincount(index)
    assert index.tolist() == sorted(index.tolist())
    assert sizes.min() >= sizes.max() / 2
    assert sizes.size >= n**0.5 / 2


def test_intervals_of_slow_waves_are_wider_than_of_the_same_times_shuffled() -> None:
    times = 1 + 0.5 * np.sin(np.linspace(0, 6 * np.pi, 400))
    shuffled = np.random.default_rng(0).permutation(times)
    wave, noise = (rate(Throughput(32, tuple(t.tolist()))) for t in (times, shuffled))
    widths = [(f.high or 0) - (f.low or 0) for f in (wave, noise)]
    assert widths[0] > 1.5 * widths[1] > 0


@given(st.lists(st.floats(0.01, 10), min_size=1, max_size=60), st.integers(1, 500))
def test_a_rate_is_scans_over_seconds(seconds: list[float], chunk: int) -> None:
    found = rate(Throughput(chunk, tuple(seconds)))
    assert found.value == pytest.approx(chunk * len(seconds) / sum(seconds))
    assert found.value is not None
    hour = rate(Throughput(chunk, tuple(seconds)), HOUR)
    assert hour.value == pytest.approx(found.value * 3600)
    if len(np.unique(blocks(len(seconds)))) < LEAST_BLOCKS:
        assert found.low is None
    else:
        assert found.low is not None
        assert found.high is not None
        assert found.low <= found.value <= found.high


def test_no_chunk_is_no_rate() -> None:
    assert rate(Throughput(32, ())) == Estimate(None)


def test_ratios_are_second_over_first() -> None:
    slow, fast = (Throughput(32, tuple(np.linspace(low, low * 1.1, 40).tolist())) for low in (0.2, 0.1))
    found = ratio_of_rates(slow, fast)
    assert found.value == pytest.approx(2)
    assert Ratio("rate", found, more_is_better=True).verdict == "faster"
    assert Ratio("rate", ratio_of_rates(fast, slow), more_is_better=True).verdict == "slower"
    assert Ratio("rate", ratio_of_rates(slow, slow), more_is_better=True).verdict == "no clear difference"
    times = np.linspace(1, 2, 200).tolist()
    longer = ratio_of_percentiles(times, [3 * t for t in times], 0.95)
    assert longer.value == pytest.approx(3)
    assert Ratio("p95", longer, more_is_better=False).verdict == "slower"
    assert ratio_of_percentiles(times, [], 0.5) == Estimate(None)


def test_a_median_of_starts_has_an_interval() -> None:
    found = middle([3.0, 1.0, 2.0])
    assert (found.value, found.low, found.high) == (2.0, 1.0, 3.0)
    assert middle([2.0]) == Estimate(2.0)
    assert middle([]) == Estimate(None)


def test_exams_are_slices_over_slices() -> None:
    assert exams_per_hour(3000, 150) == 20
    assert times_a_reader(3000, 150) == (5, 10)


def test_comparing_needs_a_shared_case_and_tells_what_differs() -> None:
    one = make_record(make_case((0.1,) * 30, (1.0,) * 40))
    other = make_record(
        make_case((0.1,) * 30, (1.0,) * 40, sha256="1" * 64),
        machine={"processor": "two"},
        scans="given files",
    )
    same = compare(one, one)
    assert same.warnings == ()
    assert [ratio.verdict for ratio in same.cases[0].ratios] == ["no clear difference"] * 3
    assert {warning.split(":")[0] for warning in compare(one, other).warnings} == {
        "other machines",
        "other scans",
        "other files of the model",
    }
    with pytest.raises(UsageError, match="no case in common"):
        compare(one, make_record(make_case((0.1,), threads=7)))


def test_limits_are_about_the_first_case() -> None:
    # 32 scans in 0.1 s: 1,152,000 an hour. The p95 of 1..40 ms is 38.
    record = make_record(make_case((0.1,) * 30, tuple(map(float, range(1, 41)))), make_case((100.0,), batch_size=1))
    assert missed(record, Limits()) == ()
    assert missed(record, Limits(1_151_999, 38.0)) == ()
    rate_missed, p95_missed = missed(record, Limits(1_152_001, 37.9))
    assert "1,152,000 scans per hour" in rate_missed
    assert "38 ms" in p95_missed
    with pytest.raises(UsageError, match="Too few scans"):
        missed(make_record(make_case((0.1,), (1.0,) * 5)), Limits(max_p95_ms=1))
