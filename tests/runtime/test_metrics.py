from __future__ import annotations

import itertools
import math
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgebrain import calibration, intervals, metrics

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgebrain.metrics import Flags, Indices
    from edgebrain.types import Float64

CONFUSION = np.array([[5, 1, 0], [2, 3, 0], [0, 0, 4]])


def softmax(logits: Float64) -> Float64:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: Float64 = powers / powers.sum(axis=1, keepdims=True)
    return shares


def pairs(classes: int = 4) -> st.SearchStrategy[list[tuple[int, int]]]:
    label = st.integers(0, classes - 1)
    return st.lists(st.tuples(label, label), max_size=40)


# A coarse grid of scores, so that ties are common.
scored = st.lists(st.tuples(st.booleans(), st.integers(0, 8)), max_size=40)


def flags_and_scores(rows: list[tuple[bool, int]]) -> tuple[Flags, Float64]:
    return np.array([row[0] for row in rows], np.bool_), np.array([row[1] for row in rows], np.float64) / 8


def test_confusion_matrix_counts_truth_in_rows() -> None:
    matrix = metrics.confusion_matrix(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 0]), 3)
    assert matrix.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]


def test_class_rates_by_hand() -> None:
    rates = metrics.class_rates(CONFUSION)
    assert rates.recall.tolist() == pytest.approx([5 / 6, 3 / 5, 1])
    assert rates.precision.tolist() == pytest.approx([5 / 7, 3 / 4, 1])
    assert rates.specificity.tolist() == pytest.approx([7 / 9, 9 / 10, 1])
    assert rates.f1.tolist() == pytest.approx([10 / 13, 6 / 9, 1])
    assert rates.f2.tolist() == pytest.approx([25 / (25 + 4 * 1 + 2), 15 / (15 + 4 * 2 + 1), 1])
    assert float(metrics.accuracy(CONFUSION)) == pytest.approx(12 / 15)
    assert float(metrics.balanced_accuracy(CONFUSION)) == pytest.approx((5 / 6 + 3 / 5 + 1) / 3)
    assert float(metrics.macro_f1(CONFUSION)) == pytest.approx((10 / 13 + 6 / 9 + 1) / 3)


def test_an_absent_class_is_undefined_and_left_out_of_means() -> None:
    matrix = np.array([[3, 0, 0], [0, 2, 0], [0, 0, 0]])
    rates = metrics.class_rates(matrix)
    for values in (rates.recall, rates.precision, rates.f1, rates.f2):
        assert np.isnan(values).tolist() == [False, False, True]
    assert rates.specificity[2] == 1
    assert float(metrics.balanced_accuracy(matrix)) == 1
    assert float(metrics.macro_f1(matrix)) == 1


def test_nothing_at_all_is_undefined_and_not_an_error() -> None:
    none, empty = np.zeros(0, np.bool_), np.zeros(0)
    indices, chances = np.zeros(0, np.intp), np.zeros((0, 3))
    values = [
        float(metrics.accuracy(np.zeros((2, 2)))),
        metrics.auroc(none, empty),
        calibration.calibration_error(empty, none),
        calibration.brier_score(chances, indices),
        calibration.negative_log_likelihood(chances, indices),
        calibration.risk_coverage(empty, none).aurc,
    ]
    assert all(math.isnan(value) for value in values)
    assert np.isnan(calibration.error_if_calibrated(empty, draws=3)).all()
    assert calibration.fit_temperature(chances, indices) == 1
    assert calibration.reliability_bins(empty, none).counts.size == 0
    assert np.isnan(metrics.roc_curve(none, empty).true_positive_rate).all()


@given(pairs())
def test_rates_are_bounded_or_undefined(rows: list[tuple[int, int]]) -> None:
    truth, predicted = np.array(rows, np.intp).reshape(-1, 2).T
    rates = metrics.class_rates(metrics.confusion_matrix(truth, predicted, 4))
    for values in rates:
        assert ((values >= 0) & (values <= 1) | np.isnan(values)).all()


