"""Writers of prediction records: JSONL, CSV, JSON and a table, behind one small protocol.

JSONL and CSV go row by row straight to the file, so that a kill loses nothing that was done and ``--resume`` can go on.
JSON and tables are whole documents: their file appears when it is complete. In a sorted run the rows still go to the
file as they come; the sorted file takes its place at the end. Memory does not grow with the number of records, except
for a table, and for 24 bytes a record where sorting was asked for.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, Literal, Protocol, TextIO, cast

from edgebrain import __version__
from edgebrain.errors import UsageError
from edgebrain.files import kind_of
from edgebrain.outputs import GrowingFile, Stream, WholeFile, open_stream
from edgebrain.results.records import reading_order, to_json
from edgebrain.types import RECORD_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

    from edgebrain.outputs import Output
    from edgebrain.results.resume import Resume, RowFormat
    from edgebrain.results.sorting import Spool
    from edgebrain.types import Prediction

ResultFormat = Literal["table", "json", "jsonl", "csv"]
FORMATS: tuple[ResultFormat, ...] = ("table", "json", "jsonl", "csv")
_ROW_FORMATS = {"jsonl", "csv"}


class Writer(Protocol):
    """Takes records one by one, in the order of the input.

    Use it as a context manager: leaving the block ends the result well, an exception (also Ctrl-C) aborts it.

    Attributes:
        resumed: What the file held before, when the run goes on from an earlier one.
    """

    resumed: Resume | None

    def write(self, prediction: Prediction) -> None:
        """Take one record.

        Raises:
            EdgebrainError: The disk is full or fails; the message names the file.
            UsageError: The file goes on from an earlier one that another model wrote.
            BrokenPipeError: The reader of standard output has gone. End quietly.
        """

    def close(self) -> None:
        """End well; raises what `write` raises."""

    def abort(self) -> None:
        """End early. Rows in a JSONL or CSV file stay; a JSON or table file does not appear."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class ClosingWriter(ABC):
    """Closes when its block ends well, aborts when it does not; once."""

    _ended = False

    def close(self) -> None:
        """End well."""
        if not self._ended:
            self._ended = True
            self._close()

    def abort(self) -> None:
        """End early."""
        if not self._ended:
            self._ended = True
            self._abort()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    @abstractmethod
    def _close(self) -> None:
        """End well; called once."""

    @abstractmethod
    def _abort(self) -> None:
        """End early; called once."""


@dataclass(frozen=True)
class _Layout:
    """How records become a document: what comes before, between and after them."""

    encode: Callable[[Prediction], bytes]
    head: bytes = b""
    between: bytes = b""
    tail: bytes = b""


class _RowWriter(ClosingWriter):
    def __init__(
        self,
        layout: _Layout,
        output: Output,
        *,
        resumed: Resume | None = None,
        spool: Spool | None = None,
    ) -> None:
        self.resumed = resumed
        self._layout = layout
        self._output = output
        self._spool = spool
        self._begun = resumed is not None and resumed.size > 0

    def write(self, prediction: Prediction) -> None:
        """Take one record."""
        if self.resumed is not None and prediction.model is not None:
            self.resumed.check_model(prediction.model)
        row = self._layout.encode(prediction)
        if self._spool is None:
            self._emit(row)
        else:
            order = reading_order(prediction.status, prediction.triage, prediction.tumor_probability)
            self._spool.add(order, row)

    def _emit(self, row: bytes) -> None:
        before = self._layout.between if self._begun else self._layout.head
        self._output.write(before + row)
        self._begun = True

    def _close(self) -> None:
        try:
            self._flush_spool()
            rest = self._layout.tail if self._begun else self._layout.head + self._layout.tail
            if rest:
                self._output.write(rest)
            self._output.commit()
        except BaseException:
            self._output.abort()
            raise

    def _abort(self) -> None:
        try:
            if not self._layout.tail:  # rows are worth having; a document that is not complete is not
                self._flush_spool()
        finally:
            self._output.abort()

    def _flush_spool(self) -> None:
        if self._spool is not None:
            for row in self._spool.rows():
                self._emit(row)


