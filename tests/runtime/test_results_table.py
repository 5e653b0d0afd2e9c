"""Results as a table: in a file, on a terminal and in a pipe."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from edgebrain import outputs
from edgebrain.results.table import DISCLAIMER, TableWriter, percent, shorten

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from edgebrain.types import Prediction

    Answer = Callable[..., Prediction]
    Write = Callable[..., bytes]


def test_a_table_says_what_a_person_has_to_know(
    tmp_path: Path, write_results: Write, answer: Answer, mixed: list[Prediction]
) -> None:
    rows = [*mixed, answer("deep.nii", frame=0), answer("deep.nii", frame=1)]
    text = write_results("table", rows, tmp_path / "out").decode()
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
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_results: Write, answer: Answer
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    text = write_results("table", [answer("\x1b[31m[red]x[/red]\n\udcff:smile:.png")], tmp_path / "out").decode()
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
def test_a_table_fits_the_terminal(
    monkeypatch: pytest.MonkeyPatch, answer: Answer, failure: Answer, mixed: list[Prediction], columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "dumb")
    rows = [*mixed, answer("/very/long" * 40 + "/name.png"), failure("\u8133" * 90, "no " * 50)]
    text = _on_screen(_Screen(), rows, TableWriter.close)
    assert max(cell_len(line) for line in text.splitlines()) <= columns
    assert "name.png" in text
    assert "prioritise" in text
    assert "99.0 %" in text


def test_a_table_on_a_terminal_is_coloured_and_one_in_a_pipe_is_not(
    monkeypatch: pytest.MonkeyPatch, mixed: list[Prediction]
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    assert "\x1b[1;31mprioritise" in _on_screen(_Screen(), mixed, TableWriter.close)
    assert "\x1b" not in _on_screen(_Screen(terminal=False), mixed, TableWriter.close)


def test_a_table_is_plain_where_the_terminal_is_ascii(answer: Answer) -> None:
    text = _on_screen(_Screen("ascii", terminal=False), [answer("\xe9.png", 0.99)], TableWriter.close)
    assert "#####" in text
    assert "?" in text


def test_a_stopped_table_shows_what_was_done(mixed: list[Prediction]) -> None:
    text = _on_screen(_Screen(terminal=False), mixed, TableWriter.abort)
    assert "Stopped before the end." in text
    assert "6 scans" in text


def test_a_long_table_has_one_header(answer: Answer) -> None:
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
