"""Results as CSV: columns, and text that is no formula in a spreadsheet."""

from __future__ import annotations

import csv
import io
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgebrain.results import csv_rows
from edgebrain.results.writers import open_writer
from edgebrain.types import Prediction, Timing

if TYPE_CHECKING:
    from collections.abc import Callable

    Answer = Callable[..., Prediction]
    Write = Callable[..., bytes]


def test_csv_has_the_documented_columns(tmp_path: Path, write_results: Write, answer: Answer) -> None:
    (row,) = csv.DictReader(io.StringIO(write_results("csv", [answer("a.png", 0.75)], tmp_path / "out").decode()))
    assert row == {
        "path": "a.png",
        "frame": "0",
        "status": "ok",
        "label": "glioma",
        "p_glioma": "0.75",
        "p_no_tumor": "0.25",
        "tumor_probability": "0.75",
        "outlier_score": "",
        "triage": "prioritise",
        "reasons": "because; of this",
        "model_id": "edge",
        "model_version": "1.0.0",
        "precision": "int8",
        "model_sha256": "a" * 64,
        "engine": "ort",
        "provider": "CPUExecutionProvider",
        "threads": "2",
        "input_sha256": "b" * 64,
        "format": "png",
        "width": "8",
        "height": "9",
        "total_ms": "3.0",
        "warnings": "small",
        "error_code": "",
        "error_message": "",
    }
    text = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "records.md").read_text()
    assert {name for name in row if not name.startswith("p_") and f"`{name}`" not in text} == set()


def test_csv_refuses_a_label_that_has_no_column(answer: Answer, labels: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="the columns are for"):
        csv_rows.row(replace(answer("a.png"), probabilities={"cat": 1.0}), labels)


@given(st.binary(max_size=30).filter(lambda raw: b"\0" not in raw).map(os.fsdecode) | st.sampled_from("=+-@\t\r'"))
@example("=HYPERLINK(1)")
@example("'=1")
@example("''")
@example("-2+3\n")
@example("\uff1d1")
@example('a;=1,"=2"\n=3')
def test_csv_text_is_never_a_formula_and_comes_back(failure: Answer, labels: tuple[str, ...], text: str) -> None:
    row = csv_rows.row(replace(failure(text, message=text), reasons=(text,)), labels)
    header = csv_rows.parse(csv_rows.header(labels))
    cells = dict(zip(header, csv_rows.parse(row), strict=True))
    assert (cells["path"], cells["error_message"], cells["reasons"]) == (text, text, text)
    decoded = io.StringIO(row.decode("utf-8", "surrogateescape"), newline="")
    (raw_cells,) = csv.reader(decoded)
    assert not [cell for cell in raw_cells if cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d"))]


@given(st.text(alphabet=st.characters(exclude_categories=())))
def test_csv_takes_text_that_no_encoding_can_hold(failure: Answer, labels: tuple[str, ...], text: str) -> None:
    row = csv_rows.row(failure(text), labels)
    assert b"\0" not in row
    assert csv_rows.parse(row)[0] == csv_rows.storable(text)


def test_csv_numbers_are_not_text(tmp_path: Path, write_results: Write, answer: Answer) -> None:
    row = replace(answer("a.png"), timing_ms=Timing(total=-1.5))
    assert b",-1.5," in write_results("csv", [row], tmp_path / "out")


def test_csv_on_a_terminal_sends_no_escapes(answer: Answer, labels: tuple[str, ...]) -> None:
    class Terminal(io.BytesIO):
        def isatty(self) -> bool:
            return True

    shown = Terminal()
    with open_writer("csv", labels=labels, stdout=shown) as writer:
        writer.write(answer("\x1b[31mred\u202e.png"))
    assert b"\\x1b[31mred\\u202e.png" in shown.getvalue()
    assert b"\x1b" not in shown.getvalue()
