"""The one place where errors and signals become exit codes."""

from __future__ import annotations

import codecs
import io
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import TextIO

from edgebrain.errors import EXIT_INTERRUPTED, EXIT_SOME_FAILED, EdgebrainError, printable

EXIT_PIPE = 141
"""What a shell reports for a program that wrote to a reader that had gone (128 + SIGPIPE)."""
EXIT_TERMINATED = 143
"""What a shell reports for a program that was told to end (128 + SIGTERM)."""

_STANDARD = 3  # numbers below are the standard streams

_NO_THREAD = "can't start new thread"
"""What Python says, as a RuntimeError, where there is no memory for the stack of one more."""

_heard: list[int] = []


def heed_signals() -> None:
    """Let SIGTERM end this process as Ctrl-C does, so that temporary files go.

    Both are remembered: a library that is being imported may turn the KeyboardInterrupt into an error of its own. A
    process that was started to ignore one of them goes on ignoring it.
    """
    main = os.getpid()

    def end(number: int, _frame: FrameType | None) -> None:
        if os.getpid() != main:  # a child that was forked has nothing of ours to put away
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        _heard.append(number)
        raise KeyboardInterrupt

    if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, end)
    if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
        signal.signal(signal.SIGINT, end)


def guarded(arguments: Sequence[str], action: Callable[[], int]) -> int:
    """Run an action; an error becomes one line on standard error and an exit code.

    Args:
        arguments: The command line; ``--debug`` in it adds a traceback, and changes nothing else.
        action: Does what it says, and gives the exit code.
    """
    _replace_closed_streams()
    _print_what_can_be_printed()
    try:
        code = _judged(action, debug="--debug" in arguments)
        # What is printed waits in a buffer; a disk that is full must not be found out when Python ends.
        return max(code, _judged(_flush, debug="--debug" in arguments))
    finally:
        _heard.clear()


def _judged(action: Callable[[], int], *, debug: bool) -> int:
    try:
        return action()
    except KeyboardInterrupt:
        return _stopped(debug=debug)
    except SystemExit as error:
        if isinstance(error.__context__, BrokenPipeError):  # rich leaves with 1 when its reader has gone
            return EXIT_PIPE
        raise
    except Exception as error:
        if _heard:
            return _stopped(debug=debug)
        code = _explained(error, debug=debug)
        if code is None:
            raise
        return code


def _stopped(*, debug: bool) -> int:
    terminated = signal.SIGTERM in _heard
    _say(f"{'terminated' if terminated else 'interrupted'}; what was written so far is complete.", debug=debug)
    return EXIT_TERMINATED if terminated else EXIT_INTERRUPTED


def _explained(error: Exception, *, debug: bool) -> int | None:
    """Say what an error means and give its exit code; None for what nobody foresaw."""
    if isinstance(error, EdgebrainError):
        _say(str(error), debug=debug)
        return error.exit_code
    if isinstance(error, BrokenPipeError):
        _discard(sys.stdout)  # the reader of our output has gone
        return EXIT_PIPE
    if isinstance(error, OSError):
        _discard(sys.stdout)
        where = f"{printable(os.fsdecode(error.filename))}: " if isinstance(error.filename, (str, bytes)) else ""
        _say(f"cannot read or write: {where}{error.strerror or error}.", debug=debug)
        return EXIT_SOME_FAILED
    if isinstance(error, MemoryError) or str(error) == _NO_THREAD:
        _say("out of memory. Use a smaller --batch-size or smaller scans.", debug=debug)
        return EXIT_SOME_FAILED
    return None


def _say(line: str, *, debug: bool) -> None:
    try:
        if debug:
            import traceback

            traceback.print_exc()
        sys.stderr.write(f"edgebrain: {line}\n")
        sys.stderr.flush()
    except OSError:
        _discard(sys.stderr)  # nobody can be told; the exit code still says it


def _flush() -> int:
    sys.stdout.flush()
    return 0


def _discard(stream: TextIO) -> None:
    """Send what waits in a stream nowhere: Python flushes it when it ends, and would fail once more."""
    try:
        target = stream.fileno()
    except (OSError, ValueError):  # no file behind it, as in a notebook
        return
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, target)
    os.close(null)


def _print_what_can_be_printed() -> None:
    """Where the terminal knows few characters (Latin-1, ASCII), print others as ``?``: an ellipsis is no error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and codecs.lookup(stream.encoding).name != "utf-8":
            stream.reconfigure(errors="replace")


def _replace_closed_streams() -> None:
    """Stand in for streams that the process was started without (``>&-``).

    Their numbers are taken, or the next file that is opened would get what libraries print. Printing to the stand-in of
    standard output fails like on any other output that cannot be written; complaints are dropped.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) < _STANDARD:  # the lowest number that is free
        pass
    os.close(number)
    # The types say that these are never None.
    streams: dict[str, TextIO | None] = {"stdout": sys.stdout, "stderr": sys.stderr}
    if streams["stdout"] is None:
        sys.stdout = Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115 - for the life of the process
    if streams["stderr"] is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - the same
