"""What a run writes in each format: in which order, row by row, and what is left of it when it stops."""

from __future__ import annotations

import errno
import io
import json
import os
import resource
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import pytest

from edgebrain import __version__
from edgebrain.errors import EdgebrainError
from edgebrain.results import csv_rows
from edgebrain.results.records import from_json, to_json
from edgebrain.results.sorting import sort_file
from edgebrain.results.writers import FORMATS, ResultFormat, open_writer

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgebrain.types import Prediction

    Answer = Callable[..., Prediction]
    PathsOf = Callable[[str, bytes], list[str]]
    Write = Callable[..., bytes]

row_formats = pytest.mark.parametrize("result_format", ["jsonl", "csv"])
whole_formats = pytest.mark.parametrize("result_format", ["json", "table"])
IN_ORDER = ["first", "second", "unsure", "broken", "standard-high", "standard-low"]


def test_the_formats_are_the_documented_ones() -> None:
    assert get_args(ResultFormat) == FORMATS
    text = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "records.md").read_text()
    assert all(f"| `{name}` |" in text for name in FORMATS)


@pytest.mark.parametrize("result_format", FORMATS)
@pytest.mark.parametrize("to_file", [True, False])
@pytest.mark.parametrize("sort", [True, False])
def test_rows_come_in_the_order_that_was_asked_for(
    tmp_path: Path,
    write_results: Write,
    paths_of: PathsOf,
    mixed: list[Prediction],
    result_format: str,
    *,
    to_file: bool,
    sort: bool,
) -> None:
    data = write_results(result_format, mixed, tmp_path / "out" if to_file else None, sort=sort)
    assert paths_of(result_format, data) == (IN_ORDER if sort else [row.path for row in mixed])
    assert [entry.name for entry in tmp_path.iterdir()] == (["out"] if to_file else [])


def test_json_is_one_document(tmp_path: Path, write_results: Write, mixed: list[Prediction]) -> None:
    document = json.loads(write_results("json", mixed, tmp_path / "out.json"))
    assert list(document) == ["schema", "generator", "records"]
    assert document["schema"] == 1
    assert document["generator"] == f"edgebrain {__version__}"
    assert document["records"] == [json.loads(to_json(row)) for row in mixed]


def test_jsonl_rows_are_records(tmp_path: Path, write_results: Write, mixed: list[Prediction]) -> None:
    lines = write_results("jsonl", mixed, tmp_path / "out").decode().splitlines()
    assert lines == [to_json(row) for row in mixed]
    assert [to_json(from_json(line)) for line in lines] == lines


@pytest.mark.parametrize("sort", [True, False])
def test_a_run_without_scans_is_a_valid_result(
    tmp_path: Path, write_results: Write, labels: tuple[str, ...], *, sort: bool
) -> None:
    assert json.loads(write_results("json", [], tmp_path / "json", sort=sort))["records"] == []
    assert write_results("jsonl", [], tmp_path / "jsonl", sort=sort) == b""
    assert write_results("csv", [], tmp_path / "csv", sort=sort) == csv_rows.header(labels)
    assert b"0 scans." in write_results("table", [], tmp_path / "table", sort=sort)


@row_formats
def test_each_row_is_one_write_and_at_once_in_the_file(
    tmp_path: Path,
    paths_of: PathsOf,
    mixed: list[Prediction],
    labels: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    *,
    result_format: str,
) -> None:
    writes: list[int] = []
    real = os.write

    def counted(file: int, data: bytes) -> int:
        writes.append(len(data))
        return real(file, data)

    monkeypatch.setattr(os, "write", counted)
    out = tmp_path / "out"
    with open_writer(result_format, out, labels=labels) as writer:
        for number, row in enumerate(mixed, 1):
            writer.write(row)
            assert paths_of(result_format, out.read_bytes()) == [done.path for done in mixed[:number]]
    assert len(writes) == len(mixed)


@pytest.mark.parametrize("result_format", ["jsonl", "csv", "json"])
def test_memory_does_not_grow_with_the_rows(
    tmp_path: Path, answer: Answer, labels: tuple[str, ...], result_format: str
) -> None:
    with open_writer(result_format, tmp_path / "out", labels=labels) as writer:
        for k in range(200):
            writer.write(answer(f"{k}.png"))
        tracemalloc.start()
        try:
            for k in range(2000):
                writer.write(answer(f"{k}.png"))
            grown, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert grown < 16_000  # 8 bytes a row


