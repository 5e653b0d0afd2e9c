"""``edgebrain compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgebrain.cli import shared


def compare(
    *,
    paths: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Runs, bundles, or folders that hold them.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Write the table as HTML, PNG, JSON, Markdown.")
    ] = None,
    splits: Annotated[
        Path | None, typer.Option("--splits", metavar="CSV", help="Test scans of bundles; those of the first run else.")
    ] = None,
    allow_different: Annotated[
        bool, typer.Option("--allow-different", help="Also beside each other: models tested on other scans.")
    ] = False,
    trained_only: Annotated[
        bool, typer.Option("--trained-only", help="Leave out the recipes that were not trained here.")
    ] = False,
    threads: shared.Threads = None,
) -> int:
    """Put trained models into one table: test figures with 95 % intervals, size, training time.

    Every model is run again on the test scans of its splits, copies left out. Runs need the training half.

    Some calls:

      edgebrain compare runs/ -o comparison/

      edgebrain compare runs/cnn-tuned runs/edge bundle/ --trained-only
    """
    from edgebrain.cli.run_compare import CompareRequest, run_compare

    return run_compare(
        CompareRequest(tuple(paths), output, splits, allow_different, trained_only=trained_only, threads=threads)
    )
