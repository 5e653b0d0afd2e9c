"""The plots of a benchmark: how long scans take, and how many an hour has beside the neuroradiologist's line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgebrain.benchmark.human import SCANS_PER_HOUR, SHORT_SOURCE, exams_per_hour
from edgebrain.errors import printable
from edgebrain.report.canvas import BLUE, FAINT, GREY, INK, VERMILLION, blank, png, style, svg

if TYPE_CHECKING:
    from edgebrain.benchmark.record import Benchmark

_DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1)), (0, (5, 1.5, 1.5, 1.5)))
_COLORS = (BLUE, "#e69f00", "#009e73", "#cc79a7", "#56b4e9")
_ROW, _MARGIN = 0.55, 1.5
"""Inches: a case, and what is around all of them."""
_LONG = 34
"""Characters of a case's name on an axis."""


def benchmark_files(record: Benchmark) -> dict[str, bytes]:
    """Draw a record.

    Args:
        record: What to draw.

    Returns:
        File names and contents: each plot as PNG and as SVG. Without scans timed one by one there is no ``latency``.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    figures = {"scans_per_hour": _per_hour(record)}
    if any(case.latency_ms for case in record.cases):
        figures["latency"] = _latency(record)
    return {f"{name}.png": png(figure) for name, figure in figures.items()} | {
        f"{name}.svg": svg(figure) for name, figure in figures.items()
    }


def _latency(record: Benchmark) -> Any:
    figure = blank()
    axes = figure.add_subplot()
    style(axes, "Time of one scan, file to record", "Milliseconds", "Share of scans that take at most so long, %")
    timed = [case for case in record.cases if case.latency_ms]
    longest = []
    for number, case in enumerate(timed):
        samples = np.sort(np.asarray(case.latency_ms["total"]))
        share = 100 * np.arange(1, samples.size + 1) / samples.size
        color, dash = _COLORS[number % len(_COLORS)], _DASHES[number % len(_DASHES)]
        axes.step(samples, share, where="post", color=color, linestyle=dash, label=_name(case.setup.key))
        longest.append(float(np.quantile(samples, 0.995)))
    for level in (50, 95):
        axes.axhline(level, color=GREY, linewidth=0.8, linestyle=":")
    # The rarest outliers would push all others to the left edge; the record has them.
    axes.set_xlim(0, 1.15 * max(longest))
    axes.set_ylim(0, 101)
    for text in axes.legend(loc="lower right", fontsize=8, framealpha=0.95, edgecolor=FAINT).get_texts():
        text.set_parse_math(False)
    return figure


def _per_hour(record: Benchmark) -> Any:
    cases = [case for case in record.cases if case.summary.scans_per_hour.value]
    figure = blank()
    figure.set_size_inches(figure.get_figwidth(), _MARGIN + _ROW * (len(cases) + 1))
    axes = figure.add_subplot()
    exam = f"Examinations of {record.slices_per_exam} slices (hollow: slices), log scale"
    style(axes, "In an hour", f"{exam}\nThe program looks at single slices, and for tumours only.", "")
    for place, case in enumerate(cases, 1):
        rate = case.summary.scans_per_hour
        assert rate.value is not None
        exams = exams_per_hour(rate.value, record.slices_per_exam)
        axes.plot([exams], [place], "D", color=BLUE, markersize=6, zorder=3)
        axes.plot([rate.value], [place], "o", markerfacecolor="white", markeredgecolor=BLUE, markersize=7, zorder=3)
        if rate.low is not None and rate.high is not None:
            axes.plot([rate.low, rate.high], [place, place], color=BLUE, linewidth=2)
    slow, fast = SCANS_PER_HOUR
    axes.axvspan(slow, fast, color=VERMILLION, alpha=0.35, linewidth=0)
    line = f"A neuroradiologist: {slow:g} to {fast:g}, each read and reported whole.\n{SHORT_SOURCE}"
    axes.text(fast * 1.2, 0, line, fontsize=7.5, color=INK, va="center")
    axes.set_xscale("log")
    axes.set_xlim(left=1)
    axes.set_ylim(len(cases) + 0.6, -0.6)
    names = [_name(case.setup.key) for case in cases]
    axes.set_yticks(range(1, len(cases) + 1), names, parse_math=False, fontsize=7.5)
    return figure


def _name(key: str) -> str:
    text = printable(key)
    if len(text) <= _LONG:
        return text
    front, _, rest = text.partition(", ")
    return f"{front}\n{rest}"
