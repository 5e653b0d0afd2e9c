from __future__ import annotations

import csv
import errno
import io
import json
import os
import resource
import stat
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len

from edgebrain import __version__, outputs
from edgebrain.errors import EdgebrainError, UsageError
from edgebrain.results import csv_rows
from edgebrain.results.records import from_json, to_json
from edgebrain.results.sorting import sort_file
from edgebrain.results.table import DISCLAIMER, TableWriter, percent, shorten
from edgebrain.results.writers import FORMATS, ResultFormat, open_writer
from edgebrain.types import (
    EngineRef,
    ErrorRef,
    InputRef,
    Intensity,
    ModelRef,
    Prediction,
    Timing,
    Triage,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LABELS = ("glioma", "no_tumor")
MODEL = ModelRef("edge", "1.0.0", "int8", "a" * 64)
every_format = pytest.mark.parametrize("result_format", FORMATS)
row_formats = pytest.mark.parametrize("result_format", ["jsonl", "csv"])
whole_formats = pytest.mark.parametrize("result_format", ["json", "table"])


def answer(path: str, tumor: float = 0.75, triage: Triage | None = None, frame: int = 0) -> Prediction:
    return Prediction(
        path=path,
        frame=frame,
        status="ok",
        label="glioma" if tumor > 0.5 else "no_tumor",
        probabilities={"glioma": tumor, "no_tumor": 1 - tumor},
        tumor_probability=tumor,
        triage=triage or (Triage.PRIORITISE if tumor > 0.5 else Triage.STANDARD),
        reasons=("because", "of this"),
        model=MODEL,
        engine=EngineRef("ort", "CPUExecutionProvider", 2),
        input=InputRef("b" * 64, "png", 8, 9, Intensity("native")),
        timing_ms=Timing(1.0, 1.0, 1.0, 3.0),
        warnings=("small",),
    )


def failure(path: str, message: str = "it is cut short") -> Prediction:
    return Prediction(path=path, frame=0, status="error", error=ErrorRef("unreadable_scan", message))


MIXED = [
    answer("standard-low", 0.01),
    answer("unsure", 0.6, Triage.CANNOT_ASSESS),
    answer("first", 0.99),
    failure("broken"),
    answer("standard-high", 0.3),
    answer("second", 0.8),
]
IN_ORDER = ["first", "second", "unsure", "broken", "standard-high", "standard-low"]


def write(
    result_format: str, rows: Sequence[Prediction], out: Path | None, *, sort: bool = False, overwrite: bool = False
) -> bytes:
    shown = io.BytesIO()
    with open_writer(result_format, out, sort=sort, overwrite=overwrite, labels=LABELS, stdout=shown) as writer:
        for row in rows:
            writer.write(row)
    return shown.getvalue() if out is None else out.read_bytes()


def paths(result_format: str, data: bytes) -> list[str]:
    if result_format == "json":
        return [record["path"] for record in json.loads(data)["records"]]
    if result_format == "jsonl":
        return [json.loads(line)["path"] for line in data.splitlines()]
    if result_format == "csv":
        return [row[0] for row in csv.reader(io.StringIO(data.decode(), newline=""))][1:]
    table = data.decode().split("\n\n")[0].splitlines()
    return [line.split()[0] for line in table[1:]]


def test_the_formats_are_the_documented_ones() -> None:
    assert get_args(ResultFormat) == FORMATS
    text = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "records.md").read_text()
    assert all(f"| `{name}` |" in text for name in FORMATS)


@every_format
@pytest.mark.parametrize("to_file", [True, False])
@pytest.mark.parametrize("sort", [True, False])
def test_rows_come_in_the_order_that_was_asked_for(
    tmp_path: Path, result_format: str, *, to_file: bool, sort: bool
) -> None:
    data = write(result_format, MIXED, tmp_path / "out" if to_file else None, sort=sort)
    assert paths(result_format, data) == (IN_ORDER if sort else [row.path for row in MIXED])
    assert [entry.name for entry in tmp_path.iterdir()] == (["out"] if to_file else [])


