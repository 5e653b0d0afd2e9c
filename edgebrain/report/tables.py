"""The tables of an evaluation as plain text: the console and the HTML page show the same ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgebrain.errors import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgebrain.evaluation.record import Evaluation, OutlierFigures
    from edgebrain.intervals import Estimate

UNDEFINED = "n/a"
DISCLAIMER = (
    "edgebrain is research software and not a medical device: nothing in this report replaces the reading of a scan by "
    "a qualified person."
)


_TRUTHS = {"tumor": "any tumour", "all": "all scans"}


@dataclass(frozen=True)
class Cell:
    """One cell; ``shade`` from 0 to 1 colours it."""

    text: str
    shade: float | None = None


@dataclass(frozen=True)
class Grid:
    """A table. The first column names the row; the last ``prose`` columns hold sentences, for where there is room."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""
    prose: int = 0


def percent(value: float | None) -> str:
    """A share as text. Only 0 and 1 themselves are written as 0 % and 100 %."""
    return UNDEFINED if value is None else f"{percent_number(value)} %"


def percent_number(value: float | None) -> str:
    """The same without the sign."""
    return UNDEFINED if value is None else _guarded(100 * value, 100.0, 1)


def score(value: float | None) -> str:
    """A figure between 0 and 1 as text, without rounding it to 0 or 1."""
    return UNDEFINED if value is None else _guarded(value, 1.0, 3)


def percent_interval(figure: Estimate) -> str:
    """The interval of a share as text."""
    if figure.low is None or figure.high is None:
        return UNDEFINED
    return f"{percent_number(figure.low)} to {percent_number(figure.high)} %"


def share_with_interval(figure: Estimate) -> str:
    """A share in percent and its interval, for columns whose head says so."""
    if figure.value is None or figure.low is None or figure.high is None:
        return percent_number(figure.value)
    low, high = percent_number(figure.low), percent_number(figure.high)
    return f"{percent_number(figure.value)} ({low}-{high})"


def score_interval(figure: Estimate) -> str:
    """The interval of a score as text."""
    if figure.low is None or figure.high is None:
        return UNDEFINED
    return f"{score(figure.low)} to {score(figure.high)}"


def _guarded(value: float, top: float, digits: int) -> str:
    """Round, but keep what is nearly perfect apart from what is perfect."""
    step = 10.0**-digits
    rounded = round(value, digits)
    if rounded == 0 < value:
        return f"<{step:.{digits}f}"
    if rounded == top > value:
        return f">{top - step:.{digits}f}"
    return f"{rounded:.{digits}f}"


def subject(evaluation: Evaluation) -> str:
    """One sentence on what was evaluated."""
    groups = "" if evaluation.n_groups is None else f" in {evaluation.n_groups:,} groups"
    outliers = evaluation.outliers
    pictures = f"; {outliers.n:,} pictures that are no brain MRI" if outliers is not None and outliers.n else ""
    failed = f"; {evaluation.n_failed:,} more got no answer" if evaluation.n_failed else ""
    labels = ", ".join(printable(label) for label in evaluation.labels)
    return f"{evaluation.n:,} labelled scans{groups}{pictures}{failed}. Labels: {labels}."


def grids(evaluation: Evaluation) -> list[Grid]:
    """All tables, in reading order."""
    tables = []
    if evaluation.n:
        tables += [headline(evaluation), confusion(evaluation), per_class(evaluation), triage(evaluation)]
    if evaluation.outliers is not None:
        tables.append(outliers(evaluation.outliers))
    return [*tables, latency(evaluation)] if evaluation.latency_ms else tables


def headline(evaluation: Evaluation) -> Grid:
    """The figures to remember, with intervals and what they mean."""
    shares: list[tuple[str, Estimate, str]] = [
        ("Accuracy", evaluation.accuracy, "Scans whose most probable label is the true one."),
    ]
    scores: list[tuple[str, Estimate, str]] = []
    if evaluation.tumor is not None:
        tumor = evaluation.tumor
        shares += [
            ("Tumour sensitivity", tumor.sensitivity, "Tumours that were labelled as a tumour, of whatever kind."),
            ("Tumour specificity", tumor.specificity, "Scans without a tumour that were labelled so."),
            ("Tumours prioritised", tumor.prioritised, "Tumours put first by the operating point of the model."),
            ("Tumours left in turn", tumor.standard, "Tumours that triage missed: they are read, but not earlier."),
        ]
        scores = [("Tumour AUROC", tumor.auroc, "Chance that a tumour scores above a scan without one.")]
    shares += [
        ("Scans assessed", evaluation.coverage, "The rest goes to a person unjudged."),
        ("Accuracy on those", evaluation.accuracy_assessed, "Accuracy on the scans the model was willing to judge."),
        ("Balanced accuracy", evaluation.balanced_accuracy, "Mean recall: every label counts the same."),
    ]
    calibration = evaluation.calibration
    scores += [
        ("Mean AUROC", evaluation.auroc, "Mean over the labels, each against the rest."),
        ("Macro F1", evaluation.macro_f1, "Mean over the labels of the F1 score."),
        ("Macro F2", evaluation.macro_f2, "The same with a missed scan weighing four times a false alarm."),
        ("Macro precision", evaluation.macro_precision, "Mean over the labels of the precision."),
        ("Macro specificity", evaluation.macro_specificity, "Mean over the labels of the specificity."),
        ("ECE (equal mass)", calibration.ece, "How far probabilities are from observed shares; lower is better."),
        ("ECE, if calibrated", calibration.ece_if_calibrated, "What it would be on so many scans by luck alone."),
        ("ECE (equal width)", calibration.ece_equal_width, "The same with bins of equal width."),
        ("Brier score", calibration.brier, "Squared error of the probabilities, 0 to 2; lower is better."),
        ("Log-likelihood loss", calibration.nll, "In nats; lower is better."),
    ]
    rows = [(name, percent(figure.value), percent_interval(figure), text) for name, figure, text in shares]
    rows += [(name, score(figure.value), score_interval(figure), text) for name, figure, text in scores]
    return Grid(
        "Headline figures",
        ("", "Value", "95 % interval", "Meaning"),
        _cells(rows),
        _interval_caption(evaluation),
        prose=1,
    )


