"""The prediction record as a flat CSV row: the columns, the cells, and the way back.

Two properties carry the design. A cell can never be run as a formula by a spreadsheet, and a file name comes back
from its cell exactly, whatever bytes it is made of, since ``--resume`` has to recognise it.
"""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

from edgebrain.errors import UsageError, printable
from edgebrain.results.records import to_dict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgebrain.types import Prediction

_BEFORE = ("path", "frame", "status", "label")
_SCORE = "outlier_score"
_AFTER = (
    "tumor_probability",
    _SCORE,
    "triage",
    "reasons",
    "model_id",
    "model_version",
    "precision",
    "model_sha256",
    "engine",
    "provider",
    "threads",
    "input_sha256",
    "format",
    "width",
    "height",
    "total_ms",
    "warnings",
    "error_code",
    "error_message",
)
_AFTER_WITHOUT_SCORE = tuple(name for name in _AFTER if name != _SCORE)
"""The columns of a file that was begun before records had an outlier score."""
_PREFIX = "p_"
# What makes a spreadsheet take a cell for a formula, the full-width forms included, and the apostrophe itself, which
# keeps the defusing reversible. https://owasp.org/www-community/attacks/CSV_Injection
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20", "'")

HEADER_START = b'"path","frame","status","label"'
"""How the first row of every CSV file of ours begins."""


def header(labels: Sequence[str]) -> bytes:
    """Make the first row of a file; one ``p_<label>`` column per label of the model, in its order."""
    return _encode([*_BEFORE, *(_PREFIX + label for label in labels), *_AFTER])


def row(prediction: Prediction, labels: Sequence[str], *, shown: bool = False, scored: bool = True) -> bytes:
    """Make the row of a record, with its newline.

    Args:
        prediction: The record.
        labels: As given to `header`.
        shown: Whether it goes to a terminal, where a name must not send escapes. The row cannot be read back then.
        scored: Whether the file has a column for the outlier score; see `has_score`.

    Raises:
        EdgebrainError: A number of the record is not finite.
        ValueError: The record has a probability for a label without a column.
    """
    record = to_dict(prediction)
    probabilities: dict[str, float] = record["probabilities"]
    if not probabilities.keys() <= set(labels):
        raise ValueError(f"the columns are for {list(labels)}, the record has {list(probabilities)}")
    model, engine, scan, error = (record[key] or {} for key in ("model", "engine", "input", "error"))
    return _encode(
        [
            *(record[key] for key in _BEFORE),
            *(probabilities.get(label) for label in labels),
            record["tumor_probability"],
            *([record[_SCORE]] if scored else []),
            record["triage"],
            "; ".join(record["reasons"]),
            *(model.get(key) for key in ("id", "version", "precision", "sha256")),
            *(engine.get(key) for key in ("name", "provider", "threads")),
            *(scan.get(key) for key in ("sha256", "format", "width", "height")),
            record["timing_ms"]["total"],
            "; ".join(record["warnings"]),
            error.get("code"),
            error.get("message"),
        ],
        shown=shown,
    )


def parse(raw: bytes) -> list[str]:
    """Read the cells of one row, header or not, back to the text that was written.

    Raises:
        UsageError: It is not one row of CSV.
    """
    text = raw.decode("utf-8", "surrogateescape")
    try:
        (cells,) = csv.reader(io.StringIO(text, newline=""), strict=True)
    except (csv.Error, ValueError) as exc:
        raise UsageError(f"This is not a row of CSV: {exc}.") from exc
    return [cell.removeprefix("'") for cell in cells]


def storable(text: str) -> str:
    """Give the text that a cell can hold: the same, unless it could not be the name of any file.

    NUL and the surrogates that stand for no byte are written as escapes; CSV readers and UTF-8 have no place for them.
    """
    if "\0" not in text and _encodable(text):
        return text
    return text.replace("\0", r"\x00").encode("utf-8", "backslashreplace").decode("utf-8")


def labels_of(columns: Sequence[str]) -> tuple[str, ...]:
    """Find the labels in a header.

    Raises:
        UsageError: It is not a header of ours.
    """
    after = _AFTER if has_score(columns) else _AFTER_WITHOUT_SCORE
    first, last = len(_BEFORE), len(columns) - len(after)
    middle = columns[first:last]
    ours = first <= last and (*columns[:first], *columns[last:]) == (*_BEFORE, *after)
    if not ours or not all(name.startswith(_PREFIX) for name in middle):
        raise UsageError("The columns are not those of an edgebrain CSV file.")
    return tuple(name[len(_PREFIX) :] for name in middle)


def has_score(columns: Sequence[str]) -> bool:
    """Tell whether a header has the column of the outlier score; edgebrain 0.1 wrote none."""
    return _SCORE in columns


def _encode(cells: Sequence[Any], *, shown: bool = False) -> bytes:
    # All text is quoted, so that a spreadsheet that splits at semicolons cannot cut a harmless cell into a formula.
    line = io.StringIO()
    writer = csv.writer(line, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    texts = (printable(cell) if shown and isinstance(cell, str) else cell for cell in cells)
    writer.writerow(["" if cell is None else _text(cell) if isinstance(cell, str) else cell for cell in texts])
    return line.getvalue().encode("utf-8", "surrogateescape")


def _text(cell: str) -> str:
    cell = storable(cell)
    return "'" + cell if cell.startswith(_FORMULA_STARTS) else cell


def _encodable(cell: str) -> bool:
    try:
        cell.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True
