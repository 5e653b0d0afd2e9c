"""The table for people: one line per scan, the most urgent told by colour, a summary underneath.

Imports rich; only loaded when a table was asked for.
"""

from __future__ import annotations

import io
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple, TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from edgebrain.errors import printable
from edgebrain.results.records import reading_order
from edgebrain.results.writers import ClosingWriter
from edgebrain.types import Triage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edgebrain.outputs import Output
    from edgebrain.results.resume import Resume
    from edgebrain.types import Prediction

DISCLAIMER = "Not a medical device. A person reads every scan."

_PLAIN_WIDTH = 120  # of a file or pipe, which have no width of their own
_CHUNK = 200  # rows that are laid out at a time; rich keeps every cell of a table in memory
_BAR = 5
_UNSURE = 0.0005  # what is nearer to 0 or 1 would be rounded to it
_MIN_FILE, _MIN_NOTE, _MAX_LABEL = 16, 20, 24
_PERCENT = 7
_STATES = {
    Triage.PRIORITISE.value: ("prioritise", "bold red"),
    Triage.CANNOT_ASSESS.value: ("cannot assess", "yellow"),
    "error": ("failed", "magenta"),
    Triage.STANDARD.value: ("standard", ""),
}


class _Row(NamedTuple):
    order: float
    path: str
    frame: int
    finding: str
    probability: float | None
    tumor: float | None
    state: str
    note: str


class TableWriter(ClosingWriter):
    """Collects what a table shows of each record, and prints it at the end.

    Args:
        output: Where the text goes.
        sort: Whether the rows come in the order of `records.reading_order`.
        terminal: The text stream behind ``output`` where that may be a terminal; its width, colours and encoding are
            used. None for files: no colour, UTF-8.
    """

    def __init__(self, output: Output, *, sort: bool = False, terminal: TextIO | None = None) -> None:
        self.resumed: Resume | None = None
        self._output = output
        self._sort = sort
        self._terminal = terminal
        self._rows: list[_Row] = []

    def write(self, prediction: Prediction) -> None:
        """Take one record."""
        self._rows.append(_row(prediction))

    def _close(self) -> None:
        try:
            self._print(DISCLAIMER)
            self._output.commit()
        except BaseException:
            self._output.abort()
            raise

    def _abort(self) -> None:
        try:
            # What is done is worth seeing; a file is not made of half a run.
            if self._terminal is not None and self._rows:
                self._print(f"Stopped before the end. {DISCLAIMER}")
        finally:
            self._output.abort()

    def _print(self, closing: str) -> None:
        console = _console(self._terminal)
        encoding = getattr(self._terminal, "encoding", None) or "utf-8"
        rows = sorted(self._rows, key=lambda row: row.order) if self._sort else self._rows
        for renderable in (*_tables(rows, console.width, ascii_only=not encoding.lower().startswith("utf")), None):
            with console.capture() as captured:
                if renderable is None:
                    console.print(Text(f"\n{_summary(rows)}\n{closing}"))
                else:
                    console.print(renderable)
            text = "\n".join(line.rstrip(" ") for line in captured.get().split("\n"))
            self._output.write(text.encode(encoding, "replace"))


