"""The application: global options and mounted commands."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

import edgebrain
from edgebrain.cli.adapt import adapt
from edgebrain.cli.benchmark import benchmark
from edgebrain.cli.cache import cache
from edgebrain.cli.classify import classify
from edgebrain.cli.compare import compare
from edgebrain.cli.evaluate import evaluate
from edgebrain.cli.exits import guarded
from edgebrain.cli.inspect import doctor, models
from edgebrain.cli.phantom import phantom
from edgebrain.errors import EXIT_INTERRUPTED, EXIT_USAGE

# Typer brings its own copy of click since 0.26; this finds the base class of parse errors in both.
_ParseError: Any = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")

app = typer.Typer(
    name="edgebrain",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Pre-triage of brain MRI slices on small hardware. Not a medical device: a person reads every scan.",
    epilog="Exit codes: 0 fine, 1 some scans failed, 2 usage, 3 something missing, 4 invalid model, 130/143 stopped.",
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"edgebrain {edgebrain.__version__}")
        raise typer.Exit


@app.callback()
def options(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and stop.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error comes from.")] = False,
) -> None:
    """Take the options that come before the command; ``main`` looks at --debug itself."""
    del version, debug


app.command()(classify)
app.command()(evaluate)
app.command()(benchmark)
app.command()(compare)
app.command()(adapt)
app.add_typer(models, name="models")
app.command()(doctor)
app.add_typer(cache, name="cache")
app.command()(phantom)
_FOLDER = Path(edgebrain.__file__).parent
for _half in ("train", "export"):
    # Either half may be missing from an installation; the rest works without it.
    if (_FOLDER / _half / "cli.py").is_file():
        importlib.import_module(f"edgebrain.{_half}.cli").mount(app)


def run(arguments: list[str]) -> int:
    """Run the command line; see :func:`edgebrain.cli.run`, which saves usual command lines the way through here."""
    return guarded(arguments, lambda: parse_and_run(arguments))


def parse_and_run(arguments: Sequence[str]) -> int:
    """Let typer read the command line, and run it.

    Returns:
        The exit code.

    Raises:
        EdgebrainError: What the command raises.
    """
    try:
        code = app(list(arguments), standalone_mode=False)
    except _ParseError as error:
        error.show()
        return EXIT_USAGE
    except typer.Abort as error:
        raise KeyboardInterrupt from error
    if code == EXIT_INTERRUPTED:  # newer typer makes this code of the interrupt, and no command of ours gives it
        raise KeyboardInterrupt
    return code if isinstance(code, int) else 0