@row_formats
@pytest.mark.parametrize("stop", [KeyboardInterrupt, EdgebrainError])
@pytest.mark.parametrize("sort", [True, False])
def test_rows_stay_when_a_run_is_stopped(
    tmp_path: Path,
    paths_of: PathsOf,
    mixed: list[Prediction],
    labels: tuple[str, ...],
    *,
    result_format: str,
    stop: type[BaseException],
    sort: bool,
) -> None:
    out = tmp_path / "out"
    with pytest.raises(stop), open_writer(result_format, out, labels=labels, sort=sort) as writer:  # noqa: PT012 - two steps are the case
        for row in mixed:
            writer.write(row)
        raise stop("stopped")
    assert paths_of(result_format, out.read_bytes()) == [row.path for row in mixed]


@whole_formats
@pytest.mark.parametrize("sort", [True, False])
def test_no_half_document_appears_when_a_run_is_stopped(
    tmp_path: Path, mixed: list[Prediction], result_format: str, *, sort: bool
) -> None:
    out = tmp_path / "out"
    out.write_text("old")
    with (  # noqa: PT012 - two steps are the case
        pytest.raises(KeyboardInterrupt),
        open_writer(result_format, out, overwrite=True, sort=sort) as writer,
    ):
        writer.write(mixed[0])
        raise KeyboardInterrupt
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]
    assert out.read_text() == "old"


@row_formats
def test_sorted_rows_on_standard_output_are_not_lost_when_a_run_is_stopped(
    paths_of: PathsOf, mixed: list[Prediction], labels: tuple[str, ...], result_format: str
) -> None:
    shown = io.BytesIO()
    with (  # noqa: PT012 - two steps are the case
        pytest.raises(KeyboardInterrupt),
        open_writer(result_format, sort=True, labels=labels, stdout=shown) as writer,
    ):
        for row in mixed:
            writer.write(row)
        raise KeyboardInterrupt
    assert paths_of(result_format, shown.getvalue()) == IN_ORDER


def test_a_stopped_json_document_on_standard_output_is_not_closed(mixed: list[Prediction]) -> None:
    shown = io.BytesIO()
    with (  # noqa: PT012 - two steps are the case
        pytest.raises(KeyboardInterrupt),
        open_writer("json", stdout=shown) as writer,
    ):
        writer.write(mixed[0])
        raise KeyboardInterrupt
    with pytest.raises(json.JSONDecodeError):
        json.loads(shown.getvalue())


@row_formats
def test_a_full_disk_keeps_the_rows_and_the_run_can_go_on(
    tmp_path: Path, write_results: Write, mixed: list[Prediction], labels: tuple[str, ...], result_format: str
) -> None:
    out = tmp_path / "out"
    whole = write_results(result_format, mixed, tmp_path / "whole")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.raises(EdgebrainError, match=r"Cannot go on writing to .*out: .*--resume"):  # noqa: PT012 - a limit has to be undone
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) - 100, hard))  # the last row fits in part only
        try:
            write_results(result_format, mixed, out)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert out.read_bytes() == whole[:-100]
    with open_writer(result_format, out, resume=True, labels=labels) as writer:
        assert writer.resumed is not None
        assert writer.resumed.count == len(mixed) - 1
        writer.write(mixed[-1])
    assert out.read_bytes() == whole


def _no_space(*_: object) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@whole_formats
def test_a_full_disk_leaves_no_half_document(
    tmp_path: Path, write_results: Write, mixed: list[Prediction], result_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "write", _no_space)
    with pytest.raises(EdgebrainError, match=r"out: No space left on device\. Make room"):
        write_results(result_format, mixed, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@row_formats
def test_no_room_for_sorting_leaves_the_rows_unsorted(
    tmp_path: Path, write_results: Write, mixed: list[Prediction], result_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    data = write_results(result_format, mixed, out)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", _no_space)
        with pytest.raises(EdgebrainError, match="out: No space left on device"):
            sort_file(out, "jsonl" if result_format == "jsonl" else "csv")
    assert out.read_bytes() == data
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]
