"""How well the outlier score tells scans from other pictures, as two histograms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgebrain.report.canvas import BLUE, INK, VERMILLION, blank, style
from edgebrain.report.tables import score

if TYPE_CHECKING:
    from edgebrain.evaluation.record import OutlierFigures


def outlier_histograms(figures: OutlierFigures) -> Any:
    """Histograms of the outlier score of scans (above) and of pictures (below), on one axis, with the limit.

    Args:
        figures: Figures with a histogram.

    Returns:
        A figure of matplotlib.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    figure = blank()
    above, below = figure.subplots(2, 1, sharex=True)
    lefts = [row.low for row in figures.scores]
    widths = [row.high - row.low for row in figures.scores]
    area = "" if figures.auroc.value is None else f" (AUROC {score(figures.auroc.value)})"
    style(above, f"Outlier score{area}", "", "Scans")
    style(below, "", "Outlier score: how little it is like a brain MRI slice", "Pictures")
    panels = (
        (above, [row.scans for row in figures.scores], BLUE),
        (below, [row.pictures for row in figures.scores], VERMILLION),
    )
    for axes, counts, color in panels:
        axes.bar(lefts, counts, width=widths, align="edge", color=color)
        axes.set_xlim(0, 1)
        if sum(counts):
            # Few lie on the wrong side of the limit, and those are the ones to see.
            axes.set_yscale("log")
            axes.set_ylim(0.7, 2 * max(counts))
            axes.yaxis.set_major_formatter("{x:,.0f}")
        else:
            axes.set_yticks([])
            axes.text(0.5, 0.5, "none", ha="center", va="center", transform=axes.transAxes, fontsize=9.5, color=INK)
        if figures.limit is not None:
            axes.axvline(figures.limit, color=INK, linewidth=1.2, linestyle="--", label=f"limit {score(figures.limit)}")
    if figures.limit is not None:
        above.legend(loc="upper center", fontsize=8.5, framealpha=0.95)
    return figure
