from __future__ import annotations

import csv
import os
import stat
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgebrain.errors import UsageError
from edgebrain.results.resume import Resume
from edgebrain.results.writers import open_writer
from edgebrain.types import ModelRef, Triage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from edgebrain.results.resume import RowFormat
    from edgebrain.types import Prediction

    Answer = Callable[..., Prediction]
    Failure = Callable[[str], Prediction]
    GoOn = Callable[..., None]

OTHER = ModelRef("edge", "2.0.0", "fp32", "c" * 64)
FORMATS: tuple[RowFormat, ...] = ("jsonl", "csv")
HOSTILE = "=a,\"b\n\udcff\x1b[31m;\r\n'.png"
both_formats = pytest.mark.parametrize("row_format", FORMATS)


@pytest.fixture
def go_on(answer: Answer, labels: tuple[str, ...]) -> GoOn:
    """Does what the command does: skips what is done, answers the rest."""

    def run(
        inputs: Sequence[str], frames: Mapping[str, int], out: Path, row_format: RowFormat, *, sort: bool = False
    ) -> None:
        with open_writer(row_format, out, resume=True, labels=labels, sort=sort) as writer:
            assert writer.resumed is not None
            for path, skip in writer.resumed.pending(inputs):
                for frame in range(frames.get(path, 1)):
                    if frame not in skip:
                        writer.write(answer(path, frame=frame))

    return run


