"""``edgebrain export``; torch-free at import."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def mount(app: typer.Typer) -> None:
    """Add the commands of this half to the application."""
    app.command()(export)
    app.command()(heads)


def export(
    *,
    model: Annotated[Path, typer.Argument(help="A training run's folder, or its model.safetensors.")],
    data: Annotated[
        Path,
        typer.Option("--data", metavar="CSV", help="Splits: train calibrates, val decides, test judges."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Bundle folder to write.")],
    int8: Annotated[bool, typer.Option("--int8/--no-int8", help="Add the INT8 file.")] = True,
    version: Annotated[str, typer.Option("--model-version", help="Version of the model.")] = "0.1.0",
    data_name: Annotated[
        str | None, typer.Option("--data-name", help="Name of the data in the card; the CSV's name if not given.")
    ] = None,
    calibration_scans: Annotated[
        int, typer.Option("--calibration-scans", min=16, help="Training scans that calibrate INT8.")
    ] = 512,
    force: Annotated[bool, typer.Option("--force", help="Write the bundle although the gate fails.")] = False,
) -> int:
    """Export a trained model to a verified bundle: ONNX, INT8, decision, figures, model card.

    Example:
      edgebrain export runs/edge --data splits.csv -o bundle/ --int8
    """
    from edgebrain.export.commands import run_export

    return run_export(
        model,
        data,
        output,
        int8=int8,
        version=version,
        data_name=data_name,
        calibration_scans=calibration_scans,
        force=force,
    )


def heads(
    *,
    model: Annotated[str, typer.Argument(metavar="NAME|DIR", help="Bundle whose graph has an embedding.")],
    splits: Annotated[
        list[Path],
        typer.Option("--splits", metavar="CSV", help="Splits of the model's training: train, val and test; repeat."),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Bundle folder to write; may be the bundle itself.")
    ],
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of everything random.")] = 0,
) -> int:
    """Meta-learn the heads from which 'edgebrain adapt' starts, and pack them into a bundle.

    One for glioma against meningioma, one for tumour against none, as far as the data has them. The graph stays as it
    is; each head is judged on episodes of groups that it never saw.

    Example:
      edgebrain heads bundle/ --splits splits.csv -o bundle/
    """
    from edgebrain.export.heads_command import run_heads

    return run_heads(model, splits, output, seed=seed)
