"""Where results go: files that are there already, devices and pipes, and what is refused before a run."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edgebrain.errors import EdgebrainError, UsageError
from edgebrain.results.writers import FORMATS, open_writer

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgebrain.types import Prediction

    PathsOf = Callable[[str, bytes], list[str]]
    Write = Callable[..., bytes]

every_format = pytest.mark.parametrize("result_format", FORMATS)


@every_format
def test_a_file_that_exists_is_not_touched(tmp_path: Path, labels: tuple[str, ...], result_format: str) -> None:
    out = tmp_path / "out"
    out.write_text("precious")
    with pytest.raises(UsageError, match="exists already") as caught:
        open_writer(result_format, out, labels=labels)
    assert out.read_text() == "precious"
    assert "--overwrite" in str(caught.value)
    assert ("--resume" in str(caught.value)) == (result_format in {"jsonl", "csv"})


@every_format
def test_an_empty_file_may_be_filled(
    tmp_path: Path, write_results: Write, paths_of: PathsOf, mixed: list[Prediction], result_format: str
) -> None:
    out = tmp_path / "out"
    out.touch()
    assert paths_of(result_format, write_results(result_format, mixed, out)) == [row.path for row in mixed]


@every_format
@pytest.mark.parametrize("count", [0, 1])
def test_overwrite_replaces_the_file_and_keeps_link_and_mode(
    tmp_path: Path, write_results: Write, mixed: list[Prediction], result_format: str, count: int
) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_text("old" * 5000)
    real.chmod(0o640)
    link.symlink_to(real)
    write_results(result_format, mixed[:count], link, overwrite=True)
    assert link.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert "oldold" not in real.read_text()
    assert real.read_bytes() == write_results(result_format, mixed[:count], None)
    assert {entry.name for entry in tmp_path.iterdir()} == {"real", "link"}


@pytest.mark.parametrize("result_format", ["jsonl", "csv"])
def test_overwrite_keeps_the_old_file_until_there_is_a_row(
    tmp_path: Path, labels: tuple[str, ...], result_format: str
) -> None:
    out = tmp_path / "out"
    out.write_text("old")
    with (
        pytest.raises(RuntimeError, match="no model"),
        open_writer(result_format, out, overwrite=True, labels=labels),
    ):
        raise RuntimeError("no model")
    assert out.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


@every_format
def test_new_files_obey_the_umask(
    tmp_path: Path, write_results: Write, mixed: list[Prediction], result_format: str
) -> None:
    before = os.umask(0o027)
    try:
        write_results(result_format, mixed, tmp_path / "out")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o640


@every_format
def test_where_nothing_can_be_written_is_said_before_the_run(
    tmp_path: Path, labels: tuple[str, ...], result_format: str
) -> None:
    with pytest.raises(UsageError, match="is a folder"):
        open_writer(result_format, tmp_path, labels=labels)
    with pytest.raises(UsageError, match="missing"):
        open_writer(result_format, tmp_path / "missing" / "out", labels=labels)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="Cannot write to"):
        open_writer(result_format, tmp_path / "file" / "out", labels=labels)


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
def test_a_device_is_written_to_and_never_replaced(
    mixed: list[Prediction], labels: tuple[str, ...], result_format: str
) -> None:
    null = Path("/dev/null")
    with open_writer(result_format, null, overwrite=True, labels=labels) as writer:
        writer.write(mixed[0])
    assert stat.S_ISCHR(null.stat().st_mode)


@every_format
def test_a_full_device_is_an_error_that_names_it(
    mixed: list[Prediction], labels: tuple[str, ...], result_format: str
) -> None:
    with (
        pytest.raises(EdgebrainError, match=r"Cannot go on writing to /dev/full: No space left"),
        open_writer(result_format, Path("/dev/full"), labels=labels) as writer,
    ):
        writer.write(mixed[0])


@every_format
def test_a_closed_pipe_is_passed_on_as_it_is(
    mixed: list[Prediction], labels: tuple[str, ...], result_format: str
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with (
        os.fdopen(writing, "wb", buffering=0) as stdout,
        pytest.raises(BrokenPipeError),
        open_writer(result_format, labels=labels, stdout=stdout) as writer,
    ):
        writer.write(mixed[0])


def test_closing_twice_is_closing_once(tmp_path: Path, paths_of: PathsOf, mixed: list[Prediction]) -> None:
    writer = open_writer("json", tmp_path / "out")
    writer.write(mixed[0])
    writer.close()
    writer.close()
    writer.abort()
    assert paths_of("json", (tmp_path / "out").read_bytes()) == [mixed[0].path]
