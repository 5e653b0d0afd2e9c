"""Few-shot figures as tables for people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgebrain.intervals import Estimate


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
