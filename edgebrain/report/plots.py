"""The plots of an evaluation as PNG files.

Colours are of Okabe & Ito's set, made for colour-blind readers; lines also differ in their dashes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgebrain.errors import printable
from edgebrain.evaluation.case import ANY_TUMOR, BINS
from edgebrain.report.canvas import BLUE, FAINT, GREY, INK, VERMILLION, blank, png, style
from edgebrain.report.outlier_plot import outlier_histograms
from edgebrain.report.tables import percent, score

if TYPE_CHECKING:
    from edgebrain.evaluation.record import Evaluation

_COLORS = (BLUE, "#e69f00", "#009e73", "#cc79a7", "#56b4e9", VERMILLION)
_DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1)), (0, (5, 1.5, 1.5, 1.5)))
_STEEP = 0.9  # curves above this AUROC are told apart only in a magnified corner
_CORNER = 0.1
_INK_SWITCH = 0.72


@dataclass(frozen=True)
class Plot:
    """One plot: its file name, a title, what it shows, and the bytes of the PNG."""

    file: str
    title: str
    caption: str
    png: bytes


def draw(evaluation: Evaluation) -> list[Plot]:
    """Draw all plots of an evaluation.

    Args:
        evaluation: What to draw.

    Returns:
        Confusion matrix, ROC curves, reliability diagram and risk-coverage curve, where there are scans; histograms of
        the outlier score, where there is one.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    plots = []
    if evaluation.n:
        plots += [
            Plot(
                "confusion.png",
                "Confusion matrix",
                "Counts, with their share of the true label. A row holds the scans of one truth.",
                png(_confusion(evaluation)),
            ),
            Plot(
                "roc.png",
                "ROC curves",
                "Share of true scans found against share of others called so, for every threshold.",
                png(_roc(evaluation)),
            ),
            Plot(
                "reliability.png",
                "Reliability",
                "How often the model is right when it is so sure. Bars are 95 % intervals; below, scans per bin.",
                png(_reliability(evaluation)),
            ),
            Plot(
                "risk_coverage.png",
                "Risk and coverage",
                "Errors that remain when only the surest share of scans is judged; the mark is what triage does.",
                png(_risk_coverage(evaluation)),
            ),
        ]
    if evaluation.outliers is not None and evaluation.outliers.scores:
        plots.append(
            Plot(
                "outliers.png",
                "Outlier score",
                "How little scans, and pictures that are no brain MRI, look like a brain MRI slice to the model. What "
                "lies right of the limit is not assessed.",
                png(outlier_histograms(evaluation.outliers)),
            )
        )
    return plots


def _confusion(evaluation: Evaluation) -> Any:
    figure = blank()
    axes = figure.add_subplot()
    counts = np.array(evaluation.confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1.15)
    style(axes, "Confusion matrix", "Predicted", "True")
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    names, ticks = [printable(label) for label in evaluation.labels], range(len(evaluation.labels))
    # Labels come from a bundle or from folder names: a dollar sign in one is no formula.
    axes.set_xticks(ticks, names, parse_math=False, rotation=0 if len(names) <= len(_COLORS) else 90)
    axes.set_yticks(ticks, names, parse_math=False)
    axes.tick_params(length=0)
    for edge in np.arange(0.5, len(names) - 1):
        axes.axhline(edge, color="white", linewidth=2)
        axes.axvline(edge, color="white", linewidth=2)
    size = max(5.0, min(12.0, 48 / len(names)))
    for (row, column), count in np.ndenumerate(counts):
        share = float(shares[row, column])
        ink = "white" if share > _INK_SWITCH else INK if count else GREY
        text = f"{count:,}\n{percent(share)}" if count else "0"
        axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=size, linespacing=1.3)
    return figure


