"""The command line: parse, call one function, print, map errors to exit codes.

Modules here are imported at every start, so they import nothing heavy: what a command needs is imported when it runs.
"""

from edgebrain.cli.app import main

__all__ = ["main"]
