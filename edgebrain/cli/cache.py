"""``edgebrain cache``: what engines have compiled on this machine."""

from __future__ import annotations

import enum
from typing import Annotated

import typer

cache = typer.Typer(no_args_is_help=True, help="Show and clear what engines have compiled on this machine.")


class Kind(str, enum.Enum):
    """Engines that keep something, or did in an earlier version."""

    OPENVINO = "openvino"
    TENSORRT = "tensorrt"


Only = Annotated[Kind | None, typer.Option("--engine", help="Of this engine only.")]


@cache.command()
def path() -> int:
    """Print the folder; the environment variable EDGEBRAIN_CACHE names another one."""
    from edgebrain.cli.run_cache import print_path

    return print_path()


@cache.command("list")
def list_files(*, engine: Only = None) -> int:
    """List the files, with their sizes and what TensorRT engines were built for."""
    from edgebrain.cli.run_cache import print_files

    return print_files(None if engine is None else engine.value)


@cache.command()
def clear(*, engine: Only = None) -> int:
    """Delete the files. Nothing is lost: what is needed is compiled again."""
    from edgebrain.cli.run_cache import clear_files

    return clear_files(None if engine is None else engine.value)
