"""``edgebrain models`` and ``edgebrain doctor``."""

from __future__ import annotations

from typing import Annotated

import typer

from edgebrain.cli import shared

models = typer.Typer(no_args_is_help=True, help="List, show and verify models.")

ModelArgument = Annotated[str, typer.Argument(metavar="NAME|DIR", help="Built-in model, or a bundle's folder.")]


@models.command("list")
def list_models() -> int:
    """List the built-in models."""
    from edgebrain.cli.run_inspect import print_models

    return print_models()


@models.command()
def show(model: ModelArgument = "edge") -> int:
    """Show the manifest: labels, input, decision, files, figures, provenance."""
    from edgebrain.cli.run_inspect import print_manifest

    return print_manifest(model)


@models.command()
def verify(model: ModelArgument = "edge") -> int:
    """Check every file's hash, and every graph's safety. Exit 4 when something was changed."""
    from edgebrain.cli.run_inspect import verify_model

    return verify_model(model)


@models.command()
def card(model: ModelArgument = "edge") -> int:
    """Show the model card: intended use, data, figures, where it fails."""
    from edgebrain.cli.run_inspect import print_card

    return print_card(model)


def doctor(
    *,
    model: shared.Model = "edge",
    engine: shared.EngineName = None,
    precision: shared.PrecisionName = None,
    device: shared.Device = None,
    threads: shared.Threads = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the diagnosis as JSON.")] = False,
) -> int:
    """Show what runs here and why, and test the numerics of every model file on this machine.

    Exit code 4 when the file that would be chosen does not compute what its maker computed.
    """
    from edgebrain.cli.run_inspect import run_doctor

    return run_doctor(shared.ModelRequest(model, engine, precision, device, threads), as_json=as_json)
