"""The application: global options, mounted commands, and the one place where errors become exit codes."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Annotated, Any

import typer

import edgebrain
from edgebrain.cli.classify import classify
from edgebrain.cli.evaluate import evaluate
from edgebrain.cli.inspect import doctor, models
from edgebrain.cli.phantom import phantom
from edgebrain.errors import EXIT_INTERRUPTED, EXIT_USAGE, EdgebrainError

# Typer brings its own copy of click since 0.26; this finds the base class of parse errors in both.
_ParseError: Any = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")

EXIT_PIPE = 141
"""What a shell reports for a program that wrote to a reader that had gone (128 + SIGPIPE)."""

app = typer.Typer(
    name="edgebrain",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Pre-triage of brain MRI slices on small hardware. Not a medical device: a person reads every scan.",
    epilog="Exit codes: 0 fine, 1 some scans failed, 2 usage, 3 something missing, 4 invalid model, 130 interrupted.",
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
app.add_typer(models, name="models")
app.command()(doctor)
app.command()(phantom)
for _half in ("train", "export"):
    # Either half may be missing from an installation; the rest works without it.
    if importlib.util.find_spec(f"edgebrain.{_half}") is not None:  # pragma: no branch
        importlib.import_module(f"edgebrain.{_half}.cli").mount(app)


def main() -> None:
    """Run the command line and leave the process with the right exit code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run the command line.

    Args:
        arguments: What follows the program's name.

    Returns:
        The exit code.
    """
    if "--debug" in arguments:
        return _run(arguments)
    try:
        return _run(arguments)
    except EdgebrainError as error:
        typer.echo(f"edgebrain: {error}", err=True)
        return error.exit_code
    except KeyboardInterrupt:
        typer.echo("edgebrain: interrupted; rows written so far are complete.", err=True)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone; nothing may be flushed to it when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PIPE
    except MemoryError:
        typer.echo("edgebrain: out of memory. Use a smaller --batch-size or smaller scans.", err=True)
        return 1


def _run(arguments: list[str]) -> int:
    try:
        code = app(arguments, standalone_mode=False)
    except _ParseError as error:
        error.show()
        return EXIT_USAGE
    except typer.Abort as error:
        raise KeyboardInterrupt from error
    return code if isinstance(code, int) else 0