def _roc(evaluation: Evaluation) -> Any:
    figure = blank()
    axes = figure.add_subplot()
    style(axes, "ROC curves, each against the rest", "False positive rate", "True positive rate (sensitivity)")
    axes.set_aspect("equal")
    axes.set_xlim(-0.01, 1.0)
    axes.set_ylim(0.0, 1.01)
    axes.plot((0, 1), (0, 1), color=GREY, linewidth=0.8, linestyle=":")
    if not evaluation.roc:
        axes.text(0.5, 0.3, "No curve: one side has no scans.", ha="center", fontsize=9.5, color=INK)
        return figure
    areas = {row.label: row.auroc.value for row in evaluation.per_class}
    if evaluation.tumor is not None:
        areas.setdefault(ANY_TUMOR, evaluation.tumor.auroc.value)
    panels = [axes]
    if min(area for area in areas.values() if area is not None) > _STEEP:
        corner = axes.inset_axes((0.42, 0.42, 0.5, 0.5), xlim=(-0.002, _CORNER), ylim=(1 - _CORNER, 1.002))
        corner.tick_params(labelsize=7.5, colors=GREY, labelcolor=INK, length=2)
        corner.grid(visible=True, color=FAINT, linewidth=0.6)
        for spine in corner.spines.values():
            spine.set_color(GREY)
        axes.indicate_inset_zoom(corner, edgecolor=GREY, linewidth=0.7)
        panels.append(corner)
    for number, curve in enumerate(evaluation.roc):
        everything = curve.label not in evaluation.labels
        # The area comes first, for a legend hides names that start with an underscore.
        name = f"{score(areas[curve.label])}  {'any tumour' if everything else printable(curve.label)}"
        for panel in panels:
            panel.plot(
                curve.false_positive_rate,
                curve.true_positive_rate,
                color=INK if everything else _COLORS[number % len(_COLORS)],
                linestyle="-" if everything else _DASHES[number % len(_DASHES)],
                linewidth=1.7,
                label=name,
                clip_on=panel is not axes,
            )
    _legend(axes, "AUROC")
    return figure


def _legend(axes: Any, title: str | None = None) -> None:
    legend = axes.legend(
        loc="lower right",
        fontsize=8.5,
        title=title,
        title_fontsize=8.5,
        alignment="left",
        framealpha=0.95,
        edgecolor=FAINT,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def _reliability(evaluation: Evaluation) -> Any:
    figure = blank()
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    calibration = evaluation.calibration
    style(axes, f"Reliability (ECE {score(calibration.ece.value)}, equal mass)", "", "Accuracy")
    axes.plot((0, 1), (0, 1), color=GREY, linewidth=0.8, linestyle=":", label="perfectly calibrated")
    means = np.array([row.confidence for row in calibration.bins])
    rates = np.array([row.accuracy.value for row in calibration.bins], np.float64)
    ends = np.array([(row.accuracy.low, row.accuracy.high) for row in calibration.bins], np.float64)
    axes.errorbar(
        means,
        rates,
        yerr=np.abs(ends.T - rates),
        fmt="o",
        color=BLUE,
        markersize=4.5,
        elinewidth=1.1,
        capsize=2,
        label="model, by confidence",
    )
    axes.set_xlim(0, 1.01)
    axes.set_ylim(-0.02, 1.03)
    _legend(axes)
    style(below, "", "Confidence in the predicted label", "Scans")
    centres = (np.ceil(means * BINS) - 0.5) / BINS
    below.bar(centres, [row.count for row in calibration.bins], width=0.85 / BINS, color=BLUE)
    below.set_yscale("log")
    below.yaxis.set_major_formatter("{x:,.0f}")
    below.set_ylim(bottom=0.7)
    return figure


def _risk_coverage(evaluation: Evaluation) -> Any:
    figure = blank()
    axes = figure.add_subplot()
    curve = evaluation.risk_coverage
    style(axes, f"Risk and coverage (AURC {score(curve.aurc)})", "Scans judged (%)", "Errors among them (%)")
    coverage, risk = 100 * np.array(curve.coverage), 100 * np.array(curve.risk)
    axes.plot(coverage, risk, color=BLUE, linewidth=1.7, label="surest scans first", clip_on=False)
    top = float(risk.max())
    own, right = evaluation.coverage.value, evaluation.accuracy_assessed.value
    if own is not None and right is not None:
        top = max(top, 100 * (1 - right))
        axes.plot(
            100 * own,
            100 * (1 - right),
            "D",
            color=VERMILLION,
            markersize=7,
            linestyle="none",
            label="triage of this model",
            clip_on=False,
            zorder=3,
        )
    axes.set_xlim(0, 101)
    axes.set_ylim(0, max(1.0, 1.15 * top))
    axes.legend(loc="upper left", fontsize=8.5, framealpha=0.95, edgecolor=FAINT)
    return figure