def test_json_is_one_document(tmp_path: Path) -> None:
    document = json.loads(write("json", MIXED, tmp_path / "out.json"))
    assert list(document) == ["schema", "generator", "records"]
    assert document["schema"] == 1
    assert document["generator"] == f"edgebrain {__version__}"
    assert document["records"] == [json.loads(to_json(row)) for row in MIXED]


@pytest.mark.parametrize("sort", [True, False])
def test_a_run_without_scans_is_a_valid_result(tmp_path: Path, *, sort: bool) -> None:
    assert json.loads(write("json", [], tmp_path / "json", sort=sort))["records"] == []
    assert write("jsonl", [], tmp_path / "jsonl", sort=sort) == b""
    assert write("csv", [], tmp_path / "csv", sort=sort) == csv_rows.header(LABELS)
    assert b"0 scans." in write("table", [], tmp_path / "table", sort=sort)


def test_csv_has_the_documented_columns(tmp_path: Path) -> None:
    (row,) = csv.DictReader(io.StringIO(write("csv", [answer("a.png", 0.75)], tmp_path / "out").decode()))
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


def test_csv_refuses_a_label_that_has_no_column() -> None:
    with pytest.raises(ValueError, match="the columns are for"):
        csv_rows.row(replace(answer("a.png"), probabilities={"cat": 1.0}), LABELS)


