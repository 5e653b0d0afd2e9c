"""What ``edgebrain recalibrate`` does."""

from __future__ import annotations

from pathlib import Path

from edgebrain.bundle import open_bundle
from edgebrain.errors import EXIT_OK
from edgebrain.train.given_splits import read_splits

from .commands import require_export


def run_recalibrate(model: str, splits: list[Path], output: Path, version: str | None, data_name: str | None) -> int:
    """Fit a bundle's decision anew, and print it with what it gives on the test split.

    Raises:
        MissingExtra: The extra ``export`` is not installed.
        EdgebrainError: See :func:`edgebrain.export.recalibrate.recalibrate`.
    """
    require_export("Recalibrating")
    from rich.console import Console
    from rich.table import Table

    from edgebrain.train.splits import one_vocabulary

    from .markup import percent, plain
    from .progress import telling
    from .recalibrate import Recalibration, recalibrate

    before = open_bundle(model).manifest.decision
    samples = one_vocabulary(read_splits(splits))
    name = data_name or ", ".join(path.stem for path in splits)
    with telling() as say:
        done = recalibrate(Recalibration(model, samples, output, version, name, say))
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