@both_formats
def test_cut_at_any_byte_no_row_is_lost_and_none_doubled(
    tmp_path: Path, row_format: RowFormat, monkeypatch: pytest.MonkeyPatch, go_on: GoOn
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # a thousand runs; what is tested is not the disk
    out = tmp_path / f"rows.{row_format}"
    inputs, frames = [HOSTILE, "many.dcm"], {"many.dcm": 2}
    go_on(inputs, frames, out, row_format)
    whole = out.read_bytes()
    assert Resume.scan(out, row_format).count == 3
    for cut in range(len(whole) + 1):
        out.write_bytes(whole[:cut])
        go_on(inputs, frames, out, row_format)
        assert out.read_bytes() == whole, cut


@both_formats
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_repeated_cuts_with_repeated_inputs(
    tmp_path: Path, row_format: RowFormat, data: st.DataObject, go_on: GoOn
) -> None:
    out = tmp_path / f"rows.{row_format}"
    out.unlink(missing_ok=True)
    names = st.binary(min_size=1, max_size=6).filter(lambda raw: b"\0" not in raw).map(os.fsdecode)
    known = data.draw(st.lists(names, min_size=1, max_size=4, unique=True))
    frames = {name: data.draw(st.integers(1, 3)) for name in known}
    inputs = data.draw(st.lists(st.sampled_from(known), min_size=1, max_size=6))
    go_on(inputs, frames, out, row_format)
    whole = out.read_bytes()
    for _ in range(3):
        out.write_bytes(out.read_bytes()[: data.draw(st.integers(0, len(whole)))])
        # The process may be stopped again before it has come to the end.
        go_on(inputs[: data.draw(st.integers(0, len(inputs)))], frames, out, row_format)
    go_on(inputs, frames, out, row_format)
    assert out.read_bytes() == whole


@both_formats
def test_a_sorted_file_can_be_continued(tmp_path: Path, row_format: RowFormat, go_on: GoOn) -> None:
    out = tmp_path / "rows"
    frames = {"many.dcm": 3}
    go_on(["a.png", "many.dcm"], frames, out, row_format, sort=True)
    first = set(out.read_bytes().splitlines())
    go_on(["a.png", "many.dcm", "b.png"], frames, out, row_format, sort=True)
    rows = [(row.path, row.frame) for row in Resume.scan(out, row_format).rows()]
    assert sorted(rows) == [("a.png", 0), ("b.png", 0), ("many.dcm", 0), ("many.dcm", 1), ("many.dcm", 2)]
    assert first < set(out.read_bytes().splitlines())


@both_formats
def test_what_an_earlier_file_says(
    tmp_path: Path, row_format: RowFormat, answer: Answer, failure: Failure, labels: tuple[str, ...]
) -> None:
    out = tmp_path / "rows"
    with open_writer(row_format, out, labels=labels) as writer:
        for row in (failure("bad.png"), answer(HOSTILE), answer("deep.nii", frame=5), answer("deep.nii", frame=6)):
            writer.write(row)
    found = Resume.scan(out, row_format)
    assert (found.count, found.failed, found.model, found.size) == (4, 1, answer("a").model, out.stat().st_size)
    assert found.labels == (labels if row_format == "csv" else None)
    assert found.done("bad.png")
    assert found.done(HOSTILE)
    assert not found.done(HOSTILE, occurrence=2)
    assert not found.done("deep.nii")  # it may have a frame 7
    assert found.frames_done("deep.nii") == {5, 6}
    assert found.frames_done("new.png") == frozenset()
    assert list(found.pending(["new.png", HOSTILE, "deep.nii"])) == [("new.png", frozenset()), ("deep.nii", {5, 6})]
    rows = list(found.rows())
    assert [(row.path, row.frame, row.status) for row in rows[:2]] == [("bad.png", 0, "error"), (HOSTILE, 0, "ok")]
    assert (rows[1].triage, rows[1].tumor_probability, rows[1].model) == (Triage.PRIORITISE, 0.75, answer("a").model)
    assert (rows[0].triage, rows[0].model) == (None, None)


def test_a_path_named_twice_gets_its_rows_twice(tmp_path: Path, answer: Answer) -> None:
    out = tmp_path / "rows"
    with open_writer("jsonl", out) as writer:
        for row in (answer("twice.png"), answer("b.png")):
            writer.write(row)
    pending = list(Resume.scan(out, "jsonl").pending(["twice.png", "b.png", "twice.png", "c.png", "c.png"]))
    assert pending == [("b.png", {0}), ("twice.png", frozenset()), ("c.png", frozenset()), ("c.png", frozenset())]


@both_formats
@pytest.mark.parametrize("content", [None, b"", b"\0" * 300])
def test_nothing_to_go_on_from_is_a_new_run(
    tmp_path: Path, row_format: RowFormat, content: bytes | None, go_on: GoOn
) -> None:
    out = tmp_path / "rows"
    if content is not None:
        out.write_bytes(content)
    found = Resume.scan(out, row_format)
    assert (found.count, found.size, found.model) == (0, 0, None)
    go_on(["a.png"], {}, out, row_format)
    assert [row.path for row in Resume.scan(out, row_format).rows()] == ["a.png"]


@both_formats
def test_zeros_after_a_power_cut_are_cut_off(tmp_path: Path, row_format: RowFormat, go_on: GoOn) -> None:
    out = tmp_path / "rows"
    go_on(["a.png"], {}, out, row_format)
    whole = out.read_bytes()
    out.write_bytes(whole + b"\0" * 500)
    assert Resume.scan(out, row_format).count == 1
    assert out.read_bytes() == whole


FOREIGN = [
    b"hello",
    b"hello\n",
    b'{"a": 1}\n',
    b"path,frame\n1,2\n",
    b'"path","frame"\n"unclosed',
    b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
    b"x" * 3_000_000,
    b'"' + b"\n" * 3_000_000,
]


@both_formats
@pytest.mark.parametrize("content", FOREIGN, ids=range(len(FOREIGN)))
def test_a_file_that_is_not_ours_is_refused_and_not_changed(
    tmp_path: Path, row_format: RowFormat, content: bytes, labels: tuple[str, ...]
) -> None:
    out = tmp_path / "thesis.txt"
    out.write_bytes(content)
    with pytest.raises(UsageError, match=r"Cannot continue .*thesis\.txt"):
        open_writer(row_format, out, resume=True, labels=labels)
    assert out.read_bytes() == content


@both_formats
def test_a_foreign_row_in_the_middle_is_named(tmp_path: Path, row_format: RowFormat, go_on: GoOn) -> None:
    out = tmp_path / "rows"
    go_on(["a.png"], {}, out, row_format)
    out.write_bytes(out.read_bytes() + b"scribble\n")
    classified = out.read_bytes()
    number = 2 if row_format == "jsonl" else 3
    with pytest.raises(UsageError, match=f"row {number}: "):
        Resume.scan(out, row_format)
    assert out.read_bytes() == classified


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"ok"', b'"fine"'),
        (b'"prioritise"', b'"normal"'),
        (b"0.75,", b"much,"),
        (b",0,", b",-1,"),
        (b'"glioma",', b""),
    ],
)
def test_a_csv_row_with_other_values_is_refused(tmp_path: Path, old: bytes, new: bytes, go_on: GoOn) -> None:
    out = tmp_path / "rows"
    go_on(["a.png"], {}, out, "csv")
    header, row = out.read_bytes().splitlines(keepends=True)
    assert old in row
    out.write_bytes(header + row.replace(old, new))
    with pytest.raises(UsageError, match="row 2: "):
        Resume.scan(out, "csv")


@both_formats
def test_answers_of_two_models_never_share_a_file(
    tmp_path: Path, row_format: RowFormat, answer: Answer, failure: Failure, labels: tuple[str, ...]
) -> None:
    out = tmp_path / "rows"
    with open_writer(row_format, out, labels=labels) as writer:
        writer.write(failure("bad.png"))
    with open_writer(row_format, out, resume=True, labels=labels) as writer:
        assert writer.resumed is not None
        writer.resumed.check_model(OTHER)  # no answer yet: any model may go on
        writer.write(answer("a.png"))
    before = out.read_bytes()
    with pytest.raises(UsageError, match=r"edge 1\.0\.0 .*edge 2\.0\.0"):
        Resume.scan(out, row_format).check_model(OTHER)
    writer = open_writer(row_format, out, resume=True, labels=labels)
    with pytest.raises(UsageError, match=r"edge 1\.0\.0 .*edge 2\.0\.0"), writer:
        writer.write(replace(answer("b.png"), model=OTHER))
    assert out.read_bytes() == before
    mixed = tmp_path / "mixed"
    with open_writer(row_format, mixed, labels=labels) as writer:
        writer.write(answer("a.png"))
        writer.write(replace(answer("b.png"), model=OTHER))
    with pytest.raises(UsageError, match="holds rows of edge 1"):
        Resume.scan(mixed, row_format)


