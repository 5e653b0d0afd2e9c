"""The log of a meta-training: the CSV file and the TensorBoard file that ordinary training writes."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from edgebrain.files import failing

from .board import Scalars
from .progress import FREE_SPACE, write_rows

if TYPE_CHECKING:
    from typing_extensions import Self  # typing has it from Python 3.11

    from .meta_loop import Rows


class MetaLog:
    """Writes the figures of every check to ``metrics.csv`` and to an event file.

    Both are made anew from all rows that a state holds, so a run that goes on loses none and repeats none.

    Args:
        folder: Of the log; made if need be.
        rows: Rows of the checks that are not run again.
    """

    def __init__(self, folder: Path, rows: Rows) -> None:
        self.path = folder / "metrics.csv"
        self.scalars = Scalars(folder)
        self.rows = rows

    def __enter__(self) -> Self:
        """Open both files."""
        with failing(str(self.path), FREE_SPACE):
            self.path.parent.mkdir(parents=True, exist_ok=True)
        self.scalars.start()
        self.show(self.rows)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close them."""
        self.scalars.close()

    def show(self, rows: Rows) -> None:
        """Write all rows to the one file, and the new ones to the other."""
        write_rows(self.path, rows)
        self.scalars.show(rows)
