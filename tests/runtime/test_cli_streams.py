"""``edgebrain classify -`` and ``--output -``: a list on standard input, rows on standard output."""

from __future__ import annotations

import io
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from edgebrain.cli.app import run
from edgebrain.phantom import SAMPLES, sample_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Classify = Callable[..., tuple[int, list[dict[str, Any]]]]
    RowsOf = Callable[[Path], list[dict[str, Any]]]


def list_on_stdin(monkeypatch: pytest.MonkeyPatch, stream: io.BytesIO | io.BufferedReader) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(stream))


def test_list_among_other_paths_stands_in_its_place(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows_of: RowsOf
) -> None:
    first, second, third, fourth = (str(path) for path in sorted(scans.iterdir())[:4])
    output = tmp_path / "out.jsonl"
    for form in (["-f", "jsonl"], ["-fjsonl"]):  # the short way, and typer
        list_on_stdin(monkeypatch, io.BytesIO(f"{fourth}\n{first}\n".encode()))
        assert run(["classify", third, "-", second, *form, "-o", str(output), "--overwrite"]) == 0
        assert [row["path"] for row in rows_of(output)] == [third, fourth, first, second]


def test_a_second_list_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["classify", "-", "a.png", "-"]) == 2
    assert "only once" in capsys.readouterr().err


class Endless(io.RawIOBase):
    """A list that another program goes on writing; nobody may wait for its end."""

    def __init__(self) -> None:
        self.reads = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self.reads += 1
        assert self.reads < 1000, "the list is read to its end before anything is done"
        name = b"missing.png\n"
        buffer[: len(name)] = name
        return len(name)


class Terminal(io.StringIO):
    """Somebody looks at it."""

    def isatty(self) -> bool:
        return True


def test_list_is_worked_on_as_it_comes_when_somebody_watches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, classify: Classify
) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    stream = Endless()
    list_on_stdin(monkeypatch, io.BufferedReader(stream))
    assert classify("-", tmp_path / "out.jsonl", "--fail-fast")[0] == 1
    assert stream.reads < 100


@pytest.mark.parametrize("options", [["-o", "-"], ["--output=-"], ["--output", "-"]])
def test_output_to_a_dash_is_standard_output(
    options: list[str],
    scans: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    monkeypatch.chdir(tmp_path)
    scan = str(scans / sample_name(SAMPLES[0]))
    assert run(["classify", scan, "-f", "jsonl", *options]) == 0
    assert json.loads(capfdbinary.readouterr().out)["path"] == scan
    assert not (tmp_path / "-").exists()
    assert run(["classify", scan, "-f", "jsonl", "--resume", *options]) == 2
