"""Training curves as a picture."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from edgebrain.errors import MissingExtra
from edgebrain.outputs import write_whole

_PANELS = (
    ("loss", ("train/loss", "val/loss")),
    ("accuracy and macro-F1", ("train/accuracy", "val/accuracy", "val/macro_f1")),
)
"""Titles, and what is drawn of it as far as the log holds it."""


def draw_curves(log: Path, picture: Path) -> None:
    """Draw loss and accuracy over epochs.

    Args:
        log: CSV with one row an epoch, as ``progress.History`` writes it.
        picture: PNG to write.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("Drawing curves", extra="report", module="matplotlib") from error
    with log.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (title, keys) in zip(figure.subplots(1, 2), _PANELS, strict=True):
        for key in keys:
            points = [(int(row["epoch"]) + 1, float(row[key])) for row in rows if row.get(key)]
            if points:
                axes.plot(*zip(*points, strict=True), label=key)
        axes.set_title(title)
        axes.set_xlabel("epoch")
        axes.grid(visible=True, alpha=0.3)
        axes.legend()
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=130)
    write_whole(picture, data.getvalue())
