"""Plots of a search as PNG files: how it went, and which values mattered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgebrain.report.canvas import BLUE, GREY, VERMILLION, blank, png, style


@dataclass(frozen=True)
class Point:
    """A finished trial: its number, its figure, and whether it was given up early."""

    number: int
    value: float
    pruned: bool


def history_plot(points: Sequence[Point], goal: str, *, maximise: bool) -> bytes:
    """Figure of every trial, and of the best one by then.

    Args:
        points: Finished trials, by number.
        goal: Name of the figure.
        maximise: Whether larger is better.

    Returns:
        A PNG file.
    """
    figure = blank()
    axes = figure.add_subplot()
    style(axes, "History of the search", "Trial", f"Validation {goal}")
    for pruned, color, mark, name in ((False, BLUE, "o", "finished"), (True, GREY, "x", "given up early")):
        some = [p for p in points if p.pruned is pruned]
        if some:
            axes.scatter([p.number for p in some], [p.value for p in some], c=color, marker=mark, s=22, label=name)
    best: list[float] = []
    done = [p for p in points if not p.pruned]
    for point in done:
        choose = max if maximise else min
        best.append(choose([point.value, *best[-1:]]))
    if done:
        axes.step([p.number for p in done], best, where="post", color=VERMILLION, linewidth=1.5, label="best so far")
        # A trial that diverged must not press all others into one line.
        values = sorted(p.value for p in points)
        if not maximise and values[-1] > 5 * values[len(values) // 2] > 0:
            axes.set_yscale("log")
    if points:
        axes.legend(fontsize=8.5)
    return png(figure)


def importance_plot(importance: Mapping[str, float]) -> bytes:
    """Share of the spread among trials that each value explains.

    Args:
        importance: Shares by key path, the largest first.

    Returns:
        A PNG file.
    """
    figure = blank()
    axes = figure.add_subplot()
    style(axes, "Which values mattered", "Importance (PED-ANOVA)", "")
    keys = list(importance)[::-1]
    shares = [importance[key] for key in keys]
    axes.barh(range(len(keys)), shares, color=BLUE, height=0.65)
    axes.set_yticks(range(len(keys)), keys, parse_math=False)
    for place, share in enumerate(shares):
        axes.text(share, place, f" {share:.2f}", va="center", fontsize=8.5)
    axes.set_xlim(0, max([*shares, 0.01]) * 1.18)
    return png(figure)
