"""Progress on standard error, when that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

T = TypeVar("T")
R = TypeVar("R")


class Shown(Generic[T]):
    """Items on their way in, and records on their way out.

    Args:
        items: What will be worked on.
        bar: The bar, or None when nobody is watching.
        task: Its task.
    """

    def __init__(self, items: Iterable[T], bar: Progress | None, task: TaskID | None) -> None:
        self.items = items
        self._bar = bar
        self._task = task

    def count(self, records: Iterable[R]) -> Iterator[R]:
        """Pass records on and move the bar."""
        for record in records:
            if self._bar is not None and self._task is not None:
                self._bar.advance(self._task)
            yield record


@contextmanager
def progress(items: Iterable[T], what: str, *, endless: bool = False) -> Iterator[Shown[T]]:
    """Show a bar while items are worked on.

    Args:
        items: What will be worked on. On a terminal it is listed first, so that the bar has a total.
        what: One word beside the bar.
        endless: Items come as somebody else makes them, and nobody knows how many: they are not listed first, and the
            bar has no total.
    """
    if not sys.stderr.isatty():
        yield Shown(items, None, None)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    listed = None if endless else list(items)
    total = None if listed is None else len(listed)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield Shown(items if listed is None else listed, bar, bar.add_task(what, total=total))
