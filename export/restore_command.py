"""What ``edgebrain restore`` does."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from edgebrain.bundle import open_bundle
from edgebrain.errors import EXIT_OK, MissingExtra, UsageError
from edgebrain.files import kind_of

from .commands import NEEDS


def run_restore(model: str, data: Path, output: Path) -> int:
    """Write a trained model made of a bundle, and say how close it is.

    Raises:
        MissingExtra: The extra ``export`` is not installed.
        UsageError: The output exists.
        EdgebrainError: See :func:`edgebrain.export.restore.restore`.
    """
    for module in NEEDS:
        if importlib.util.find_spec(module) is None:
            raise MissingExtra("Restoring a network", extra="export", module=module)
    if kind_of(output) != "new":
        raise UsageError(f"{output} exists already.", remedy="Name another --output, or remove it.")
    from rich.console import Console

    from .progress import telling
    from .restore import restore
    from .scans import calibration_samples

    bundle = open_bundle(model)
    with telling() as say:
        done = restore(bundle, calibration_samples(data, bundle.manifest.labels), output, say=say)
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(f"model: {output}")
    console.print(f"recipe: {done.recipe.name}; statistics of {done.scans} scans")
    console.print(f"largest difference of a logit from the graph's: {done.largest_difference:.1e}")
    console.print(f"next: edgebrain train {done.recipe.name} --splits SPLITS.csv --set start={output}")
    return EXIT_OK
