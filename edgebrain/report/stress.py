"""A stress run and shortcut probes for people: tables for console and page, and a plot."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgebrain.errors import printable
from edgebrain.intervals import Estimate
from edgebrain.report.canvas import BLUE, FAINT, VERMILLION, blank, png, style
from edgebrain.report.plots import Plot
from edgebrain.report.tables import Cell, Grid, percent_number, share_with_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgebrain.evaluation.stress_record import ProbeReport, StressReport

STRESS_NUMBERS = "stress.json"
PROBE_NUMBERS = "probes.json"
PLOT = "stress.png"

_GREEN = "#009e73"  # of the set that canvas.py names
_APART = 0.16  # rows, between the two series of one panel


@dataclass(frozen=True)
class Appendix:
    """What a report has besides the evaluation: tables, plots, and further files by name."""

    grids: tuple[Grid, ...] = ()
    plots: tuple[Plot, ...] = ()
    files: tuple[tuple[str, bytes], ...] = ()


def appendix(stress: StressReport | None, probes: ProbeReport | None, *, plots: bool) -> Appendix:
    """The part of a report that tells of stress and probes.

    Args:
        stress: The stress run, if there was one.
        probes: The probes, if there were any.
        plots: Whether to draw; without, matplotlib is not needed.

    Raises:
        MissingExtra: matplotlib is not installed, but plots are wanted.
    """
    grids: list[Grid] = []
    files: list[tuple[str, bytes]] = []
    if stress is not None:
        grids.append(stress_grid(stress))
        files.append((STRESS_NUMBERS, _json(stress.to_dict())))
    if probes is not None:
        grids += [masking_grid(probes), *view_grids(probes)]
        files.append((PROBE_NUMBERS, _json(probes.to_dict())))
    return Appendix(tuple(grids), (draw_stress(stress),) if plots and stress is not None else (), tuple(files))


def _json(record: dict[str, Any]) -> bytes:
    return (json.dumps(record, indent=2, allow_nan=False) + "\n").encode()


# Tables --------------------------------------------------------------------------------------------------------------


def stress_grid(report: StressReport) -> Grid:
    """One row a stress."""
    rows = tuple(
        (
            Cell(row.name),
            Cell(percent_number(row.accuracy.value)),
            Cell("" if row.limit is None else f"{row.change.value or 0:+.1f}"),
            Cell("" if row.limit is None else f"{'' if row.within_limit else 'over '}{row.limit:g}"),
            Cell(percent_number(row.tumor_sensitivity.value)),
            Cell(percent_number(row.tumor_specificity.value)),
            Cell(percent_number(row.abstention.value)),
            Cell(percent_number(row.tumors_standard.value)),
            Cell("" if row.limit is None else _interval(row.change)),
            Cell(row.description),
        )
        for row in report.rows
    )
    over = len(report.exceeded)
    verdict = "Every stress is within its limit." if not over else f"{over} of the stresses are over their limit."
    return Grid(
        f"Under stress ({report.n:,} scans)",
        ("Stress", "Accuracy", "Change", "Limit", "Sens.", "Spec.", "Abstain", "In turn", "Interval", "What was done"),
        rows,
        f"{verdict} All in percent of scans. Change: of accuracy, against the same scans as they are (95 % "
        f"intervals, in report and JSON: {report.resamples:,} paired bootstrap resamples). Limit: what it may cost. "
        "Sens., spec.: tumours called a tumour, others called free of one. Abstain: triage cannot assess. "
        "In turn: tumours that triage leaves in their turn.",
        prose=2,
    )


def _interval(figure: Estimate) -> str:
    return "" if figure.low is None or figure.high is None else f"{figure.low:+.1f} to {figure.high:+.1f}"


def _points(figure: Estimate) -> str:
    if figure.value is None:
        return ""
    interval = _interval(figure)
    return f"{figure.value:+.1f} ({interval})" if interval else f"{figure.value:+.1f}"


def masking_grid(report: ProbeReport) -> Grid:
    """What hiding the hottest region does, against hiding as much elsewhere."""
    masking = report.masking
    rows = tuple(
        (
            Cell(name),
            Cell(share_with_interval(figures.flipped)),
            Cell(share_with_interval(figures.lost)),
            Cell(_points(_in_points(figures.mean_drop))),
        )
        for name, figures in (("hottest region", masking.hidden), ("as much elsewhere", masking.control))
    )
    more = f"; {masking.n_without:,} more had no region to hide" if masking.n_without else ""
    size = (
        ""
        if masking.region_share is None or masking.outside_head is None
        else f" The region holds {percent_number(masking.region_share)} % of the head on average; "
        f"{percent_number(masking.outside_head)} % of it lies outside of the head."
    )
    return Grid(
        "Probe: hiding where the model looks",
        ("Hidden", "Called free of tumour %", "Lost %", "Mean fall (points)"),
        rows,
        f"{masking.n:,} tumours that were called right{more}.{size} Lost: called free of tumour, or the tumour "
        "probability fell by more than 50 points. In brackets: 95 % intervals.",
    )


def _in_points(figure: Estimate) -> Estimate:
    value, low, high = (None if end is None else 100 * end for end in (figure.value, figure.low, figure.high))
    return Estimate(value, low, high, figure.method)


def view_grids(report: ProbeReport) -> list[Grid]:
    """What is said of pictures in which something is left out: accuracy, and answers per truth."""
    base = (
        Cell("as they are"),
        Cell(share_with_interval(report.accuracy)),
        Cell(""),
        Cell("The same scans."),
    )
    chance = (
        Cell(f"always {printable(report.majority)}"),
        Cell(percent_number(report.majority_share)),
        Cell(""),
        Cell("Chance: what is reached without looking."),
    )
    rows = tuple(
        (
            Cell(view.name),
            Cell(share_with_interval(view.accuracy)),
            Cell(share_with_interval(view.same_label)),
            Cell(view.description),
        )
        for view in report.views
    )
    grids = [
        Grid(
            "Probe: what is enough for an answer",
            ("Picture", "Accuracy %", "Same label %", "What is left"),
            (base, chance, *rows),
            "In brackets: 95 % intervals.",
            prose=1,
        )
    ]
    for view in report.views[:2]:
        labels = tuple(view.answered[0].labels)
        answers = tuple(
            (
                Cell(printable(row.truth)),
                Cell(f"{row.n:,}"),
                *(Cell(percent_number(row.labels[label]), row.labels[label]) for label in labels),
            )
            for row in view.answered
        )
        columns = ("true \\ predicted %", "Scans", *(printable(label) for label in labels))
        grids.append(Grid(f"Probe: answers from {view.name} alone", columns, answers, view.description))
    return grids


# Plot ----------------------------------------------------------------------------------------------------------------


def draw_stress(report: StressReport) -> Plot:
    """Dots per stress: accuracy and tumour sensitivity on the left, abstention on the right.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    figure = blank()
    figure.set_size_inches(8.6, 1.3 + 0.24 * len(report.rows))
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(2, 1))
    style(left, "Under stress", "Share of scans (%)", "")
    style(right, "Not assessed", "Share of scans (%)", "")
    _series(left, [row.accuracy for row in report.rows], (BLUE, "o", "accuracy"), -_APART)
    if any(row.tumor_sensitivity.value is not None for row in report.rows):
        _series(left, [r.tumor_sensitivity for r in report.rows], (_GREEN, "D", "tumour sensitivity"), _APART)
    _series(right, [row.abstention for row in report.rows], (VERMILLION, "s", "cannot assess"))
    left.set_yticks(range(len(report.rows)), [row.name for row in report.rows], parse_math=False)
    for label, row in zip(left.get_yticklabels(), report.rows, strict=True):
        if not row.within_limit:
            label.set_color(VERMILLION)
            label.set_fontweight("bold")
    left.set_ylim(len(report.rows) - 0.5, -0.5)
    right.set_xlim(left=-0.05 * right.get_xlim()[1])
    right.tick_params(length=0, axis="y")
    figure.legend(loc="outside lower center", ncols=3, fontsize=8.5, edgecolor=FAINT)
    return Plot(
        PLOT,
        "Under stress",
        "Dotted lines: the scans as they are. Bars are 95 % intervals. A name in bold colour is over its limit.",
        png(figure),
    )


def _series(axes: Any, figures: Sequence[Estimate], look: tuple[str, str, str], lift: float = 0) -> None:
    color, marker, name = look
    if figures[0].value is not None:
        axes.axvline(100 * figures[0].value, color=color, linewidth=0.9, linestyle=":")
    for row, figure in enumerate(figures):
        place = row + lift
        if figure.value is None:
            continue
        if figure.low is not None and figure.high is not None:
            axes.plot((100 * figure.low, 100 * figure.high), (place, place), color=color, linewidth=1, alpha=0.35)
        axes.plot(100 * figure.value, place, marker, color=color, markersize=4.5, label=None if row else name)
