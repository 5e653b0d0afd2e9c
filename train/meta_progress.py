"""What long few-shot work says while it runs: a bar on a terminal, lines elsewhere, both on stderr."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID
    from typing_extensions import Self  # typing has it from Python 3.11

    from .meta_loop import State


class Watch:
    """Shows how far a meta-training is.

    Args:
        total: Iterations, at most.
        what: Beside the bar.
        lines: Write a line a check where there is no terminal.
    """

    def __init__(self, total: int, what: str = "meta-training", *, lines: bool = True) -> None:
        self.total = total
        self.what = what
        self.lines = lines
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        """Open the bar."""
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import Progress

            self._bar = Progress(console=Console(stderr=True), transient=True)
            self._bar.start()
            self._task = self._bar.add_task(self.what, total=self.total)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()

    def step(self) -> None:
        """One more is done."""
        if self._bar is not None and self._task is not None:
            self._bar.advance(self._task)

    def show(self, state: State) -> None:
        """Say where a training is, after a check."""
        row = state.rows[-1]
        figures = "  ".join(f"{k} {float(v):.4f}" for k, v in row.items() if "/" in k)
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=state.iteration, description=f"{self.what}  {figures}")
        elif self.lines:
            sys.stderr.write(f"iteration {state.iteration}/{self.total}  {figures}  {state.seconds:.0f} s\n")
            sys.stderr.flush()
