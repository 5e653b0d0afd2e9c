"""``edgebrain evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgebrain.cli import shared


def evaluate(
    *,
    data: Annotated[Path, typer.Argument(metavar="DIR|CSV", help="Class folders, or a CSV with path and label.")],
    split: Annotated[str | None, typer.Option("--split", help="Only this split: train, val, test, external.")] = None,
    unique: Annotated[bool, typer.Option("--unique", help="Leave out what the CSV calls a copy (copy_of).")] = False,
    model: shared.Model = "edge",
    engine: shared.EngineName = None,
    precision: shared.PrecisionName = None,
    device: shared.Device = None,
    threads: shared.Threads = None,
    batch_size: shared.BatchSize = 8,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="DIR", help="Write report.html, plots and evaluation.json.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
    stress: Annotated[
        bool, typer.Option("--stress", help="Also measure on scans changed in many ways, from contrast to drawn marks.")
    ] = False,
    probes: Annotated[
        bool, typer.Option("--probes", help="Also look for shortcuts: hide the tumour, or everything but the outline.")
    ] = False,
) -> int:
    """Measure a model on labelled scans: figures with 95 % intervals, confusion matrix, calibration, triage.

    With a CSV that has a column group (made by 'edgebrain audit --splits'), intervals count groups, not images.

    Some calls:

      edgebrain evaluate splits.csv --split test --report report/

      edgebrain evaluate splits.csv --split test --stress --probes --report report/
    """
    from edgebrain.cli.run_evaluate import EvaluateRequest, run_evaluate

    return run_evaluate(
        EvaluateRequest(
            data=data,
            split=split,
            model=shared.ModelRequest(model, engine, precision, device, threads),
            unique=unique,
            batch_size=batch_size,
            report=report,
            as_json=as_json,
            stress=stress,
            probes=probes,
        )
    )
