"""Few-shot figures as tables for people."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgebrain.errors import printable
from edgebrain.intervals import Estimate
from edgebrain.report.canvas import BLUE, GREY, INK, VERMILLION, blank, png, style

if TYPE_CHECKING:
    from .few_shot_work import Row

COLORS = (BLUE, "#e69f00", "#009e73", "#cc79a7", "#56b4e9", VERMILLION, INK)


def share(figure: Estimate) -> str:
    """A share in percent with its interval."""
    if figure.value is None or figure.low is None or figure.high is None:
        return "n/a"
    return f"{100 * figure.value:.1f} ({100 * figure.low:.1f}-{100 * figure.high:.1f})"


def print_meta(figures: dict[str, Any], folder: Path) -> None:
    """Print how good a meta-training run is, and where things are."""
    from rich.console import Console
    from rich.table import Table

    table = Table("split", "scans", "episodes", "shots", "accuracy, %", box=None, pad_edge=False)
    for split, row in figures["splits"].items():
        table.add_row(
            split, str(row["scans"]), str(row["episodes"]), str(row["shots"]), share(Estimate(**row["accuracy"]))
        )
    console = Console(soft_wrap=True, highlight=False)
    console.print(table)
    console.print(f"best of {figures['iterations']} iterations: {figures['best_iteration']}")
    for what, file in (("model", "model.safetensors"), ("figures", "metrics.json"), ("curves", "curves.png")):
        console.print(f"{what:<8} {folder / file}", markup=False)


def markdown(rows: Sequence[Row]) -> str:
    """The one table: a line for each protocol and method, a column for each number of shots."""
    shots = sorted({row.shots for row in rows})
    lines = [
        f"| protocol | model | method | {' | '.join(f'{n}-shot' for n in shots)} |",
        f"| --- | --- | --- | {' | '.join('---:' for _ in shots)} |",
    ]
    for key, cells in _cells(rows).items():
        lines.append(f"| {' | '.join(key)} | {' | '.join(cells.get(n, '') for n in shots)} |")
    return "\n".join(lines) + "\n"


def print_rows(rows: Sequence[Row]) -> None:
    """Print the same table."""
    from rich.console import Console
    from rich.table import Table

    shots = sorted({row.shots for row in rows})
    table = Table("protocol", "model", "method", *(f"{n}-shot, %" for n in shots), box=None, pad_edge=False)
    for key, cells in _cells(rows).items():
        table.add_row(*map(printable, key), *(cells.get(n, "") for n in shots))
    Console(soft_wrap=True, highlight=False, markup=False).print(table)


def _cells(rows: Sequence[Row]) -> dict[tuple[str, str, str], dict[int, str]]:
    found: dict[tuple[str, str, str], dict[int, str]] = {}
    for row in rows:
        found.setdefault((row.protocol, row.model, row.method), {})[row.shots] = share(row.accuracy)
    return found


def plot(rows: Sequence[Row]) -> bytes:
    """Accuracy over shots, a panel a protocol, as PNG.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    names = list(dict.fromkeys(row.protocol for row in rows))
    methods = list(dict.fromkeys((row.model, row.method) for row in rows))
    shots = sorted({row.shots for row in rows})
    columns = min(4, len(names))
    lines = -(-len(names) // columns)
    figure = blank()
    figure.set_size_inches(3.1 * columns, 3.0 * lines + 0.9)
    panels = figure.subplots(lines, columns, sharey=True, squeeze=False)
    for axes, name in zip(panels.flat, names, strict=False):
        style(axes, name, "shots", "accuracy (%)" if axes is panels[axes.get_subplotspec().rowspan.start][0] else "")
        for number, key in enumerate(methods):
            points = sorted((r for r in rows if (r.protocol, r.model, r.method) == (name, *key)), key=lambda r: r.shots)
            _errors(axes, points, shots, number, len(methods))
        axes.set_xticks(range(len(shots)), [str(n) for n in shots])
        axes.axhline(50, color=GREY, linewidth=0.8, linestyle=":")
    for axes in list(panels.flat)[len(names) :]:
        axes.set_visible(False)
    handles = [
        panels.flat[0].plot([], [], "o-", color=COLORS[i % len(COLORS)], label=f"{method}, {model}")[0]
        for i, (model, method) in enumerate(methods)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(3, len(methods)), fontsize=8, frameon=False)
    return png(figure)


def _errors(axes: Any, rows: Sequence[Row], shots: Sequence[int], number: int, count: int) -> None:
    marks = [
        r for r in rows if r.accuracy.value is not None and r.accuracy.low is not None and r.accuracy.high is not None
    ]
    if not marks:
        return
    values = np.array([(r.accuracy.value, r.accuracy.low, r.accuracy.high) for r in marks], np.float64) * 100
    places = np.array([shots.index(r.shots) for r in marks]) + (number - (count - 1) / 2) * 0.06
    spread = np.abs(values[:, 1:].T - values[:, 0])
    color = COLORS[number % len(COLORS)]
    axes.errorbar(places, values[:, 0], yerr=spread, fmt="o-", color=color, markersize=3.5, linewidth=1.2, capsize=2)
