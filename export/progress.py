"""What export says on standard error while it works, when that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Say = Callable[[str], None]
"""Told what is being done."""


def silent(what: str) -> None:
    """Say nothing."""
    del what


@contextmanager
def telling() -> Iterator[Say]:
    """A line with the step that is being done and a spinner; nothing where nobody is watching."""
    if not sys.stderr.isatty():
        yield silent
        return
    from rich.console import Console
    from rich.markup import escape

    with Console(stderr=True).status("starting") as status:
        yield lambda what: status.update(escape(what))