def test_columns_for_other_labels_are_refused(tmp_path: Path, go_on: GoOn) -> None:
    out = tmp_path / "rows.csv"
    go_on(["a.png"], {}, out, "csv")
    with pytest.raises(UsageError, match="columns for the labels glioma, no_tumor"):
        open_writer("csv", out, resume=True, labels=("cat", "dog"))


@both_formats
def test_a_file_that_another_run_writes_to_is_refused(
    tmp_path: Path, row_format: RowFormat, answer: Answer, labels: tuple[str, ...]
) -> None:
    out = tmp_path / "rows"
    with open_writer(row_format, out, labels=labels) as writer:
        writer.write(answer("a.png"))
        size = out.stat().st_size
        with pytest.raises(UsageError, match="Another run is writing"):
            open_writer(row_format, out, resume=True, labels=labels)
        with pytest.raises(UsageError, match="Another run is writing"):
            open_writer(row_format, out, overwrite=True, labels=labels)
        assert out.stat().st_size == size
    assert Resume.scan(out, row_format).count == 1


def test_a_folder_or_pipe_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no plain file"):
        Resume.scan(tmp_path, "jsonl")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(UsageError, match="no plain file"):
        Resume.scan(pipe, "jsonl")
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@both_formats
def test_a_path_with_a_nul_is_found_again(
    tmp_path: Path, row_format: RowFormat, answer: Answer, failure: Failure, labels: tuple[str, ...]
) -> None:
    out = tmp_path / "rows"
    with open_writer(row_format, out, labels=labels) as writer:
        writer.write(failure("a\0b"))
        writer.write(answer("c.png"))
    assert list(Resume.scan(out, row_format).pending(["a\0b", "c.png", "d.png"])) == [
        ("c.png", {0}),
        ("d.png", frozenset()),
    ]


@both_formats
def test_rows_survive_a_kill(tmp_path: Path, row_format: RowFormat, go_on: GoOn, labels: tuple[str, ...]) -> None:
    out = tmp_path / "rows"
    go_on(["a.png"], {}, out, row_format)
    script = tmp_path / "killed.py"
    script.write_text(
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from dataclasses import replace\n"
        "from edgebrain.results.writers import open_writer\n"
        "from edgebrain.types import Prediction, ErrorRef\n"
        "row = Prediction('x', 0, 'error', error=ErrorRef('unreadable_scan', 'gone'))\n"
        f"writer = open_writer({row_format!r}, Path(sys.argv[1]), resume=True, labels={labels!r})\n"
        "for k in range(5):\n"
        "    writer.write(replace(row, path=str(k)))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    env = os.environ | {"PYTHONPATH": os.pathsep.join(path or "." for path in sys.path)}
    killed = subprocess.run([sys.executable, str(script), str(out)], env=env, check=False)
    assert killed.returncode == -9
    assert [row.path for row in Resume.scan(out, row_format).rows()] == ["a.png", "0", "1", "2", "3", "4"]


def test_a_csv_file_from_before_the_outlier_score_keeps_its_columns(
    tmp_path: Path, answer: Answer, labels: tuple[str, ...]
) -> None:
    out = tmp_path / "rows.csv"
    with open_writer("csv", out, labels=labels) as writer:
        writer.write(answer("a.png"))
    assert b'"tumor_probability","outlier_score","triage"' in out.read_bytes()
    assert b',0.75,"","prioritise"' in out.read_bytes()
    old = out.read_bytes().replace(b'"outlier_score",', b"").replace(b',"","prioritise"', b',"prioritise"')
    out.write_bytes(old)
    for sort in (False, True):
        with open_writer("csv", out, resume=True, labels=labels, sort=sort) as writer:
            writer.write(replace(answer(f"{sort}.png"), outlier_score=0.25))
    rows = list(csv.DictReader(out.read_text(encoding="utf-8").splitlines(), strict=True))
    assert [(row["path"], row["triage"], row["error_message"]) for row in rows] == [
        (name, "prioritise", "") for name in ("a.png", "False.png", "True.png")
    ]
    assert all("outlier_score" not in row and None not in row for row in rows)
    assert Resume.scan(out, "csv").count == 3


def test_a_jsonl_file_from_before_the_outlier_score_goes_on(tmp_path: Path, answer: Answer) -> None:
    out = tmp_path / "rows.jsonl"
    with open_writer("jsonl", out) as writer:
        writer.write(answer("a.png"))
    out.write_bytes(out.read_bytes().replace(b'"outlier_score": null, ', b""))
    with open_writer("jsonl", out, resume=True) as writer:
        writer.write(replace(answer("b.png"), outlier_score=0.25))
    first, second = out.read_text(encoding="utf-8").splitlines()
    assert "outlier_score" not in first
    assert '"outlier_score": 0.25' in second
    assert Resume.scan(out, "jsonl").count == 2
