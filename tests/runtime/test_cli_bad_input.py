"""``edgebrain classify`` on scans that are bad in every way: each is one row, and the rest is done."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from edgebrain.cli.app import run
from edgebrain.phantom import SAMPLES, draw_phantom, sample_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Classify = Callable[..., tuple[int, list[dict[str, Any]]]]
    MakeBytes = Callable[..., bytes]
    RowsOf = Callable[[Path], list[dict[str, Any]]]


@pytest.fixture
def bad(tmp_path: Path, png_bytes: MakeBytes, tiff_bytes: MakeBytes) -> dict[str, Path]:
    """One file for every way in which a scan can be bad; each must cost one row."""
    folder = tmp_path / "bad"
    folder.mkdir()
    scan = draw_phantom(SAMPLES[2])
    png = cv2.imencode(".png", scan)[1].tobytes()
    jpeg = cv2.imencode(".jpg", scan)[1].tobytes()
    not_finite = scan.astype(np.float32)
    not_finite[5, 5] = np.nan
    contents = {
        "empty.png": b"",
        "truncated.png": png[: len(png) // 2],
        "truncated.jpg": jpeg[: len(jpeg) // 2],
        "text.png": b"Dear colleague, the scan is attached.",
        "one-pixel.png": cv2.imencode(".png", np.zeros((1, 1), np.uint8))[1].tobytes(),
        "black.png": cv2.imencode(".png", np.zeros((200, 200), np.uint8))[1].tobytes(),
        "white.png": cv2.imencode(".png", np.full((200, 200), 255, np.uint8))[1].tobytes(),
        "bomb.png": png_bytes((30_000, 30_000, 8, 0), bytes(1000)),
        "nan.tif": tiff_bytes(not_finite),
        "constant16.png": cv2.imencode(".png", np.full((200, 200), 777, np.uint16))[1].tobytes(),
    }
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    (folder / "broken-link.png").symlink_to("nowhere.png")
    os.mkfifo(folder / "fifo.png")
    return {path.name: path for path in folder.iterdir()}


CODES = {
    "empty.png": "unreadable_scan",
    "truncated.png": "unreadable_scan",
    "truncated.jpg": "unreadable_scan",
    "text.png": "unreadable_scan",
    "one-pixel.png": "unsupported_scan",
    "black.png": "unsupported_scan",
    "white.png": "unsupported_scan",
    "bomb.png": "scan_too_large",
    "nan.tif": "unsupported_scan",
    "constant16.png": "unsupported_scan",
    "broken-link.png": "unreadable_scan",
    "fifo.png": "unreadable_scan",
}


def test_every_bad_file_is_one_row_and_the_rest_is_done(
    scans: Path, bad: dict[str, Path], tmp_path: Path, rows_of: RowsOf
) -> None:
    good = scans / sample_name(SAMPLES[0])
    names = sorted(bad)
    arguments = [str(p) for name in names for p in (bad[name], good)]
    output = tmp_path / "out.jsonl"
    assert run(["classify", *arguments, "--format", "jsonl", "--output", str(output)]) == 1
    rows = rows_of(output)
    assert [row["path"] for row in rows] == arguments
    assert {name: row["error"]["code"] for name, row in zip(names, rows[::2], strict=True)} == CODES
    assert all(name in row["error"]["message"] for name, row in zip(names, rows[::2], strict=True))
    assert {row["status"] for row in rows[1::2]} == {"ok"}


def test_fail_fast_stops_after_the_first_failure(
    scans: Path, bad: dict[str, Path], tmp_path: Path, rows_of: RowsOf
) -> None:
    output = tmp_path / "out.jsonl"
    arguments = [str(bad["empty.png"]), str(scans), "-f", "jsonl", "-o", str(output), "--fail-fast"]
    assert run(["classify", *arguments]) == 1
    assert len(rows_of(output)) == 1


def test_unreadable_permission_is_one_row(scans: Path, tmp_path: Path, classify: Classify) -> None:
    locked = scans / sample_name(SAMPLES[0])
    locked.chmod(0)
    if os.access(locked, os.R_OK):
        pytest.skip("this user may read everything")
    code, rows = classify(scans, tmp_path / "out.jsonl")
    assert code == 1
    assert [row["status"] for row in rows] == ["error", *["ok"] * (len(SAMPLES) - 1)]


def test_folder_without_scans_and_socket_are_rows(tmp_path: Path, scans: Path, rows_of: RowsOf) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s.png"))
        output = tmp_path / "out.jsonl"
        sources = [str(empty), str(tmp_path / "s.png"), str(scans)]
        assert run(["classify", *sources, "-f", "jsonl", "-o", str(output)]) == 1
    rows = rows_of(output)
    assert [row["status"] for row in rows] == ["error", "error", *["ok"] * len(SAMPLES)]


def test_names_with_escapes_and_broken_utf8_survive(tmp_path: Path, classify: Classify) -> None:
    folder = tmp_path / "names"
    folder.mkdir()
    data = cv2.imencode(".png", draw_phantom(SAMPLES[0]))[1].tobytes()
    names = [b"\xff\xfe.png", b"line\nbreak \x1b[31mred.png"]
    for name in names:
        (folder / os.fsdecode(name)).write_bytes(data)
    output = tmp_path / "out.jsonl"
    code, rows = classify(folder, output)
    assert code == 0
    assert {os.fsencode(row["path"]) for row in rows} == {bytes(folder) + b"/" + name for name in names}
    assert b"\x1b" not in output.read_bytes()


def test_table_shows_no_escape_from_a_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "\x1b[2Jx.png").write_bytes(b"")
    assert run(["classify", str(tmp_path)]) == 1
    assert "\x1b" not in capsys.readouterr().out


def test_colour_picture_is_not_assessed(tmp_path: Path, classify: Classify) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (120, 120, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "photo.png"), photo)
    code, rows = classify(tmp_path / "photo.png", tmp_path / "out.jsonl")
    assert code == 0
    assert rows[0]["triage"] == "cannot_assess"
