"""What ``edgebrain export`` does."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from edgebrain.errors import EXIT_OK, MissingExtra

NEEDS = ("torch", "onnx", "onnxscript", "sympy", "safetensors")


def run_export(
    model: Path,
    data: Path,
    output: Path,
    *,
    int8: bool,
    version: str,
    data_name: str | None,
    calibration_scans: int,
    force: bool,
) -> int:
    """Export a model and print what became of it.

    Raises:
        MissingExtra: The extra ``export`` is not installed.
        EdgebrainError: See :func:`edgebrain.export.pipeline.export_bundle`.
    """
    for module in NEEDS:
        if importlib.util.find_spec(module) is None:
            raise MissingExtra("Exporting", extra="export", module=module)
    from edgebrain.labelled import read_labelled

    from .pipeline import ExportRequest, export_bundle

    exported = export_bundle(
        ExportRequest(
            model=model / "model.safetensors" if model.is_dir() else model,
            output=output,
            version=version,
            samples=read_labelled(data),
            data_name=data_name or data.stem,
            int8=int8,
            calibration_scans=calibration_scans,
            force=force,
        )
    )
    from rich.console import Console
    from rich.table import Table

    from .markup import percent, plain

    table = Table("file", "accuracy", "macro-F1", "ECE", box=None, pad_edge=False)
    for precision, evaluation in exported.evaluations.items():
        table.add_row(
            precision, percent(evaluation.accuracy), percent(evaluation.macro_f1), plain(evaluation.calibration.ece)
        )
    console = Console(highlight=False)
    console.print(table)
    if exported.comparison is not None:
        failures = exported.comparison.failures
        console.print(f"gate: {'passed' if not failures else 'FAILED: ' + '; '.join(failures)}")
    console.print(f"bundle: {exported.folder}", markup=False)
    return EXIT_OK
