"""The command line: parse, call one function, print, map errors to exit codes.

Modules here are imported at every start, so they import nothing heavy: what a command needs is imported when it runs.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence

from edgebrain.cli import quick
from edgebrain.cli.exits import guarded, heed_signals

__all__ = ["main", "run"]


def main() -> None:
    """Run the command line and leave the process with the right exit code."""
    heed_signals()
    code = run(sys.argv[1:])
    # The interpreter ends by looking several times for cycles among the objects of numpy, OpenCV and ONNX Runtime. That
    # takes a fifth of a whole start; everything of ours is closed, and the rest goes with the process.
    gc.freeze()
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run the command line.

    Args:
        arguments: What follows the program's name.

    Returns:
        The exit code.
    """
    return guarded(arguments, lambda: _run(arguments))


def _run(arguments: Sequence[str]) -> int:
    request = quick.read(arguments)
    if request is not None:
        from edgebrain.cli.run_classify import run_classify

        return run_classify(request)
    from edgebrain.cli import app

    return app.parse_and_run(arguments)
