"""What long few-shot work says while it runs: a bar on a terminal, lines elsewhere, both on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from .pace import Pace, Stage, left_text

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID
    from typing_extensions import Self  # typing has it from Python 3.11

    from .meta_loop import State

_EVERY = 30.0
"""Seconds between two lines on what has no checks, where there is no terminal."""


class Watch:
    """Shows how far a meta-training is, or another count.

    Args:
        total: Iterations, at most.
        what: Beside the bar.
        lines: Write a line a check where there is no terminal.
        before: Iterations that an earlier run did.
    """

    def __init__(self, total: int, what: str = "meta-training", *, lines: bool = True, before: int = 0) -> None:
        self.course = Course([Stage(what, what, total)], lines=lines)
        self.before = before

    def __enter__(self) -> Self:
        """Open the bar."""
        self.course.__enter__()
        self.course.begin(self.before)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bar away."""
        self.course.__exit__(kind, error, trace)

    def step(self) -> None:
        """One more is done."""
        self.course.step()

    def show(self, state: State) -> None:
        """Say where a training is, after a check."""
        self.course.show(state)


class Course:
    """Shows how far work of many parts is, the part and the whole, and about how long all of it will still take.

    Args:
        stages: The parts, in the order in which they come.
        lines: Write lines where there is no terminal.
    """

    def __init__(self, stages: Sequence[Stage], *, lines: bool = True) -> None:
        self.pace = Pace(stages)
        self.lines = lines
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._said = time.monotonic()

    def __enter__(self) -> Self:
        """Open the bar."""
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

            words = TextColumn("{task.description}", markup=False)
            columns = (words, BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[left]}"))
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()

    def begin(self, already: int = 0) -> None:
        """Start the next part, of which some units were done in an earlier run."""
        stage = self.pace.begin(already)
        if self._bar is None:
            return
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task(self._title(), total=stage.units, completed=already, left="")

    def step(self) -> None:
        """One more unit of the part is done."""
        self.pace.done += 1
        self._draw(self._title())
        if time.monotonic() - self._said >= _EVERY:
            name = "" if len(self.pace.stages) > 1 else f"{self._title()}: "  # which other lines have anyway
            self._say(f"{name}{self.pace.done}/{self.pace.stage.units}")

    def show(self, state: State) -> None:
        """Say where a training is, after a check."""
        self.pace.done = state.iteration
        figures = "  ".join(f"{k} {float(v):.4f}" for k, v in state.rows[-1].items() if "/" in k)
        self._draw(f"{self._title()}  {figures}")
        self._say(f"iteration {state.iteration}/{self.pace.stage.units}  {figures}  {state.seconds:.0f} s")

    def tell(self, what: str) -> None:
        """Write a line about the part, on a terminal too."""
        text = f"{self._title()}: {what}"
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            self._say(what)

    def _title(self) -> str:
        place = f"[{self.pace.place + 1}/{len(self.pace.stages)}] " if len(self.pace.stages) > 1 else ""
        return f"{place}{self.pace.stage.name}"

    def _left(self) -> str:
        text = left_text(self.pace.left())
        return f"about {text}" if text else ""

    def _draw(self, description: str) -> None:
        if self._bar is not None and self._task is not None:
            left = self._left()
            self._bar.update(self._task, completed=self.pace.done, description=description, left=left)

    def _say(self, what: str) -> None:
        if self._bar is not None or not self.lines:
            return
        self._said = time.monotonic()
        title = f"{self._title()}: " if len(self.pace.stages) > 1 else ""
        left = self._left()
        sys.stderr.write(f"{title}{what}{f'  {left}' if left else ''}\n")
        sys.stderr.flush()