@given(pairs())
def test_weights_of_one_give_the_plain_matrix(rows: list[tuple[int, int]]) -> None:
    truth, predicted = np.array(rows, np.intp).reshape(-1, 2).T
    weighted = metrics.weighted_confusion(truth, predicted, 4, np.ones((3, len(rows))))
    plain = metrics.confusion_matrix(truth, predicted, 4)
    assert all((matrix == plain).all() for matrix in weighted)


def test_weights_count_scans_several_times() -> None:
    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(0, 3, 20), rng.integers(0, 3, 20)
    positive, score = truth == 0, rng.integers(0, 5, 20) / 5
    counts = rng.integers(0, 4, (6, 20))
    matrices = metrics.weighted_confusion(truth, predicted, 3, counts.astype(np.float64))
    areas = metrics.weighted_auroc(positive, score, counts.astype(np.float64))
    for row, matrix, area in zip(counts, matrices, areas, strict=True):
        drawn = np.repeat(np.arange(20), row)
        assert (matrix == metrics.confusion_matrix(truth[drawn], predicted[drawn], 3)).all()
        assert area == pytest.approx(metrics.auroc(positive[drawn], score[drawn]))


@given(scored)
def test_auroc_is_the_chance_to_outrank(rows: list[tuple[bool, int]]) -> None:
    positive, score = flags_and_scores(rows)
    duels = list(itertools.product(score[positive], score[~positive]))
    area = metrics.auroc(positive, score)
    if not duels:
        assert math.isnan(area)
        return
    assert area == pytest.approx(sum((a > b) + (a == b) / 2 for a, b in duels) / len(duels))
    assert area == pytest.approx(1 - metrics.auroc(positive, -score))


@given(scored)
def test_roc_curve_rises_and_holds_the_area(rows: list[tuple[bool, int]]) -> None:
    positive, score = flags_and_scores(rows)
    curve = metrics.roc_curve(positive, score)
    x, y = curve.false_positive_rate, curve.true_positive_rate
    assert curve.thresholds[0] == np.inf
    assert (np.diff(curve.thresholds) < 0).all()
    if 0 < positive.sum() < positive.size:
        assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
        assert (np.diff(x) >= 0).all()
        assert (np.diff(y) >= 0).all()
        assert float((np.diff(x) * (y[1:] + y[:-1]) / 2).sum()) == pytest.approx(metrics.auroc(positive, score))


def test_detection_at_a_threshold_by_hand() -> None:
    positive = np.array([True, True, True, False, False])
    result = metrics.detection(positive, np.array([0.9, 0.5, 0.2, 0.5, 0.1]), 0.5)
    assert tuple(result) == pytest.approx((2 / 3, 1 / 2, 2, 1, 1, 1))
    assert math.isnan(metrics.detection(positive[:3], np.ones(3), 0.5).specificity)


def test_calibration_error_by_hand() -> None:
    confidence = np.array([0.55, 0.6, 0.95, 0.9])
    correct = np.array([True, False, True, True])
    # Bins (0.5, 0.6] with |0.5 - 0.575| and (0.8, 1.0] with |1 - 0.925|, half of the scans each.
    assert calibration.calibration_error(confidence, correct, 5, "equal_width") == pytest.approx(0.075)
    assert calibration.calibration_error(confidence, correct, 2, "equal_mass") == pytest.approx(0.075)


