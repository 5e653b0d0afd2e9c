"""A comparison of models for people: a table for console, page and Markdown, and bars with their intervals."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from edgebrain.errors import printable
from edgebrain.report.canvas import BLUE, INK, blank, png, style
from edgebrain.report.page import comparison_page
from edgebrain.report.plots import Plot
from edgebrain.report.tables import UNDEFINED, Cell, Grid, percent_number, score, score_interval, share_with_interval
from edgebrain.report.write import write_files

if TYPE_CHECKING:
    from pathlib import Path

    from edgebrain.evaluation.comparison import Comparison
    from edgebrain.intervals import Estimate

PAGE = "comparison.html"
NUMBERS = "comparison.json"
TABLE = "comparison.md"
_SHARES = (
    ("accuracy", "Accuracy %"),
    ("sensitivity", "Sensitivity %"),
    ("specificity", "Specificity %"),
)
_SCORES = (
    ("macro_f1", "Macro F1"),
    ("macro_f2", "Macro F2"),
    ("auroc", "AUROC"),
    ("ece", "ECE"),
)
_BARS = ("accuracy", "macro_f1", "sensitivity", "specificity")
_NOT_TRAINED = "not trained here"


def figures_grid(comparison: Comparison) -> Grid:
    """The figures of all models."""
    columns = ("Model", "System", *(name for _, name in (*_SHARES, *_SCORES)), "Scans", "Labels and notes")
    rows = []
    for row in comparison.rows:
        if row.figures:
            cells = [share_with_interval(row.figures[key]) for key, _ in _SHARES]
            cells += [_score(row.figures[key]) for key, _ in _SCORES]
            notes = "; ".join(row.notes)
        else:
            cells, notes = ["" for _ in (*_SHARES, *_SCORES)], _NOT_TRAINED
        scans = f"{row.scans:,}" if row.figures else ""
        rows.append(tuple(Cell(printable(text)) for text in (row.name, row.system, *cells, scans, notes)))
    caption = (
        "On test scans, copies left out. Sensitivity and specificity: any tumour against none. In brackets: 95 % "
        "intervals, over groups where they are known."
    )
    return Grid("Test figures", columns, tuple(rows), caption, prose=1)


def short_grid(comparison: Comparison) -> Grid:
    """The main figures of what was trained, narrow enough for a console."""
    rows = []
    for row in comparison.rows:
        if row.figures:
            cells = [share_with_interval(row.figures["accuracy"])]
            cells += [percent_number(row.figures[key].value) for key, _ in _SHARES[1:]]
            cells += [score(row.figures[key].value) for key, _ in _SCORES]
            rows.append(tuple(Cell(printable(text)) for text in (row.name, *cells)))
    columns = ("Model", "Accuracy %", "Sens. %", "Spec. %", "F1", "F2", "AUROC", "ECE")
    return Grid("Test figures", columns, tuple(rows), "In brackets: 95 % intervals. F1 and F2: means over the labels.")


def recall_grid(comparison: Comparison) -> Grid:
    """Recall of every label; a missed glioma costs most."""
    tested = [row for row in comparison.rows if row.figures]
    labels = sorted({label for row in tested for label in row.recall})
    rows = []
    for row in tested:
        cells = [share_with_interval(row.recall[label]) if label in row.recall else "" for label in labels]
        rows.append(tuple(Cell(printable(text)) for text in (row.name, *cells)))
    columns = ("Model", *(f"{printable(label)} %" for label in labels))
    return Grid("Recall of every label", columns, tuple(rows), "In brackets: 95 % intervals.")


def training_grid(comparison: Comparison) -> Grid:
    """How the models come about."""
    rows = [
        tuple(
            Cell(printable(text))
            for text in (
                row.name,
                row.kind,
                UNDEFINED if row.parameters is None else f"{row.parameters:,}",
                UNDEFINED if row.seconds is None else f"{row.seconds / 60:.1f}",
                row.epochs,
                row.place,
                row.command,
            )
        )
        for row in comparison.rows
    ]
    columns = ("Model", "Kind", "Parameters", "Training (min)", "Epochs", "Folder", "Command")
    return Grid("Training", columns, tuple(rows), prose=1)


def write_comparison(comparison: Comparison, folder: Path, *, command: str) -> Path:
    """Write ``comparison.html``, ``.json``, ``.md`` and ``.png``, each whole or not at all.

    Args:
        comparison: What to show.
        folder: Where to; made if missing.
        command: The command line that gives the same again.

    Returns:
        Path of the page.

    Raises:
        MissingExtra: matplotlib is not installed.
        UsageError: The folder cannot be written to.
    """
    tables = [figures_grid(comparison), recall_grid(comparison), training_grid(comparison)]
    plots = [draw_bars(comparison)] if any(row.figures for row in comparison.rows) else []
    page = comparison_page(
        tables, plots, comparison.notes, title="Comparison of models", command=command, numbers=NUMBERS
    )
    notes = "".join(f"* {printable(note)}\n" for note in comparison.notes)
    text = "\n".join([_markdown(table) for table in tables] + ([notes] if notes else []))
    files = [(plot.file, plot.png) for plot in plots]
    files += [
        (NUMBERS, (json.dumps(comparison.to_dict(), indent=2, allow_nan=False) + "\n").encode()),
        (TABLE, text.encode()),
        (PAGE, page.encode()),
    ]
    write_files(folder, files)
    return folder / PAGE


def _score(figure: Estimate) -> str:
    if figure.low is None:
        return score(figure.value)
    return f"{score(figure.value)} ({score_interval(figure).replace(' to ', '-')})"


def _markdown(grid: Grid) -> str:
    def line(cells: tuple[str, ...]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"

    head = line(grid.columns) + line(("---",) + ("---:",) * (len(grid.columns) - 1))
    body = "".join(line(tuple(cell.text for cell in row)) for row in grid.rows)
    caption = f"\n{grid.caption}\n" if grid.caption else ""
    return f"## {grid.title}\n\n{head}{body}{caption}"


def draw_bars(comparison: Comparison) -> Plot:
    """The main figures as bars from 0, with their intervals and values."""
    tested = [row for row in comparison.rows if row.figures][::-1]
    figure = blank()
    figure.set_size_inches(11, 1.6 + 0.34 * len(tested))
    for axes, key in zip(figure.subplots(1, len(_BARS), sharey=True), _BARS, strict=True):
        style(axes, key.replace("macro_f1", "macro-F1"), "", "")
        known = [(place, row.figures[key]) for place, row in enumerate(tested)]
        defined = [(place, found, found.value) for place, found in known if found.value is not None]
        places, values = [place for place, _, _ in defined], [value for _, _, value in defined]
        axes.barh(places, values, color=BLUE, height=0.6)
        for place, found, value in defined:
            if found.low is not None and found.high is not None:
                axes.plot((found.low, found.high), (place, place), color=INK, linewidth=1.4)
            axes.text(1.03, place, score(value), va="center", fontsize=8.5, color=INK)
        axes.set_xlim(0, 1.24)
        axes.set_xticks((0, 0.25, 0.5, 0.75, 1))
        axes.set_yticks(range(len(tested)), [printable(row.name) for row in tested], parse_math=False)
        axes.set_ylim(-0.6, len(tested) - 0.4)
    return Plot("comparison.png", "Main figures", "On test scans; lines are 95 % intervals.", png(figure))
