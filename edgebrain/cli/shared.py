"""Options that several commands share, and what they become."""

from __future__ import annotations

from typing import Annotated

import typer

from edgebrain.cli.requests import ModelRequest
from edgebrain.errors import UsageError
from edgebrain.limits import MAX_BATCH_SIZE, MAX_THREADS

__all__ = ["BatchSize", "Device", "EngineName", "Model", "ModelRequest", "PrecisionName", "Threads", "usage"]

Model = Annotated[str, typer.Option("--model", "-m", metavar="NAME|DIR", help="Built-in model, or a bundle's folder.")]
EngineName = Annotated[str | None, typer.Option("--engine", help="Engine; the best one here if not given.")]
PrecisionName = Annotated[
    str | None,
    typer.Option("--precision", help="fp32, fp16, int8 or a layout such as u8s8; the best one here if not given."),
]
Device = Annotated[str | None, typer.Option("--device", help="cpu, cuda, tensorrt, gpu or dla, as the engine has it.")]
Threads = Annotated[
    int | None,
    typer.Option("--threads", min=1, max=MAX_THREADS, help="CPU threads; all that this process may use if not given."),
]
BatchSize = Annotated[
    int, typer.Option("--batch-size", min=1, max=MAX_BATCH_SIZE, help="Scans that the engine gets at a time.")
]


def usage(message: str, remedy: str) -> UsageError:
    """A usage error, for commands that import nothing else."""
    return UsageError(message, remedy=remedy)
