"""What all plots have in common: the canvas, its look and its bytes.

Figures are drawn on their own canvas and styled one by one: neither pyplot nor matplotlib's global settings are
touched, so drawing is safe in any thread and in a notebook.
"""

from __future__ import annotations

import io
from typing import Any

from edgebrain.errors import MissingExtra

INK, GREY, FAINT = "#1a1a1a", "#767676", "#e3e3e3"
BLUE, VERMILLION = "#0072b2", "#d55e00"
_DPI = 160
_SIZE = (5.4, 4.7)


def check() -> None:
    """Say whether plots can be drawn.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    _matplotlib()


def _matplotlib() -> tuple[Any, Any]:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("Reports", extra="report", module="matplotlib") from error
    return Figure, FigureCanvasAgg


def blank() -> Any:
    """A new figure of the size that all of them have."""
    figure_class, canvas_class = _matplotlib()
    figure = figure_class(figsize=_SIZE, dpi=_DPI, layout="constrained", facecolor="white")
    canvas_class(figure)
    return figure


def png(figure: Any) -> bytes:
    """The bytes of a figure's file."""
    stream = io.BytesIO()
    # Without the library's version in it, the same evaluation gives the same bytes.
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def svg(figure: Any) -> bytes:
    """The same as a drawing that stays sharp at any size; names of its parts differ from run to run."""
    stream = io.BytesIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return stream.getvalue()


def style(axes: Any, title: str, x: str, y: str) -> None:
    """Give axes their title, their names and their look."""
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=INK)
    axes.set_xlabel(x, fontsize=9.5, color=INK)
    axes.set_ylabel(y, fontsize=9.5, color=INK)
    axes.tick_params(labelsize=8.5, colors=GREY, labelcolor=INK, length=3)
    axes.grid(visible=True, color=FAINT, linewidth=0.7)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in {"left", "bottom"})
        spine.set_color(GREY)