def test_equal_mass_bins_hold_as_many_and_keep_ties_together() -> None:
    rng = np.random.default_rng(0)
    assert np.bincount(calibration.bin_index(rng.random(150), 15)).tolist() == [10] * 15
    tied = np.array([0.3] + [1.0] * 50)
    assert np.unique(calibration.bin_index(tied, 10)[1:]).size == 1


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 8)), min_size=1, max_size=40), st.integers(0, 999))
def test_confidence_figures_do_not_depend_on_the_order(rows: list[tuple[bool, int]], seed: int) -> None:
    correct, confidence = flags_and_scores(rows)
    order = np.random.default_rng(seed).permutation(correct.size)
    schemes: tuple[calibration.Binning, ...] = ("equal_mass", "equal_width")
    for scheme in schemes:
        error = calibration.calibration_error(confidence, correct, 5, scheme)
        assert 0 <= error <= 1
        assert error == pytest.approx(calibration.calibration_error(confidence[order], correct[order], 5, scheme))
    curve, shuffled = (calibration.risk_coverage(confidence[o], correct[o]) for o in (np.arange(correct.size), order))
    assert curve.aurc == pytest.approx(shuffled.aurc)
    assert curve.risk.tolist() == shuffled.risk.tolist()
    assert curve.coverage[-1] == 1
    assert curve.risk[-1] == pytest.approx(1 - correct.mean())


def test_calibrated_probabilities_have_a_small_error_and_others_a_large_one() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.25, 1, 20_000)
    correct = rng.random(20_000) < confidence
    schemes: tuple[calibration.Binning, ...] = ("equal_mass", "equal_width")
    for scheme in schemes:
        assert calibration.calibration_error(confidence, correct, 15, scheme) < 0.015
        assert calibration.calibration_error(np.sqrt(confidence), correct, 15, scheme) > 0.1


def test_even_exact_probabilities_have_an_error_on_few_scans() -> None:
    rng = np.random.default_rng(1)
    confidence = rng.uniform(0.6, 1, 4000)
    few, many = (calibration.error_if_calibrated(confidence[:n], draws=200) for n in (400, 4000))
    assert few.shape == (200,)
    assert few.mean() > 2 * many.mean() > 0
    shown = [calibration.calibration_error(confidence[:400], rng.random(400) < confidence[:400]) for _ in range(200)]
    assert np.mean(shown) == pytest.approx(few.mean(), rel=0.1)
    assert np.array_equal(calibration.error_if_calibrated(confidence, draws=5), many[:5])


def test_who_is_always_sure_and_right_has_no_error_by_luck() -> None:
    assert not calibration.error_if_calibrated(np.ones(20), draws=10).any()


def test_scores_of_probabilities_by_hand() -> None:
    chances, truth = np.array([[0.7, 0.2, 0.1], [0.0, 1.0, 0.0]]), np.array([0, 2])
    assert calibration.brier_score(chances, truth) == pytest.approx((0.09 + 0.04 + 0.01 + 2) / 2)
    assert calibration.negative_log_likelihood(chances[:1], truth[:1]) == pytest.approx(-math.log(0.7))
    assert math.isfinite(calibration.negative_log_likelihood(chances, truth))


def test_risk_coverage_by_hand() -> None:
    curve = calibration.risk_coverage(np.array([0.9, 0.8, 0.8, 0.5]), np.array([True, False, True, False]))
    assert curve.coverage.tolist() == [0.25, 0.75, 1]
    assert curve.risk.tolist() == pytest.approx([0, 1 / 3, 0.5])
    # Within the tie one error is expected in two scans: half an error after the first of them.
    assert curve.aurc == pytest.approx((0 + 0.5 / 2 + 1 / 3 + 2 / 4) / 4)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_temperature_is_recovered(temperature: float) -> None:
    rng = np.random.default_rng(3)
    logits = rng.normal(0, 3, (20_000, 4))
    draws = rng.random((20_000, 1))
    truth: Indices = (softmax(logits).cumsum(axis=1) < draws).sum(axis=1).clip(max=3)
    assert calibration.fit_temperature(logits * temperature, truth) == pytest.approx(temperature, rel=0.04)


