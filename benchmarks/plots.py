"""The same findings for who would rather look than read: targets, speeds beside other pipelines, and growth."""

from __future__ import annotations

import statistics
from typing import Any

from outcome import Curve, Outcome
from tables import Report, value_of

from edgebrain.benchmark.human import SCANS_PER_HOUR, SHORT_SOURCE, SLICES_PER_EXAM
from edgebrain.report.canvas import BLUE, GREY, INK, VERMILLION, blank, png, style

_WIDTH, _ROW, _MARGIN = 8.4, 0.3, 1.5
"""Inches: of a figure; of a row in it; around all rows."""
_PANEL = 2.9
_LEAST_USED = 1e-3
"""Share of a limit at which what used less is drawn: what shrank instead of growing has no place on a log axis."""
SHOWN = {
    "targets": "How much of each limit is used",
    "speeds": "Slices per second beside other pipelines, and the neuroradiologist",
    "growth": "Memory and time as runs, batches and images grow",
}
"""What each plot shows, by its name."""


def draw_plots(report: Report) -> dict[str, bytes]:
    """Draw a run.

    Args:
        report: All of it.

    Returns:
        PNG files by names of ``SHOWN``, each where something was measured for it.
    """
    figures: dict[str, Any] = {}
    held = [
        (found.title, outcome)
        for found in report.findings.values()
        for outcome in found.outcomes
        if outcome.target is not None
    ]
    if held:
        figures["targets"] = _targets(held)
    rated = [outcome for found in report.findings.values() for outcome in found.outcomes if outcome.rival]
    if rated:
        figures["speeds"] = _speeds(rated)
    curves = [(s.title, s.curve) for found in report.findings.values() for s in found.series if s.curve]
    if curves:
        figures["growth"] = _growth(curves)
    return {name: png(figure) for name, figure in figures.items()}


def _rows(count: int) -> tuple[Any, Any]:
    figure = blank()
    figure.set_size_inches(_WIDTH, _MARGIN + _ROW * count)
    axes = figure.add_subplot()
    axes.set_ylim(count - 0.4, -0.6)
    return figure, axes


def _targets(held: list[tuple[str, Outcome]]) -> Any:
    """What was used of each limit, so that all lie on one axis whichever way their targets point."""
    figure, axes = _rows(len(held))
    style(axes, "Against the targets", "Limit used; left of 100 % is met. With 95 % intervals; log scale", "")
    for place, (_, outcome) in enumerate(held):
        low, high = (_used(outcome, end) for end in outcome.interval)
        middle = _used(outcome, outcome.value)
        color = BLUE if outcome.met else VERMILLION
        axes.plot([low, high], [place, place], color=color, linewidth=2)
        axes.plot([middle], [place], "o", color=color, markersize=6)
        axes.annotate(value_of(outcome), (middle, place), (0, 6), textcoords="offset points", fontsize=7, ha="center")
    axes.axvline(100, color=INK, linewidth=1)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g} %")
    axes.set_yticks(range(len(held)), [f"{title}: {outcome.name}" for title, outcome in held], fontsize=7.5)
    return figure


def _used(outcome: Outcome, value: float) -> float:
    assert outcome.target is not None
    share = value / outcome.target if outcome.at_most else outcome.target / value
    return 100 * max(share, _LEAST_USED)


def _speeds(rated: list[Outcome]) -> Any:
    ours = [statistics.median(outcome.ours_samples) for outcome in rated]
    bars = [("edgebrain, file to record", statistics.median(ours), BLUE)]
    bars += [(outcome.rival, statistics.median(outcome.against_samples), GREY) for outcome in rated]
    slow, fast = (exams * SLICES_PER_EXAM / 3600 for exams in SCANS_PER_HOUR)
    figure, axes = _rows(len(bars) + 1)
    style(axes, "Slices per second, two threads", f"Log scale. {SHORT_SOURCE}", "")
    for place, (_, rate, color) in enumerate(bars):
        axes.barh([place], [rate], color=color, height=0.62)
        axes.text(rate * 1.06, place, f"{rate:.3g}", fontsize=7.5, color=INK, va="center")
    last = len(bars)
    axes.barh([last], [fast - slow], left=slow, color=VERMILLION, height=0.62)
    line = f"reads and reports {SCANS_PER_HOUR[0]:g} to {SCANS_PER_HOUR[1]:g} whole examinations an hour"
    axes.text(
        fast * 1.1, last, f"{line}; {SLICES_PER_EXAM} slices are taken for one", fontsize=7.5, color=INK, va="center"
    )
    axes.set_xscale("log")
    axes.set_xlim(slow / 2, 4 * max(rate for _, rate, _ in bars))
    axes.set_yticks(range(last + 1), [*(name for name, _, _ in bars), "a neuroradiologist"], fontsize=7.5)
    return figure


def _growth(curves: list[tuple[str, Curve]]) -> Any:
    figure = blank()
    figure.set_size_inches(_PANEL * len(curves), _PANEL)
    for number, (title, curve) in enumerate(curves, 1):
        axes = figure.add_subplot(1, len(curves), number)
        style(axes, title, curve.x, curve.y)
        axes.plot(*zip(*curve.points, strict=True), "o-", color=BLUE, markersize=4)
        axes.set_xscale("log")
        axes.set_ylim(0, 1.12 * max(y for _, y in curve.points))
        places = [x for x, _ in curve.points]
        axes.set_xticks(places, [f"{x:,.0f}" for x in places], fontsize=7)
        axes.minorticks_off()
    return figure