def _interval_caption(evaluation: Evaluation) -> str:
    if evaluation.n_groups is None:
        return f"Intervals: Wilson for shares, {evaluation.resamples:,} bootstrap resamples of scans for scores."
    return (
        f"Intervals: {evaluation.resamples:,} bootstrap resamples of whole groups; for shares, Wilson's at the "
        "effective number of scans they give."
    )


def confusion(evaluation: Evaluation) -> Grid:
    """Counts per true and predicted label, shaded by their share of the row."""
    rows = []
    for label, counts in zip(evaluation.labels, evaluation.confusion, strict=True):
        total = max(sum(counts), 1)
        rows.append((Cell(printable(label)), *(Cell(f"{count:,}", count / total) for count in counts)))
    columns = ("true \\ predicted", *(printable(label) for label in evaluation.labels))
    return Grid("Confusion matrix", columns, tuple(rows))


def per_class(evaluation: Evaluation) -> Grid:
    """Rates of every label against the rest."""
    rows = [
        (
            printable(row.label),
            share_with_interval(row.recall),
            percent_number(row.precision.value),
            percent_number(row.specificity.value),
            score(row.f1.value),
            score(row.f2.value),
            score(row.auroc.value),
        )
        for row in evaluation.per_class
    ]
    columns = ("Label", "Recall %", "Precision %", "Specificity %", "F1", "F2", "AUROC")
    return Grid(
        "Each label against the rest",
        columns,
        _cells(rows),
        "Recall is the sensitivity for that label. In brackets: 95 % intervals.",
    )


def triage(evaluation: Evaluation) -> Grid:
    """What triage did with the scans of every truth."""
    rows = []
    for row in evaluation.triage:
        shares = (share_with_interval(figure) for figure in (row.prioritise, row.standard, row.cannot_assess))
        name = row.truth if row.truth in evaluation.labels else _TRUTHS[row.truth]
        rows.append((printable(name), f"{row.n:,}", *shares))
    columns = ("Truth", "Scans", "Prioritise %", "Standard %", "Cannot assess %")
    return Grid(
        "Triage", columns, _cells(rows), "A person reads every scan, whatever its triage. In brackets: 95 % intervals."
    )


def outliers(figures: OutlierFigures) -> Grid:
    """What becomes of pictures that are no brain MRI, and what refusing them costs on scans."""
    rows: list[tuple[str, str, str, str]] = []
    if figures.n:
        shares = [
            ("Pictures not refused", figures.accepted, "Pictures that got a judgement as if they were scans."),
            ("Pictures left in turn", figures.standard, "Pictures that ended as standard: the worst that can happen."),
        ]
        shares += [
            (f"Not refused: {printable(row.source) or 'unnamed'}", row.accepted, f"{row.n:,} pictures of this source.")
            for row in figures.per_source
        ]
        rows += [(name, percent(figure.value), percent_interval(figure), text) for name, figure, text in shares]
    if figures.limit is not None and figures.scans:
        refused = figures.refused_as_outlier
        text = f"Scans not assessed, since their outlier score is above {score(figures.limit)}."
        rows.append(("Scans refused", percent(refused.value), percent_interval(refused), text))
    if figures.auroc.value is not None:
        text = "Chance that a picture's outlier score is above a scan's."
        rows.append(("Outlier AUROC", score(figures.auroc.value), score_interval(figures.auroc), text))
    caption = "" if figures.limit is not None else "The model has no limit for an outlier score."
    return Grid(
        "Pictures that are no brain MRI", ("", "Value", "95 % interval", "Meaning"), _cells(rows), caption, prose=1
    )


def latency(evaluation: Evaluation) -> Grid:
    """Time per stage."""
    rows = [
        (printable(row.stage), f"{row.mean:.2f}", f"{row.median:.2f}", f"{row.p95:.2f}")
        for row in evaluation.latency_ms
    ]
    return Grid("Time per scan (ms)", ("Stage", "Mean", "Median", "95th percentile"), _cells(rows))


def _cells(rows: Sequence[tuple[str, ...]]) -> tuple[tuple[Cell, ...], ...]:
    return tuple(tuple(Cell(text) for text in row) for row in rows)
