"""An evaluation for people: tables on the console, and a folder with a page, plots and the numbers."""

from __future__ import annotations

import json
import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING

from edgebrain.errors import UsageError, printable
from edgebrain.report.tables import DISCLAIMER, grids, subject

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

    from edgebrain.evaluation.record import Evaluation
    from edgebrain.report.stress import Appendix
    from edgebrain.report.tables import Cell, Grid

PAGE = "report.html"
NUMBERS = "evaluation.json"

_LIGHT, _DARK = (
    (247, 251, 255),
    (8, 81, 156),
)  # the ends of a single-hue scale that prints well and needs no colour sense
_INK_SWITCH = 0.72


def shade_colors(shade: float) -> tuple[str, str]:
    """Background and text colour of a shaded cell, as ``#rrggbb``."""
    mixed = (round(light + (dark - light) * shade) for light, dark in zip(_LIGHT, _DARK, strict=True))
    return "#" + "".join(f"{channel:02x}" for channel in mixed), "#ffffff" if shade > _INK_SWITCH else "#1a1a1a"


def summary(evaluation: Evaluation) -> list[RenderableType]:
    """An evaluation as tables for a ``rich`` console.

    Args:
        evaluation: What to show.

    Returns:
        Renderables, in reading order. No text in them is read as markup.
    """
    from rich.text import Text

    parts: list[RenderableType] = [Text(subject(evaluation))]
    for grid in grids(evaluation):
        parts += [Text(""), _table(grid)]
    parts.append(Text(""))
    parts += [Text(f"Note: {printable(note)}", style="dim") for note in evaluation.notes]
    return [*parts, Text(DISCLAIMER, style="dim")]


def _table(grid: Grid) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    shown = len(grid.columns) - grid.prose
    table = Table(
        title=Text(grid.title, style="bold"),
        title_justify="left",
        caption=Text(grid.caption, style="dim") if grid.caption else None,
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    for number, name in enumerate(grid.columns[:shown]):
        table.add_column(Text(name), justify="right" if number else "left")
    for row in grid.rows:
        table.add_row(*(_text(cell) for cell in row[:shown]))
    return table


def _text(cell: Cell) -> Text:
    from rich.text import Text

    if cell.shade is None:
        return Text(cell.text)
    background, ink = shade_colors(cell.shade)
    return Text(f" {cell.text} ", style=f"{ink} on {background}")


def print_summary(evaluation: Evaluation, console: Console) -> None:
    """Print an evaluation as tables.

    Args:
        evaluation: What to print.
        console: Where to.
    """
    for part in summary(evaluation):
        console.print(part)


def print_grids(tables: Iterable[Grid], console: Console) -> None:
    """Print further tables, in order.

    Args:
        tables: What to print.
        console: Where to.
    """
    for grid in tables:
        console.print()
        console.print(_table(grid))


def check_report(folder: Path) -> None:
    """Say whether a report can be drawn and written, before the long work of which it tells; makes the folder.

    Args:
        folder: Where it will be written to.

    Raises:
        MissingExtra: matplotlib is not installed.
        UsageError: The folder cannot be written to.
    """
    from edgebrain.report.canvas import check

    check()
    with _partial(folder) as partial:
        partial.touch()


def write_report(
    evaluation: Evaluation, folder: Path, *, title: str, command: str, more: Appendix | None = None
) -> Path:
    """Write ``report.html``, ``evaluation.json`` and the plots as PNG files.

    Every file appears whole or not at all: it is written under another name first. Everything is drawn before anything
    is written, and the page comes last. The page loads nothing from anywhere.

    Args:
        evaluation: What to report.
        folder: Where to; made if missing. Files of an earlier report are replaced.
        title: Title of the page.
        command: The command line that gives the same report again.
        more: What else belongs to it, a stress run for instance.

    Returns:
        Path of the page.

    Raises:
        MissingExtra: matplotlib is not installed.
        UsageError: The folder cannot be written to.
    """
    from edgebrain.report.page import page
    from edgebrain.report.plots import draw

    plots = [*draw(evaluation), *(more.plots if more else ())]
    numbers = json.dumps(evaluation.to_dict(), indent=2, allow_nan=False) + "\n"
    files = {plot.file: plot.png for plot in plots} | {NUMBERS: numbers.encode()}
    files |= dict(more.files if more else ())
    grids_after = more.grids if more else ()
    files[PAGE] = page(evaluation, plots, title=title, command=command, more=grids_after).encode()
    write_files(folder, files.items())
    return folder / PAGE


def write_files(folder: Path, files: Iterable[tuple[str, bytes]]) -> None:
    """Write files into a folder, each whole or not at all.

    Raises:
        UsageError: The folder cannot be written to.
    """
    with _partial(folder) as partial:
        for name, content in files:
            partial.write_bytes(content)
            partial.replace(folder / name)


@contextmanager
def _partial(folder: Path) -> Iterator[Path]:
    """Makes the folder; gives a hidden name in it, which is free again at the end."""
    partial = folder / f".edgebrain-{secrets.token_hex(6)}.partial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(
            f"The report cannot be written to {folder}: {error.strerror or error}.",
            remedy="Name a folder that can be written to, on a disk with room.",
        ) from error