@given(st.integers(0, 10_000))
@settings(max_examples=30)
def test_no_temperature_nearby_is_better(seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits, truth = rng.normal(0, 2, (60, 4)), rng.integers(0, 4, 60)
    logits[np.arange(60), truth] += rng.uniform(0, 3)
    best = calibration.fit_temperature(logits, truth)
    low, high = calibration.TEMPERATURE_BOUNDS
    assert low <= best <= high
    loss = calibration.negative_log_likelihood(softmax(logits / best), truth)
    for other in (best * 0.98, best * 1.02):
        if low <= other <= high:
            assert loss <= calibration.negative_log_likelihood(softmax(logits / other), truth) + 1e-12


def test_temperature_stays_in_its_bounds() -> None:
    perfect = np.eye(3)
    assert calibration.fit_temperature(perfect, np.arange(3)) == calibration.TEMPERATURE_BOUNDS[0]
    assert calibration.fit_temperature(perfect, np.array([1, 2, 0])) == calibration.TEMPERATURE_BOUNDS[1]
    assert calibration.fit_temperature(np.ones((3, 3)), np.arange(3)) == 1


def test_wilson_interval_of_published_values() -> None:
    # Newcombe, Statistics in Medicine 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
    published = ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611), (1, 29, 0.0061, 0.1718))
    for successes, trials, low, high in published:
        assert intervals.wilson(successes, trials) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 10_000), st.data())
def test_wilson_holds_the_share_and_mirrors(trials: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, trials))
    low, high = intervals.wilson(successes, trials)
    assert 0 <= low <= successes / trials <= high <= 1
    assert intervals.wilson(trials - successes, trials) == pytest.approx((1 - high, 1 - low), abs=1e-12)


def test_resamples_draw_whole_groups_and_as_many() -> None:
    groups = intervals.group_index(["b", "a", "b", "c"])
    assert groups.tolist() == [0, 1, 0, 2]
    weights = np.concatenate(list(intervals.resampling_weights(4, groups, resamples=50)))
    assert (weights[:, 0] == weights[:, 2]).all()
    assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()
    plain = np.concatenate(list(intervals.resampling_weights(7, resamples=50)))
    assert (plain.sum(axis=1) == 7).all()


def test_resamples_come_in_bounded_chunks_and_repeat_with_the_seed() -> None:
    chunks = list(intervals.resampling_weights(100_000, resamples=12, seed=5))
    assert len(chunks) > 1
    assert sum(chunk.shape[0] for chunk in chunks) == 12
    again = list(intervals.resampling_weights(100_000, resamples=12, seed=5))
    other = list(intervals.resampling_weights(100_000, resamples=12, seed=6))
    assert (np.concatenate(chunks) == np.concatenate(again)).all()
    assert (np.concatenate(chunks) != np.concatenate(other)).any()


def mean_of(values: Float64) -> Callable[[Float64], Float64]:
    return lambda weights: metrics.ratio(weights @ values, weights.sum(axis=1))


def test_singleton_groups_are_the_plain_bootstrap() -> None:
    values = np.random.default_rng(0).random(300)
    plain = intervals.bootstrap(mean_of(values), 300)
    single = intervals.bootstrap(mean_of(values), 300, np.arange(300))
    assert (plain == single).all()
    assert plain.std() == pytest.approx(values.std() / math.sqrt(300), rel=0.1)


def test_copies_in_a_group_add_no_certainty() -> None:
    values = np.random.default_rng(0).random(100)
    copied = intervals.bootstrap(mean_of(np.repeat(values, 9)), 900, np.repeat(np.arange(100), 9))
    assert copied.std() == pytest.approx(intervals.bootstrap(mean_of(values), 100).std(), rel=1e-9)


def test_intervals_of_shares_know_about_groups() -> None:
    rng = np.random.default_rng(0)
    hits, everything = np.repeat(rng.random(100) < 0.8, 9), np.ones(900, np.bool_)
    groups = np.repeat(np.arange(100), 9)
    draws = intervals.bootstrap(mean_of(hits.astype(np.float64)), 900, groups)
    plain, clustered = intervals.proportion(hits, everything), intervals.proportion(hits, everything, groups, draws)
    assert (plain.method, clustered.method) == ("wilson", "clustered wilson")
    assert plain.value == clustered.value == hits.mean()
    truth = intervals.wilson(float(hits.sum()) / 9, 100)  # as many independent scans as there are groups
    assert (clustered.low, clustered.high) == pytest.approx(truth, abs=0.01)
    assert plain.low is not None
    assert clustered.low is not None
    assert clustered.low < plain.low


