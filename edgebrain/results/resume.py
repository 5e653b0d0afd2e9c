"""What an earlier JSONL or CSV file already holds, so that a run can go on where it was cut off.

A file is read row by row. A last row that was cut short (the process was killed, the disk was full) is removed;
everything else that is not ours is refused and left alone. Rows are written in the order of the input, so only the file
of the last row may lack frames: `Resume.pending` says of every input what there is left to do.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from typing import TYPE_CHECKING, BinaryIO, Literal, NamedTuple, cast

from edgebrain.errors import UsageError
from edgebrain.files import claim
from edgebrain.results import csv_rows
from edgebrain.results.records import from_json
from edgebrain.types import ModelRef, Triage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

RowFormat = Literal["jsonl", "csv"]
"""The formats that are written row by row and can be continued."""

_MAX_ROW = 1 << 20
_JSON_START = b'{"schema": '


class DoneRow(NamedTuple):
    """What an earlier row says, as far as every format keeps it."""

    path: str
    frame: int
    status: Literal["ok", "error"]
    triage: Triage | None
    tumor_probability: float | None
    model: ModelRef | None


class Resume:
    """The rows of an earlier output file; made by `scan`.

    Attributes:
        path: The file.
        format: Its format.
        size: Bytes up to the end of the last complete row.
        count: Number of rows, a CSV header not counted.
        failed: How many of them are errors.
        model: The model that wrote them; None where every row is an error before a model was used.
        labels: The labels that a CSV file has columns for; None in JSONL.
        scored: Whether a CSV file has a column for the outlier score.
    """

    def __init__(self, path: Path, row_format: RowFormat) -> None:
        self.path = path
        self.format = row_format
        self.size = 0
        self.count = 0
        self.failed = 0
        self.model: ModelRef | None = None
        self.labels: tuple[str, ...] | None = None
        self.scored = True
        self._last: str | None = None
        # Rows per path. Nearly every file has one frame, so the others are kept apart: path -> frame -> rows.
        self._first_frames: Counter[str] = Counter()
        self._other_frames: dict[str, Counter[int]] = {}

    @classmethod
    def scan(cls, path: Path, row_format: RowFormat) -> Resume:
        """Read a file and cut off a last row that is not complete; a file that is missing or empty has nothing done.

        Raises:
            UsageError: The file cannot be read, is no output of edgebrain in this format, holds rows of two models, or
                another run is writing to it. It is not changed then.
        """
        found = cls(path, row_format)
        try:
            if not stat.S_ISREG(path.stat().st_mode):
                raise _not_ours(path, row_format, "it is no plain file.")
            with path.open("r+b") as file:
                claim(file.fileno(), path)
                found._read(file)
                if os.fstat(file.fileno()).st_size > found.size:
                    os.ftruncate(file.fileno(), found.size)
                    os.fsync(file.fileno())
        except FileNotFoundError:
            return found
        except OSError as exc:
            raise UsageError(f"Cannot continue {path}: {exc.strerror}.") from exc
        return found

    def done(self, path: str, occurrence: int = 1) -> bool:
        """Tell whether nothing is left to do for a path of the input.

        The path of the last row is never done: it may have more frames. `frames_done` says which of them are there.

        Args:
            path: As in the record.
            occurrence: 1 for the first time that the input names it, 2 for the second.
        """
        complete = max(self._rows_per_frame(path).values(), default=0) - (self._key(path) == self._last)
        return occurrence <= complete

    def frames_done(self, path: str, occurrence: int = 1) -> frozenset[int]:
        """Give the frames of a path that have their row already."""
        return frozenset(frame for frame, rows in self._rows_per_frame(path).items() if rows >= occurrence)

    def pending(self, paths: Iterable[str]) -> Iterator[tuple[str, frozenset[int]]]:
        """Go through an input list and give what is left of it, in order, each path with the frames to leave out.

        A path that the list names twice gets its rows twice, also when the run was cut off between the two.
        """
        seen: Counter[str] = Counter()
        for path in paths:
            key = self._key(path)
            if key in self._first_frames or key in self._other_frames:  # nothing is remembered of the others
                seen[key] += 1
            occurrence = seen.get(key, 1)
            if not self.done(path, occurrence):
                yield path, self.frames_done(path, occurrence)

    def rows(self) -> Iterator[DoneRow]:
        """Read the earlier rows again, one at a time."""
        with self.path.open("rb") as file:
            for start, _, row in read_rows(file, self.format, self.path):
                if start >= self.size:
                    return
                if row is not None:
                    yield row

    def check_model(self, model: ModelRef) -> None:
        """Refuse to put the answers of two models into one file.

        Raises:
            UsageError: The earlier rows were written by another model file; both are named.
        """
        if self.model is not None and self.model != model:
            raise UsageError(
                f"{self.path} holds rows of {_name(self.model)}, and this run uses {_name(model)}.",
                remedy="Name another file with --output, or start again with --overwrite.",
            )

    def _read(self, file: BinaryIO) -> None:
        for start, raw, row in read_rows(file, self.format, self.path):
            self.size = start + len(raw)
            if row is None:
                columns = csv_rows.parse(raw)
                self.labels, self.scored = csv_rows.labels_of(columns), csv_rows.has_score(columns)
            else:
                self._add(row)
        if self.size == 0:
            file.seek(0)
            _check_beginning(file.read(_MAX_ROW), self.format, self.path)

    def _add(self, row: DoneRow) -> None:
        self.count += 1
        self.failed += row.status == "error"
        if row.model is not None:
            self.check_model(row.model)
            self.model = row.model
        if row.frame == 0:
            self._first_frames[row.path] += 1
        else:
            self._other_frames.setdefault(row.path, Counter())[row.frame] += 1
        self._last = row.path

    def _rows_per_frame(self, path: str) -> dict[int, int]:
        key = self._key(path)
        first = self._first_frames.get(key, 0)
        return ({0: first} if first else {}) | self._other_frames.get(key, {})

    def _key(self, path: str) -> str:
        return csv_rows.storable(path) if self.format == "csv" else path


def read_rows(file: BinaryIO, row_format: RowFormat, path: Path) -> Iterator[tuple[int, bytes, DoneRow | None]]:
    """Read the complete rows of a file: where each starts, its bytes, and what it says (None for a header).

    A row is complete when its newline is there. What follows the last complete row is not given.

    Args:
        file: Opened for reading, in binary.
        row_format: ``jsonl`` or ``csv``.
        path: Its name, for messages.

    Raises:
        UsageError: A complete row is not ours; the message names its line.
    """
    file.seek(0)
    start, number, columns = 0, 0, None
    while raw := _next_row(file, quoted=row_format == "csv"):
        if len(raw) > _MAX_ROW:
            raise _not_ours(path, row_format, f"row {number + 1} is longer than {_MAX_ROW} bytes.")
        if not raw.endswith(b"\n") or (row_format == "csv" and raw.count(b'"') % 2):
            return
        number += 1
        row = None
        try:
            if row_format == "jsonl":
                row = _from_record(raw)
            elif columns is None:
                columns = csv_rows.parse(raw)
                csv_rows.labels_of(columns)
            else:
                row = _from_cells(csv_rows.parse(raw), columns)
        except UsageError as exc:
            raise _not_ours(path, row_format, f"row {number}: {exc.message}") from exc
        yield start, raw, row
        start += len(raw)


def _next_row(file: BinaryIO, *, quoted: bool) -> bytes:
    """Read up to the newline that ends a row, to the end of the file, or past the longest row there can be."""
    parts = [file.readline(_MAX_ROW + 1)]
    size, quotes = len(parts[0]), parts[0].count(b'"')
    # A name in quotes may hold a newline: the row goes on until its quotes are even.
    while quoted and quotes % 2 and parts[-1].endswith(b"\n") and size <= _MAX_ROW:
        parts.append(file.readline(_MAX_ROW + 1))
        size += len(parts[-1])
        quotes += parts[-1].count(b'"')
    return b"".join(parts)


def _from_record(raw: bytes) -> DoneRow:
    record = from_json(raw)
    return DoneRow(
        path=record.path,
        frame=record.frame,
        status=record.status,
        triage=record.triage,
        tumor_probability=record.tumor_probability,
        model=record.model,
    )


def _from_cells(cells: Sequence[str], columns: Sequence[str]) -> DoneRow:
    if len(cells) != len(columns):
        raise UsageError(f"It has {len(cells)} cells instead of {len(columns)}.")
    cell = dict(zip(columns, cells, strict=True))
    try:
        status, frame = cell["status"], int(cell["frame"])
        triage = Triage(cell["triage"]) if cell["triage"] else None
        tumor = float(cell["tumor_probability"]) if cell["tumor_probability"] else None
    except ValueError as exc:
        raise UsageError(f"It holds a value that edgebrain does not write: {exc}.") from exc
    if status not in {"ok", "error"} or frame < 0 or (status == "ok") != (triage is not None):
        raise UsageError("It holds values that edgebrain does not write.")
    model = ModelRef(cell["model_id"], cell["model_version"], cell["precision"], cell["model_sha256"])
    return DoneRow(
        path=cell["path"],
        frame=frame,
        status=cast("Literal['ok', 'error']", status),
        triage=triage,
        tumor_probability=tumor,
        model=model if model.sha256 else None,
    )


def _check_beginning(rest: bytes, row_format: RowFormat, path: Path) -> None:
    """Accept a file without one complete row only if it is the beginning of one of ours."""
    start = _JSON_START if row_format == "jsonl" else csv_rows.HEADER_START
    # A power cut can leave a file of the right length full of zeros.
    if not (rest.startswith(start) or start.startswith(rest) or not rest.strip(b"\0")):
        raise _not_ours(path, row_format, "it begins with something else.")


def _not_ours(path: Path, row_format: RowFormat, why: str) -> UsageError:
    return UsageError(
        f"Cannot continue {path}, it is no {row_format.upper()} output of edgebrain: {why}",
        remedy="Name another file with --output, or replace this one with --overwrite.",
    )


def _name(model: ModelRef) -> str:
    return f"{model.id} {model.version} ({model.precision}, {model.sha256[:12]})"