@given(st.binary(max_size=30).filter(lambda raw: b"\0" not in raw).map(os.fsdecode) | st.sampled_from("=+-@\t\r'"))
@example("=HYPERLINK(1)")
@example("'=1")
@example("''")
@example("-2+3\n")
@example("\uff1d1")
@example('a;=1,"=2"\n=3')
def test_csv_text_is_never_a_formula_and_comes_back(text: str) -> None:
    row = csv_rows.row(replace(failure(text, message=text), reasons=(text,)), LABELS)
    header = csv_rows.parse(csv_rows.header(LABELS))
    cells = dict(zip(header, csv_rows.parse(row), strict=True))
    assert (cells["path"], cells["error_message"], cells["reasons"]) == (text, text, text)
    decoded = io.StringIO(row.decode("utf-8", "surrogateescape"), newline="")
    (raw_cells,) = csv.reader(decoded)
    assert not [cell for cell in raw_cells if cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d"))]


@given(st.text(alphabet=st.characters(exclude_categories=())))
def test_csv_takes_text_that_no_encoding_can_hold(text: str) -> None:
    row = csv_rows.row(failure(text), LABELS)
    assert b"\0" not in row
    assert csv_rows.parse(row)[0] == csv_rows.storable(text)


def test_csv_numbers_are_not_text(tmp_path: Path) -> None:
    row = replace(answer("a.png"), timing_ms=Timing(total=-1.5))
    assert b",-1.5," in write("csv", [row], tmp_path / "out")


def test_csv_on_a_terminal_sends_no_escapes() -> None:
    class Terminal(io.BytesIO):
        def isatty(self) -> bool:
            return True

    shown = Terminal()
    with open_writer("csv", labels=LABELS, stdout=shown) as writer:
        writer.write(answer("\x1b[31mred\u202e.png"))
    assert b"\\x1b[31mred\\u202e.png" in shown.getvalue()
    assert b"\x1b" not in shown.getvalue()


@row_formats
def test_each_row_is_one_write_and_at_once_in_the_file(
    tmp_path: Path, result_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes: list[int] = []
    real = os.write

    def counted(file: int, data: bytes) -> int:
        writes.append(len(data))
        return real(file, data)

    monkeypatch.setattr(os, "write", counted)
    out = tmp_path / "out"
    with open_writer(result_format, out, labels=LABELS) as writer:
        for number, row in enumerate(MIXED, 1):
            writer.write(row)
            assert paths(result_format, out.read_bytes()) == [done.path for done in MIXED[:number]]
    assert len(writes) == len(MIXED)


@row_formats
@pytest.mark.parametrize("stop", [KeyboardInterrupt, EdgebrainError])
@pytest.mark.parametrize("sort", [True, False])
def test_rows_stay_when_a_run_is_stopped(
    tmp_path: Path, result_format: str, stop: type[BaseException], *, sort: bool
) -> None:
    out = tmp_path / "out"
    with pytest.raises(stop), open_writer(result_format, out, labels=LABELS, sort=sort) as writer:  # noqa: PT012 - two steps are the case
        for row in MIXED:
            writer.write(row)
        raise stop("stopped")
    assert paths(result_format, out.read_bytes()) == [row.path for row in MIXED]


@whole_formats
@pytest.mark.parametrize("sort", [True, False])
def test_no_half_document_appears_when_a_run_is_stopped(tmp_path: Path, result_format: str, *, sort: bool) -> None:
    out = tmp_path / "out"
    out.write_text("old")
    with (  # noqa: PT012 - two steps are the case
        pytest.raises(KeyboardInterrupt),
        open_writer(result_format, out, overwrite=True, sort=sort) as writer,
    ):
        writer.write(MIXED[0])
        raise KeyboardInterrupt
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]
    assert out.read_text() == "old"


@row_formats
def test_sorted_rows_on_standard_output_are_not_lost_when_a_run_is_stopped(result_format: str) -> None:
    shown = io.BytesIO()
    with (  # noqa: PT012 - two steps are the case
        pytest.raises(KeyboardInterrupt),
        open_writer(result_format, sort=True, labels=LABELS, stdout=shown) as writer,
    ):
        for row in MIXED:
            writer.write(row)
        raise KeyboardInterrupt
    assert paths(result_format, shown.getvalue()) == IN_ORDER


def test_a_stopped_json_document_on_standard_output_is_not_closed() -> None:
    shown = io.BytesIO()
    with (  # noqa: PT012 - two steps are the case
        pytest.raises(KeyboardInterrupt),
        open_writer("json", stdout=shown) as writer,
    ):
        writer.write(MIXED[0])
        raise KeyboardInterrupt
    with pytest.raises(json.JSONDecodeError):
        json.loads(shown.getvalue())


@every_format
def test_a_file_that_exists_is_not_touched(tmp_path: Path, result_format: str) -> None:
    out = tmp_path / "out"
    out.write_text("precious")
    with pytest.raises(UsageError, match="exists already") as caught:
        open_writer(result_format, out, labels=LABELS)
    assert out.read_text() == "precious"
    assert "--overwrite" in str(caught.value)
    assert ("--resume" in str(caught.value)) == (result_format in {"jsonl", "csv"})


@every_format
def test_an_empty_file_may_be_filled(tmp_path: Path, result_format: str) -> None:
    out = tmp_path / "out"
    out.touch()
    assert paths(result_format, write(result_format, MIXED, out)) == [row.path for row in MIXED]


@every_format
@pytest.mark.parametrize("count", [0, 1])
def test_overwrite_replaces_the_file_and_keeps_link_and_mode(tmp_path: Path, result_format: str, count: int) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_text("old" * 5000)
    real.chmod(0o640)
    link.symlink_to(real)
    write(result_format, MIXED[:count], link, overwrite=True)
    assert link.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert "oldold" not in real.read_text()
    assert real.read_bytes() == write(result_format, MIXED[:count], None)
    assert {entry.name for entry in tmp_path.iterdir()} == {"real", "link"}


@row_formats
def test_overwrite_keeps_the_old_file_until_there_is_a_row(tmp_path: Path, result_format: str) -> None:
    out = tmp_path / "out"
    out.write_text("old")
    with (
        pytest.raises(RuntimeError, match="no model"),
        open_writer(result_format, out, overwrite=True, labels=LABELS),
    ):
        raise RuntimeError("no model")
    assert out.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


@every_format
def test_new_files_obey_the_umask(tmp_path: Path, result_format: str) -> None:
    before = os.umask(0o027)
    try:
        write(result_format, MIXED, tmp_path / "out")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o640


@every_format
def test_where_nothing_can_be_written_is_said_before_the_run(tmp_path: Path, result_format: str) -> None:
    with pytest.raises(UsageError, match="is a folder"):
        open_writer(result_format, tmp_path, labels=LABELS)
    with pytest.raises(UsageError, match="missing"):
        open_writer(result_format, tmp_path / "missing" / "out", labels=LABELS)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="Cannot write to"):
        open_writer(result_format, tmp_path / "file" / "out", labels=LABELS)


