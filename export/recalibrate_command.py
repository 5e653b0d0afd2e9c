"""What ``edgebrain recalibrate`` does."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from edgebrain.bundle import open_bundle
from edgebrain.errors import EXIT_OK
from edgebrain.train.given_splits import read_splits

from .commands import require_export

_FEW = 100
"""Scans below which a threshold is largely chance: one in a hundred is the share that thresholds are made for."""


def run_recalibrate(  # noqa: PLR0917 - the command line
    model: str,
    splits: list[Path],
    output: Path,
    version: str | None,
    data_name: str | None,
    left_out: Sequence[str] = (),
) -> int:
    """Fit a bundle's decision anew, and print it with what it gives on the test split.

    Raises:
        MissingExtra: The extra ``export`` is not installed.
        EdgebrainError: See :func:`edgebrain.export.recalibrate.recalibrate`.
    """
    require_export("Recalibrating")
    from rich.console import Console
    from rich.table import Table

    from edgebrain.train.splits import one_vocabulary

    from .left_out import read_left_out
    from .markup import for_people, percent, plain
    from .progress import telling
    from .recalibrate import Recalibration, recalibrate

    others = read_left_out(left_out)
    before = open_bundle(model).manifest.decision
    samples = one_vocabulary(read_splits(splits))
    name = for_people(data_name or ", ".join(path.stem for path in splits), "--data-name")
    with telling() as say:
        done = recalibrate(Recalibration(model, samples, output, version, name, others, say))
    if done.scans < _FEW:
        sys.stderr.write(f"The decision rests on {done.scans} scans only; with {_FEW} and more it would hold better.\n")
    console = Console(highlight=False, markup=False)
    numbers = Table("decision", "before", "now", box=None, pad_edge=False)
    for field in ("temperature", "standard_below", "operating_point", "min_confidence", "max_outlier"):
        numbers.add_row(field, str(getattr(before, field)), str(getattr(done.decision, field)))
    figures = Table("test split", "accuracy", "macro-F1", "ECE", box=None, pad_edge=False)
    for precision, found in done.evaluations.items():
        figures.add_row(precision, percent(found.accuracy), percent(found.macro_f1), plain(found.calibration.ece))
    console.print(numbers)
    console.print(figures)
    console.print(f"rests on {done.rests_on}")
    console.print(f"bundle: {output}")
    return EXIT_OK
