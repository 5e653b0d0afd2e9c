"""What ``edgebrain restore`` does."""

from __future__ import annotations

import sys
from pathlib import Path

from edgebrain.bundle import open_bundle
from edgebrain.errors import EXIT_OK, TrainingError, UsageError, printable
from edgebrain.files import check_folder, kind_of

from .commands import require_export

_FEW = 64
"""Scans below which the statistics are rough; the answers are the graph's however many there are."""


def run_restore(model: str, data: Path, output: Path, *, second_reader: bool = False) -> int:
    """Write a trained model made of a bundle, and say how close it is.

    Raises:
        MissingExtra: The extra ``export`` is not installed.
        UsageError: The output exists, or its folder cannot hold it.
        EdgebrainError: See :func:`edgebrain.export.restore.restore`.
    """
    require_export("Restoring a network")
    if kind_of(output) != "new":
        raise UsageError(f"{output} exists already.", remedy="Name another --output, or remove it.")
    check_folder(output)
    bundle = open_bundle(model)
    from rich.console import Console

    from .progress import telling
    from .restore import restore
    from .scans import calibration_samples

    with telling() as say:
        try:
            samples = calibration_samples(data, bundle.manifest.labels)
            done = restore(bundle, samples, output, second_reader=second_reader, say=say)
        except TrainingError as error:  # of scans that cannot be read; nothing is trained here
            raise UsageError(f"{data}: {error.message}", remedy=error.remedy) from error
    for message in done.unreadable:
        sys.stderr.write(f"left out: {printable(message)}\n")
    if done.scans < _FEW:
        sys.stderr.write(f"The statistics rest on {done.scans} scans only; training will be rough at first.\n")
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(f"model: {printable(str(output))}")
    console.print(f"recipe: {done.recipe.name}; statistics of {done.scans} scans")
    console.print(f"largest difference of an answer from the graph's: {done.largest_difference:.1e}")
    console.print(f"next: edgebrain train {done.recipe.name} --splits SPLITS.csv --set start={printable(str(output))}")
    return EXIT_OK
