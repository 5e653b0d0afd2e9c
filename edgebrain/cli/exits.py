"""The one place where errors become exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from edgebrain.errors import EXIT_INTERRUPTED, EXIT_SOME_FAILED, EdgebrainError

EXIT_PIPE = 141
"""What a shell reports for a program that wrote to a reader that had gone (128 + SIGPIPE)."""


def guarded(arguments: Sequence[str], action: Callable[[], int]) -> int:
    """Run an action; an error becomes one line on standard error and an exit code, unless --debug was asked for.

    Args:
        arguments: The command line.
        action: Does what it says, and gives the exit code.
    """
    if "--debug" in arguments:
        return action()
    try:
        return action()
    except EdgebrainError as error:
        sys.stderr.write(f"edgebrain: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("edgebrain: interrupted; rows written so far are complete.\n")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone; nothing may be flushed to it when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PIPE
    except MemoryError:
        sys.stderr.write("edgebrain: out of memory. Use a smaller --batch-size or smaller scans.\n")
        return EXIT_SOME_FAILED