def open_writer(
    result_format: str,
    output: Path | None = None,
    *,
    resume: Resume | bool = False,
    overwrite: bool = False,
    sort: bool = False,
    labels: Sequence[str] = (),
    stdout: BinaryIO | None = None,
) -> Writer:
    """Open a writer of prediction records.

    Args:
        result_format: One of `FORMATS`.
        output: The file; None for standard output.
        resume: Go on with an earlier JSONL or CSV file (a missing one is begun). Give the result of `Resume.scan`
            where it is at hand, so that the file is not read twice.
        overwrite: Replace a file that exists.
        sort: Put the records in the order of `records.reading_order`, not of the input.
        labels: The labels of the model, in its order; CSV needs them for its columns.
        stdout: Stands in for standard output.

    Raises:
        UsageError: The options contradict each other; the file exists, and neither resume nor overwrite was asked for;
            it cannot be written; it is not one that can be continued. Nothing was touched then.
    """
    _check_options(result_format, output, resume=bool(resume), overwrite=overwrite, labels=labels)
    kind = "stream" if output is None else kind_of(output)
    if kind == "full" and not resume and not overwrite:
        raise UsageError(
            f"{output} exists already.",
            remedy="--resume continues it, --overwrite replaces it."
            if result_format in _ROW_FORMATS
            else "--overwrite replaces it.",
        )
    if result_format == "table":
        from edgebrain.results.table import TableWriter  # it brings rich with it

        terminal = sys.stdout if output is None and stdout is None else None
        return TableWriter(_whole(output, kind, stdout), sort=sort, terminal=terminal)
    if result_format == "json":
        spool = _spool(output.parent if output is not None and kind != "stream" else None) if sort else None
        return _RowWriter(_json_layout(), _whole(output, kind, stdout), spool=spool)
    row_format = cast("RowFormat", result_format)
    if output is None or kind == "stream":
        stream = _stream(output, stdout)
        layout = _row_layout(row_format, labels, shown=stream.is_terminal)
        return _RowWriter(layout, stream, spool=_spool(None) if sort else None)
    resumed = _resumed(resume, output, row_format, labels)
    replace = kind == "full" and overwrite
    seen = None if replace else resumed.size if resumed is not None else 0
    finish = partial(_sort, output, row_format) if sort else None
    file = GrowingFile(output, replace=replace, size=seen, finish=finish)
    scored = resumed is None or resumed.scored
    return _RowWriter(_row_layout(row_format, labels, scored=scored), file, resumed=resumed)


def _spool(folder: Path | None) -> Spool:
    from edgebrain.results.sorting import Spool  # what a start does not need, a start does not pay for; so below

    return Spool(folder)


def _sort(output: Path, row_format: RowFormat) -> None:
    from edgebrain.results.sorting import sort_file

    sort_file(output, row_format)


def _check_options(
    result_format: str, output: Path | None, *, resume: bool, overwrite: bool, labels: Sequence[str]
) -> None:
    if result_format not in FORMATS:
        raise UsageError(f"There is no format {result_format!r}.", remedy=f"Choose one of {', '.join(FORMATS)}.")
    if resume and overwrite:
        raise UsageError("--resume and --overwrite contradict each other.", remedy="Give one of them.")
    if resume and (output is None or result_format not in _ROW_FORMATS):
        raise UsageError("--resume needs rows in a file.", remedy="Give --output FILE and --format jsonl or csv.")
    if result_format == "csv" and not labels:
        raise UsageError("CSV has one column per label and needs to know the labels of the model.")


def _stream(output: Path | None, stdout: BinaryIO | None) -> Stream:
    if output is not None:
        return open_stream(output)
    if stdout is not None:
        return Stream(stdout, "standard output")
    printed: TextIO | None = sys.stdout  # None where the process was started without one
    if printed is None or not printed.writable():
        raise UsageError("Standard output is closed.", remedy="Name a file with --output.")
    printed.flush()  # what was printed before comes first
    return Stream(printed.buffer, "standard output")


def _whole(output: Path | None, kind: str, stdout: BinaryIO | None) -> Output:
    return _stream(output, stdout) if output is None or kind == "stream" else WholeFile(output)


def _resumed(resume: Resume | bool, output: Path, row_format: RowFormat, labels: Sequence[str]) -> Resume | None:
    if resume is False:
        return None
    from edgebrain.results.resume import Resume

    found = Resume.scan(output, row_format) if resume is True else resume
    if found.labels is not None and found.labels != tuple(labels):
        raise UsageError(
            f"{output} has columns for the labels {', '.join(found.labels)}; this model has {', '.join(labels)}.",
            remedy="Name another file with --output, or start again with --overwrite.",
        )
    return found


def _row_layout(row_format: RowFormat, labels: Sequence[str], *, shown: bool = False, scored: bool = True) -> _Layout:
    if row_format == "csv":
        from edgebrain.results import csv_rows

        encode = partial(csv_rows.row, labels=tuple(labels), shown=shown, scored=scored)
        return _Layout(encode=encode, head=csv_rows.header(labels))
    return _Layout(encode=lambda prediction: to_json(prediction).encode("ascii") + b"\n")


def _json_layout() -> _Layout:
    head = f'{{"schema": {RECORD_SCHEMA}, "generator": "edgebrain {__version__}", "records": [\n'
    return _Layout(
        encode=lambda prediction: to_json(prediction).encode("ascii"),
        head=head.encode("ascii"),
        between=b",\n",
        tail=b"\n]}\n",
    )
