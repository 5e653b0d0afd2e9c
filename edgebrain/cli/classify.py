"""``edgebrain classify``."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from edgebrain.cli import shared


class Format(str, Enum):
    """How results are written."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"


class Sort(str, Enum):
    """Orders of the results."""

    TRIAGE = "triage"


def classify(
    *,
    context: typer.Context,
    paths: Annotated[
        list[str] | None,
        typer.Argument(metavar="PATH...", help="Files, folders, patterns, or - for a list of them on standard input."),
    ] = None,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Look into sub-folders of folders.")] = False,
    watch: Annotated[
        str | None, typer.Option("--watch", metavar="DIR", help="Classify what is in DIR, then what arrives there.")
    ] = None,
    model: shared.Model = "edge",
    engine: shared.EngineName = None,
    precision: shared.PrecisionName = None,
    device: shared.Device = None,
    threads: shared.Threads = None,
    batch_size: shared.BatchSize = 8,
    output_format: Annotated[Format, typer.Option("--format", "-f", help="How results are written.")] = Format.TABLE,
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write results there.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted --output (jsonl, csv).")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing --output.")] = False,
    sort: Annotated[Sort | None, typer.Option("--sort", help="'triage' puts what needs a person soon first.")] = None,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop at the first scan that cannot be used.")] = False,
) -> int:
    """Classify scans: glioma, meningioma, pituitary tumour or no tumour, with a calibrated probability.

    Some calls:

      edgebrain classify scan.png

      edgebrain classify -r study/ --format jsonl --output results.jsonl --resume

      find /scans -name '*.png' | edgebrain classify - --sort triage
    """
    if not paths and watch is None:
        typer.echo(context.get_usage(), err=True)
        raise shared.usage("Nothing to classify.", "Name files or folders, or a folder with --watch.")
    from edgebrain.cli.run_classify import ClassifyRequest, run_classify

    return run_classify(
        ClassifyRequest(
            paths=tuple(paths or ()),
            recursive=recursive,
            watch=watch,
            model=shared.ModelRequest(model, engine, precision, device, threads),
            batch_size=batch_size,
            output_format=output_format.value,
            output=output,
            resume=resume,
            overwrite=overwrite,
            sort=sort is not None,
            fail_fast=fail_fast,
        )
    )