def shorten(text: str, width: int) -> str:
    """Cut the middle out of a path that is wider than ``width`` terminal cells; its end, the file name, keeps more."""
    if cell_len(text) <= width:
        return text
    head = _fitting(text, (width - 3) // 3)
    tail = _fitting(text[::-1], width - 3 - cell_len(head))[::-1]
    return f"{head}...{tail}"


def percent(probability: float) -> str:
    """Write a probability so that rounding never makes certainty of it: ``<0.1 %`` and ``>99.9 %`` at the ends."""
    if 0 < probability < _UNSURE:
        return "<0.1 %"
    if 1 - _UNSURE <= probability < 1:
        return ">99.9 %"
    return f"{100 * probability:.1f} %"


def _row(prediction: Prediction) -> _Row:
    triage = prediction.triage.value if prediction.triage is not None else None
    notes = [*prediction.reasons, *prediction.warnings]
    if prediction.error is not None:
        # The row names the file already.
        notes.insert(0, prediction.error.message.removeprefix(f"{printable(prediction.path)}: "))
    finding = prediction.label or ""
    return _Row(
        order=reading_order(prediction.status, prediction.triage, prediction.tumor_probability),
        path=printable(prediction.path),
        frame=prediction.frame,
        # The most probable label of something that could not be assessed is a guess, and looks like one.
        finding=printable(f"{finding}?" if triage == Triage.CANNOT_ASSESS.value else finding),
        probability=max(prediction.probabilities.values(), default=None),
        tumor=prediction.tumor_probability,
        state="error" if prediction.status == "error" else triage or "error",
        note=printable("; ".join(notes)),
    )


def _console(terminal: TextIO | None) -> Console:
    plain = terminal is None
    return Console(
        file=terminal or io.StringIO(),
        force_terminal=False if plain else None,
        color_system=None if plain else "auto",
        width=None if terminal is not None and terminal.isatty() else _PLAIN_WIDTH,
        highlight=False,
        markup=False,
        emoji=False,
    )


def _tables(rows: Sequence[_Row], width: int, *, ascii_only: bool) -> Iterator[Table]:
    """Lay the rows out; tables of one layout, only the first with a header."""
    several = {row.path for row in rows if row.frame}  # files with more than one frame: their rows say which it is
    names = [f"{row.path} #{row.frame}" if row.path in several else row.path for row in rows]
    widths = _widths(rows, names, width)
    has_bar = widths[2] > _PERCENT
    titles = ("file", "finding", "probability" if has_bar else "prob.", "tumour", "triage", "note")
    for first in range(0, max(len(rows), 1), _CHUNK):
        table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), show_header=first == 0, header_style="bold")
        for title, size in zip(titles, widths, strict=True):
            is_note = title == "note"
            table.add_column(title, width=size, no_wrap=not is_note, overflow="fold" if is_note else "ellipsis")
        for name, row in zip(names[first : first + _CHUNK], rows[first : first + _CHUNK], strict=True):
            probability = "" if row.probability is None else f"{percent(row.probability):>{_PERCENT}}"
            bar = f" {_bar(row.probability, ascii_only)}" if has_bar and row.probability is not None else ""
            state, style = _STATES[row.state]
            table.add_row(
                Text(shorten(name, widths[0])),
                Text(shorten(row.finding, widths[1])),
                Text(probability + bar),
                Text("" if row.tumor is None else f"{percent(row.tumor):>{_PERCENT}}"),
                Text(state, style=style),
                Text(row.note),
            )
        yield table


def _widths(rows: Sequence[_Row], names: Sequence[str], width: int) -> tuple[int, int, int, int, int, int]:
    longest_name = max((cell_len(name) for name in names), default=0)
    longest_note = max((cell_len(row.note) for row in rows), default=0)
    longest_finding = max((cell_len(row.finding) for row in rows), default=0)
    finding = max(min(longest_finding, _MAX_LABEL), len("finding"))
    state = max(len(words) for words, _ in _STATES.values())
    rest = width - finding - 2 * _PERCENT - state - 5  # one space between columns
    bar = 1 + _BAR if rest - 1 - _BAR >= _MIN_FILE + _MIN_NOTE else 0  # the first to go where there is no room
    rest = max(rest - bar, _MIN_FILE + _MIN_NOTE)
    file = max(min(longest_name, rest - min(longest_note, max(rest // 2, _MIN_NOTE))), _MIN_FILE)
    return file, finding, _PERCENT + bar, _PERCENT, state, max(min(longest_note, rest - file), len("note"))


def _bar(share: float, ascii_only: bool) -> str:
    if ascii_only:
        return "#" * round(share * _BAR)
    whole, eighths = divmod(round(share * _BAR * 8), 8)
    return "\u2588" * whole + ("" if eighths == 0 else chr(0x2590 - eighths))


def _fitting(text: str, width: int) -> str:
    used = 0
    for place, character in enumerate(text):
        used += cell_len(character)
        if used > width:
            return text[:place]
    return text


def _summary(rows: Sequence[_Row]) -> str:
    counts = Counter(row.state for row in rows)
    parts = [f"{counts[state]} {words}" for state, (words, _) in _STATES.items() if counts[state]]
    scans = f"{len(rows)} scan" + ("" if len(rows) == 1 else "s")
    return f"{scans}: {', '.join(parts)}." if parts else f"{scans}."