@pytest.mark.parametrize(
    ("result_format", "options", "message"),
    [
        ("xml", {}, "no format 'xml'"),
        ("jsonl", {"resume": True, "overwrite": True}, "contradict"),
        ("json", {"resume": True}, "needs rows in a file"),
        ("table", {"resume": True}, "needs rows in a file"),
        ("csv", {}, "labels of the model"),
    ],
)
def test_options_that_make_no_sense(tmp_path: Path, result_format: str, options: dict[str, bool], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        open_writer(result_format, tmp_path / "out", **options)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_resume_needs_a_file() -> None:
    with pytest.raises(UsageError, match="needs rows in a file"):
        open_writer("jsonl", resume=True)


@every_format
def test_a_device_is_written_to_and_never_replaced(result_format: str) -> None:
    null = Path("/dev/null")
    with open_writer(result_format, null, overwrite=True, labels=LABELS) as writer:
        writer.write(MIXED[0])
    assert stat.S_ISCHR(null.stat().st_mode)


@every_format
def test_a_full_device_is_an_error_that_names_it(result_format: str) -> None:
    with (
        pytest.raises(EdgebrainError, match=r"Cannot go on writing to /dev/full: No space left"),
        open_writer(result_format, Path("/dev/full"), labels=LABELS) as writer,
    ):
        writer.write(MIXED[0])


@row_formats
def test_a_full_disk_keeps_the_rows_and_the_run_can_go_on(tmp_path: Path, result_format: str) -> None:
    out = tmp_path / "out"
    whole = write(result_format, MIXED, tmp_path / "whole")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.raises(EdgebrainError, match=r"Cannot go on writing to .*out: .*--resume"):  # noqa: PT012 - a limit has to be undone
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) - 100, hard))  # the last row fits in part only
        try:
            write(result_format, MIXED, out)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert out.read_bytes() == whole[:-100]
    with open_writer(result_format, out, resume=True, labels=LABELS) as writer:
        assert writer.resumed is not None
        assert writer.resumed.count == len(MIXED) - 1
        writer.write(MIXED[-1])
    assert out.read_bytes() == whole


