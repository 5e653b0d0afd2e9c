"""Put rows into the order in which people should read them, without holding them in memory."""

from __future__ import annotations

import contextlib
import tempfile
from array import array
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from edgebrain.errors import EdgebrainError
from edgebrain.outputs import KEPT, WholeFile
from edgebrain.results.records import reading_order
from edgebrain.results.resume import read_rows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edgebrain.results.resume import RowFormat


class Spool:
    """Rows on their way to an output that can only be written in order, kept in an unnamed temporary file.

    Args:
        folder: Where that file lies; None for the usual place.

    Raises:
        EdgebrainError: There is no room for it.
    """

    def __init__(self, folder: Path | None) -> None:
        with _spooling():
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed with the last row, or with the process
        self._index = _Index()

    def add(self, order: float, row: bytes) -> None:
        """Keep a row; the smallest ``order`` comes first."""
        with _spooling():
            self._file.write(row)
        self._index.add(order, len(row))

    def rows(self) -> Iterator[bytes]:
        """Give the rows in order, once."""
        with _spooling():
            self._file.flush()
        yield from self._index.sorted_rows(self._file)
        self._file.close()


class _Index:
    """Where the rows of a file lie, and their order; 16 bytes a row, and 8 more while they are sorted.

    Args:
        start: Where the first row lies.
    """

    def __init__(self, start: int = 0) -> None:
        self._orders = array("d")
        self._bounds = array("q", [start])

    def add(self, order: float, size: int) -> None:
        self._orders.append(order)
        self._bounds.append(self._bounds[-1] + size)

    def sorted_rows(self, file: BinaryIO) -> Iterator[bytes]:
        # Equal ones stay in the order of the input.
        for place in np.argsort(np.asarray(self._orders), kind="stable"):
            file.seek(self._bounds[place])
            yield file.read(self._bounds[place + 1] - self._bounds[place])


def sort_file(path: Path, row_format: RowFormat) -> None:
    """Put the rows of a JSONL or CSV file of ours in the order of `records.reading_order`.

    The sorted file takes the place of the other when it is complete. The caller holds the lock of the file, if any.

    Raises:
        EdgebrainError: There is no room for it; the rows stay as they are.
        UsageError: The file is not ours.
    """
    sorted_file = WholeFile(path, remedy=KEPT, ours=True)
    try:
        with path.open("rb") as file:
            index = _Index()
            for start, raw, row in read_rows(file, row_format, path):
                if row is None:
                    sorted_file.write(raw)
                    index = _Index(start + len(raw))
                else:
                    index.add(reading_order(row.status, row.triage, row.tumor_probability), len(raw))
            for raw in index.sorted_rows(file):
                sorted_file.write(raw)
        sorted_file.commit()
    except BaseException:
        sorted_file.abort()
        raise


@contextlib.contextmanager
def _spooling() -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise EdgebrainError(
            f"Cannot keep rows in a temporary file until they are sorted: {exc.strerror}.",
            remedy="Make room, name another folder with the variable TMPDIR, or leave out --sort.",
        ) from exc