def test_a_few_groups_are_no_more_than_their_number() -> None:
    hits, groups = np.ones(120, np.bool_), np.repeat([0, 1], 60)
    hits[[0, 70]] = False  # one in either group: their likeness is luck, not certainty
    draws = intervals.bootstrap(mean_of(hits.astype(np.float64)), 120, groups)
    few = intervals.proportion(hits, np.ones_like(hits), groups, draws)
    assert (few.low, few.high) == pytest.approx(intervals.wilson(2 * float(hits.mean()), 2))


def test_a_perfect_share_is_not_certain() -> None:
    hits, groups = np.ones(40, np.bool_), np.repeat(np.arange(8), 5)
    draws = intervals.bootstrap(mean_of(hits.astype(np.float64)), 40, groups)
    perfect = intervals.proportion(hits, hits, groups, draws)
    assert (perfect.low, perfect.high) == pytest.approx(intervals.wilson(8, 8))
    assert perfect.high == 1
    assert intervals.proportion(hits, ~hits, groups, draws) == intervals.Estimate(None)


def test_one_group_does_not_make_a_share_sure() -> None:
    hits, groups = np.arange(9) < 6, np.zeros(9, np.intp)
    draws = intervals.bootstrap(mean_of(hits.astype(np.float64)), 9, groups)
    single = intervals.proportion(hits, np.ones(9, np.bool_), groups, draws)
    assert (single.low, single.high) == pytest.approx(intervals.wilson(2 / 3, 1))


def test_percentile_interval_leaves_out_the_undefined() -> None:
    values = np.concatenate((np.linspace(0, 1, 1001), [np.nan] * 500))
    assert intervals.percentile_interval(values) == pytest.approx((0.025, 0.975))
    assert intervals.percentile_interval(np.full(3, np.nan)) is None
    assert intervals.estimate(0.5, np.full(3, np.nan), clustered=False) == intervals.Estimate(0.5)
    assert intervals.estimate(math.nan, values, clustered=False) == intervals.Estimate(None)


def test_an_interval_always_holds_its_figure() -> None:
    low = intervals.estimate(0.01, np.linspace(0.02, 0.03, 100), clustered=True)
    assert (low.low, low.method) == (0.01, "cluster bootstrap")


def test_mcnemar_by_hand() -> None:
    first = np.array([True] * 6 + [False] + [True] * 5)
    second = np.array([False] * 6 + [True] + [True] * 5)
    result = intervals.mcnemar(first, second)
    assert (result.only_first, result.only_second) == (6, 1)
    assert result.p_value == pytest.approx(2 * (1 + 7) / 2**7)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=60))
def test_mcnemar_is_symmetric_and_bounded(rows: list[tuple[bool, bool]]) -> None:
    first, second = np.array(rows, np.bool_).reshape(-1, 2).T
    one, other = intervals.mcnemar(first, second), intervals.mcnemar(second, first)
    assert 0 < one.p_value <= 1
    assert (one.p_value, one.only_first) == (other.p_value, other.only_second)
    assert intervals.mcnemar(first, first).p_value == 1


def test_mcnemar_does_not_overflow() -> None:
    first = np.arange(20_000) < 9_700
    assert intervals.mcnemar(first, ~first).p_value == pytest.approx(2.26e-5, rel=0.02)  # normal: z = 4.243 corrected


def test_a_thousand_resamples_are_quick() -> None:
    rng = np.random.default_rng(0)
    truth, predicted, score = rng.integers(0, 4, 1500), rng.integers(0, 4, 1500), rng.random(1500)

    def both(weights: Float64) -> Float64:
        f1 = metrics.macro_f1(metrics.weighted_confusion(truth, predicted, 4, weights))
        return np.stack((f1, metrics.weighted_auroc(truth == 0, score, weights)), axis=1)

    start = time.process_time()
    assert intervals.bootstrap(both, 1500).shape == (1000, 2)
    assert time.process_time() - start < 2