def _no_space(*_: object) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@whole_formats
def test_a_full_disk_leaves_no_half_document(
    tmp_path: Path, result_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "write", _no_space)
    with pytest.raises(EdgebrainError, match=r"out: No space left on device\. Make room"):
        write(result_format, MIXED, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@row_formats
def test_no_room_for_sorting_leaves_the_rows_unsorted(
    tmp_path: Path, result_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    data = write(result_format, MIXED, out)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", _no_space)
        with pytest.raises(EdgebrainError, match="out: No space left on device"):
            sort_file(out, "jsonl" if result_format == "jsonl" else "csv")
    assert out.read_bytes() == data
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


@every_format
def test_a_closed_pipe_is_passed_on_as_it_is(result_format: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with (
        os.fdopen(writing, "wb", buffering=0) as stdout,
        pytest.raises(BrokenPipeError),
        open_writer(result_format, labels=LABELS, stdout=stdout) as writer,
    ):
        writer.write(MIXED[0])


@pytest.mark.parametrize("result_format", ["jsonl", "csv", "json"])
def test_memory_does_not_grow_with_the_rows(tmp_path: Path, result_format: str) -> None:
    with open_writer(result_format, tmp_path / "out", labels=LABELS) as writer:
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


def test_closing_twice_is_closing_once(tmp_path: Path) -> None:
    writer = open_writer("json", tmp_path / "out")
    writer.write(MIXED[0])
    writer.close()
    writer.close()
    writer.abort()
    assert paths("json", (tmp_path / "out").read_bytes()) == [MIXED[0].path]


def test_a_table_says_what_a_person_has_to_know(tmp_path: Path) -> None:
    rows = [*MIXED, answer("deep.nii", frame=0), answer("deep.nii", frame=1)]
    text = write("table", rows, tmp_path / "out").decode()
    assert "8 scans: 4 prioritise, 1 cannot assess, 1 failed, 2 standard." in text
    assert text.rstrip().endswith(DISCLAIMER)
    assert "deep.nii #0" in text
    assert "deep.nii #1" in text
    lines = {line.split()[0]: line for line in text.splitlines() if line.strip()}
    assert "glioma?" in lines["unsure"]  # a guess about what could not be assessed looks like one
    assert "cannot assess" in lines["unsure"]
    assert "it is cut short" in lines["broken"]
    assert "99.0 %" in lines["first"]
    assert "because; of this; small" in lines["first"]
    assert "normal" not in text


def test_a_table_in_a_file_has_no_colour_and_no_escape_of_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    text = write("table", [answer("\x1b[31m[red]x[/red]\n\udcff:smile:.png")], tmp_path / "out").decode()
    assert "\x1b" not in text
    assert "\\x1b[31m[red]x[/red]\\n\\udcff:smile:.png" in text


class _Screen(io.TextIOWrapper):
    def __init__(self, encoding: str = "utf-8", *, terminal: bool = True) -> None:
        self.bytes = io.BytesIO()
        self._terminal = terminal
        super().__init__(self.bytes, encoding=encoding)

    def isatty(self) -> bool:
        return self._terminal


def _on_screen(screen: _Screen, rows: Sequence[Prediction], end: Callable[[TableWriter], None]) -> str:
    writer = TableWriter(outputs.Stream(screen.bytes, "screen"), terminal=screen)
    for row in rows:
        writer.write(row)
    end(writer)
    return screen.bytes.getvalue().decode(screen.encoding)


@pytest.mark.parametrize("columns", [80, 100, 160])
def test_a_table_fits_the_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "dumb")
    rows = [*MIXED, answer("/very/long" * 40 + "/name.png"), failure("\u8133" * 90, "no " * 50)]
    text = _on_screen(_Screen(), rows, TableWriter.close)
    assert max(cell_len(line) for line in text.splitlines()) <= columns
    assert "name.png" in text
    assert "prioritise" in text
    assert "99.0 %" in text


def test_a_table_on_a_terminal_is_coloured_and_one_in_a_pipe_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    assert "\x1b[1;31mprioritise" in _on_screen(_Screen(), MIXED, TableWriter.close)
    assert "\x1b" not in _on_screen(_Screen(terminal=False), MIXED, TableWriter.close)


def test_a_table_is_plain_where_the_terminal_is_ascii() -> None:
    text = _on_screen(_Screen("ascii", terminal=False), [answer("\xe9.png", 0.99)], TableWriter.close)
    assert "#####" in text
    assert "?" in text


def test_a_stopped_table_shows_what_was_done() -> None:
    text = _on_screen(_Screen(terminal=False), MIXED, TableWriter.abort)
    assert "Stopped before the end." in text
    assert "6 scans" in text


def test_a_long_table_has_one_header() -> None:
    text = _on_screen(_Screen(terminal=False), [answer(f"{k}.png") for k in range(450)], TableWriter.close)
    assert text.count("finding") == 1
    assert all(f"\n{k}.png " in text for k in range(450))


@given(st.text().filter(lambda text: "." not in text), st.integers(8, 60))
def test_shortened_paths_fit_and_keep_their_ends(text: str, width: int) -> None:
    short = shorten(text, width)
    assert cell_len(short) <= width
    if short != text:
        assert cell_len(text) > width
        head, tail = short.split("...", 1)
        assert text.startswith(head)
        assert text.endswith(tail)


@given(st.floats(0, 1))
def test_a_percentage_is_never_rounded_to_certainty(probability: float) -> None:
    text = percent(probability)
    assert (text == "100.0 %") == (probability == 1)
    assert (text == "0.0 %") == (probability == 0)
    assert len(text) <= 7


def test_jsonl_rows_are_records(tmp_path: Path) -> None:
    lines = write("jsonl", MIXED, tmp_path / "out").decode().splitlines()
    assert lines == [to_json(row) for row in MIXED]
    assert [to_json(from_json(line)) for line in lines] == lines
