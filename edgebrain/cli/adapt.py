"""``edgebrain adapt``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgebrain.cli import shared


def adapt(
    *,
    support: Annotated[
        Path, typer.Argument(metavar="SUPPORT_DIR|CSV", help="A few labelled scans: one folder a class, any names.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Bundle folder to write.")],
    model: shared.Model = "edge",
    head: Annotated[
        str | None,
        typer.Option("--head", help="Meta-learned head to start from; the one with these labels if not given."),
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", min=0, max=100_000, help="Steps on the scans.")] = None,
    lr: Annotated[float | None, typer.Option("--lr", help="Size of a step.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="Name of the new model.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a bundle that is there.")] = False,
    engine: shared.EngineName = None,
    precision: shared.PrecisionName = None,
    device: shared.Device = None,
    threads: shared.Threads = None,
) -> int:
    """Adapt a model to other classes from a handful of labelled scans, on this machine, in seconds.

    The graph stays as it is; a new head is learned on its embedding, and judged on each scan while that one is left
    out. The new bundle works wherever a model is asked for.

    Some calls:

      edgebrain adapt few/ -o mine/

      edgebrain classify scan.png --model mine/
    """
    from edgebrain.cli.run_adapt import AdaptRequest, run_adapt

    return run_adapt(
        AdaptRequest(
            support=support,
            output=output,
            model=shared.ModelRequest(model, engine, precision, device, threads),
            head=head,
            steps=steps,
            lr=lr,
            name=name,
            force=force,
        )
    )
