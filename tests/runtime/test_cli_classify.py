"""``edgebrain classify`` as people use it: real files, the shipped model, exit codes and rows."""

from __future__ import annotations

import functools
import io
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import jsonschema
import numpy as np
import pytest

import edgebrain
from edgebrain import inputs
from edgebrain.cli.app import run
from edgebrain.phantom import SAMPLES, PhantomSpec, draw_phantom, sample_name

if TYPE_CHECKING:
    from collections.abc import Callable

    MakeBytes = Callable[..., bytes]

SCHEMA = Path(edgebrain.__file__).parent / "schemas" / "prediction.schema.json"
COMMAND = [sys.executable, "-m", "edgebrain", "classify"]


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    folder = tmp_path / "scans"
    folder.mkdir()
    for spec in SAMPLES:
        cv2.imwrite(str(folder / sample_name(spec)), draw_phantom(spec))
    return folder


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def classify(folder: Path | str, output: Path, *options: str) -> tuple[int, list[dict[str, Any]]]:
    code = run(["classify", str(folder), "--format", "jsonl", "--output", str(output), *options])
    return code, rows_of(output)


def test_folder_gives_a_valid_row_a_scan_in_order(scans: Path, tmp_path: Path) -> None:
    code, rows = classify(scans, tmp_path / "out.jsonl")
    assert code == 0
    assert [row["path"] for row in rows] == [str(scans / sample_name(spec)) for spec in SAMPLES]
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    for row in rows:
        jsonschema.validate(row, schema)
        assert row["engine"]["provider"] == "CPUExecutionProvider"
        assert sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-5)


def test_path_bytes_and_array_answer_alike(scans: Path) -> None:
    path = scans / sample_name(SAMPLES[2])
    classifier = edgebrain.Classifier.load("edge")
    answers = [
        classifier.classify(path).probabilities,
        classifier.classify(path.read_bytes()).probabilities,
        classifier.classify(draw_phantom(SAMPLES[2])).probabilities,
    ]
    assert answers[0] == answers[1] == answers[2]


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_batch_size_does_not_change_answers(scans: Path, tmp_path: Path, batch_size: int) -> None:
    _, first = classify(scans, tmp_path / "first.jsonl")
    _, other = classify(scans, tmp_path / "other.jsonl", "--batch-size", str(batch_size))
    for a, b in zip(first, other, strict=True):
        assert (a["label"], a["triage"]) == (b["label"], b["triage"])
        assert a["probabilities"] == pytest.approx(b["probabilities"], abs=2e-5)


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


def test_every_bad_file_is_one_row_and_the_rest_is_done(scans: Path, bad: dict[str, Path], tmp_path: Path) -> None:
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


def test_unreadable_permission_is_one_row(scans: Path, tmp_path: Path) -> None:
    locked = scans / sample_name(SAMPLES[0])
    locked.chmod(0)
    if os.access(locked, os.R_OK):
        pytest.skip("this user may read everything")
    code, rows = classify(scans, tmp_path / "out.jsonl")
    assert code == 1
    assert [row["status"] for row in rows] == ["error", *["ok"] * (len(SAMPLES) - 1)]


def test_folder_without_scans_and_socket_are_rows(tmp_path: Path, scans: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s.png"))
        output = tmp_path / "out.jsonl"
        sources = [str(empty), str(tmp_path / "s.png"), str(scans)]
        assert run(["classify", *sources, "-f", "jsonl", "-o", str(output)]) == 1
    rows = rows_of(output)
    assert [row["status"] for row in rows] == ["error", "error", *["ok"] * len(SAMPLES)]


def test_names_with_escapes_and_broken_utf8_survive(tmp_path: Path) -> None:
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


def test_colour_picture_is_not_assessed(tmp_path: Path) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (120, 120, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "photo.png"), photo)
    code, rows = classify(tmp_path / "photo.png", tmp_path / "out.jsonl")
    assert code == 0
    assert rows[0]["triage"] == "cannot_assess"


def test_sorted_result_puts_the_urgent_first(scans: Path, tmp_path: Path) -> None:
    code, rows = classify(scans, tmp_path / "out.jsonl", "--sort", "triage")
    assert code == 0
    order = ["prioritise", "cannot_assess", None, "standard"]
    places = [order.index(row["triage"]) for row in rows]
    assert places == sorted(places)
    assert {row["path"] for row in rows} == {str(p) for p in scans.iterdir()}


def test_resume_after_kill_loses_and_repeats_nothing(scans: Path, tmp_path: Path) -> None:
    # Real kills: the process is stopped with SIGKILL while it writes, again and again, until it is done.
    originals = sorted(scans.iterdir())
    for index in range(300):
        shutil.copyfile(originals[index % len(originals)], scans / f"copy-{index:04}.png")
    output = tmp_path / "out.jsonl"
    command = [*COMMAND, str(scans), "--format", "jsonl", "--output", str(output), "--resume", "--batch-size", "2"]
    kills = 0
    for at in (40, 150):
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
            while process.poll() is None:
                if output.exists() and output.read_bytes().count(b"\n") >= at:
                    process.kill()
                time.sleep(0.002)
        kills += process.returncode == -signal.SIGKILL
    assert kills >= 1, "no run was killed in the middle"
    assert output.read_bytes().count(b"\n") < len(originals) + 300
    assert subprocess.run(command, check=False).returncode == 0
    assert [row["path"] for row in rows_of(output)] == sorted(str(p) for p in scans.iterdir())


def test_interrupt_leaves_complete_rows(scans: Path, tmp_path: Path) -> None:
    original = scans / sample_name(SAMPLES[0])
    for index in range(400):
        shutil.copyfile(original, scans / f"copy-{index:04}.png")
    output = tmp_path / "out.jsonl"
    command = [*COMMAND, str(scans), "--format", "jsonl", "--output", str(output)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not (output.exists() and output.read_bytes().count(b"\n") >= 20):
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        _, complaint = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in complaint
    content = output.read_bytes()
    assert content.endswith(b"\n")
    assert len(rows_of(output)) >= 20


def test_resume_refuses_another_model_file(scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out.jsonl"
    classify(scans, output, "--precision", "int8")
    before = output.read_bytes()
    code, _ = classify(scans, output, "--precision", "fp32", "--resume")
    assert code == 2
    assert output.read_bytes() == before
    assert "int8" in capsys.readouterr().err


def test_resume_goes_on_inside_a_multi_page_file(tmp_path: Path, tiff_bytes: MakeBytes) -> None:
    pages = [draw_phantom(PhantomSpec(seed=s, side=64)) for s in range(5)]
    (tmp_path / "pages.tif").write_bytes(tiff_bytes(*pages))
    output = tmp_path / "out.jsonl"
    _, rows = classify(tmp_path / "pages.tif", output)
    assert [row["frame"] for row in rows] == list(range(5))
    output.write_bytes(b"".join(output.read_bytes().splitlines(keepends=True)[:2]))
    code, rows = classify(tmp_path / "pages.tif", output, "--resume")
    assert code == 0
    assert [row["frame"] for row in rows] == list(range(5))


def test_same_file_twice_survives_a_resume_between_the_two(scans: Path, tmp_path: Path) -> None:
    path = str(scans / sample_name(SAMPLES[0]))
    output = tmp_path / "out.jsonl"
    arguments = ["classify", path, path, "-f", "jsonl", "-o", str(output)]
    assert run(arguments) == 0
    output.write_bytes(output.read_bytes().splitlines(keepends=True)[0])
    assert run([*arguments, "--resume"]) == 0
    assert [row["path"] for row in rows_of(output)] == [path, path]


def test_list_on_standard_input(scans: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    names = b"\0".join(os.fsencode(p) for p in sorted(scans.iterdir()))
    command = [*COMMAND, "-", "-f", "jsonl", "-o", str(output)]
    assert subprocess.run(command, input=names, check=False).returncode == 0
    assert [row["path"] for row in rows_of(output)] == sorted(str(p) for p in scans.iterdir())


def list_on_stdin(monkeypatch: pytest.MonkeyPatch, stream: io.BytesIO | io.BufferedReader) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(stream))


def test_list_among_other_paths_stands_in_its_place(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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


def test_list_is_worked_on_as_it_comes_when_somebody_watches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    stream = Endless()
    list_on_stdin(monkeypatch, io.BufferedReader(stream))
    assert classify("-", tmp_path / "out.jsonl", "--fail-fast")[0] == 1
    assert stream.reads < 100


def watch_with(monkeypatch: pytest.MonkeyPatch, *changes: Callable[[], object]) -> None:
    """Watch without waiting: after each look comes one change, and Ctrl-C after the last."""
    left = list(changes)

    def sleep(_: float) -> None:
        if not left:
            raise KeyboardInterrupt
        left.pop(0)()

    monkeypatch.setattr(inputs, "watch", functools.partial(inputs.watch, sleep=sleep))


@pytest.mark.parametrize("output_format", ["jsonl", "csv"])
def test_watch_resumed_skips_what_is_done_but_nothing_that_comes(
    scans: Path, tmp_path: Path, output_format: str
) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    originals = sorted(scans.iterdir())
    for name in ("kept.png", "last.png", "reused.png", "rewritten.png"):
        shutil.copyfile(originals[0], inbox / name)
    output = tmp_path / "out"
    arguments = ["classify", "--watch", str(inbox), "-f", output_format, "-o", str(output), "--resume"]

    def nothing() -> None:
        pass

    def lines() -> list[bytes]:
        return [line for line in output.read_bytes().splitlines() if b"inbox" in line]

    with pytest.MonkeyPatch.context() as patch:
        watch_with(patch, nothing)
        assert run(arguments) == 130
    assert len(lines()) == 4
    with pytest.MonkeyPatch.context() as patch:
        reuse: list[Callable[[], object]] = [
            (inbox / "reused.png").unlink,
            lambda: shutil.copyfile(originals[1], inbox / "reused.png"),
        ]
        rewrite = [lambda: shutil.copyfile(originals[2], inbox / "rewritten.png")]
        arrive = [lambda: shutil.copyfile(originals[1], inbox / "new.png")]
        watch_with(patch, *(nothing, *reuse, nothing, *rewrite, nothing, *arrive, nothing))
        assert run(arguments) == 130
    names = ["reused.png", "rewritten.png", "new.png"]
    assert len(lines()) == 4 + len(names)
    assert all(name.encode() in line for name, line in zip(names, lines()[4:], strict=True))


def test_watch_classifies_what_arrives(scans: Path, tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    output = tmp_path / "out.jsonl"
    command = [*COMMAND, "--watch", str(inbox), "-f", "jsonl", "-o", str(output)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        shutil.copyfile(scans / sample_name(SAMPLES[0]), inbox / "a.png")
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not (output.exists() and output.read_bytes().count(b"\n")):
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
    assert process.returncode == 130
    assert [row["path"] for row in rows_of(output)] == [str(inbox / "a.png")]


def test_fail_fast_stops_after_the_first_failure(scans: Path, bad: dict[str, Path], tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    arguments = [str(bad["empty.png"]), str(scans), "-f", "jsonl", "-o", str(output), "--fail-fast"]
    assert run(["classify", *arguments]) == 1
    assert len(rows_of(output)) == 1


def test_reader_of_standard_output_may_go(scans: Path) -> None:
    command = f"{sys.executable} -m edgebrain classify {scans} -f jsonl | head -c 10"
    done = subprocess.run(["bash", "-c", command], capture_output=True, check=False)
    assert b"Traceback" not in done.stderr
    assert len(done.stdout) == 10


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ([], 2),
        (["classify"], 2),
        (["classify", "x.png", "--no-such-option"], 2),
        (["classify", "x.png", "--model", "no-such-model"], 2),
        (["classify", "x.png", "--engine", "no-such-engine"], 2),
        (["classify", "x.png", "--precision", "fp12"], 2),
        (["classify", "x.png", "--device", "cuda"], 3),
        (["classify", "x.png", "--precision", "fp16"], 3),
        (["classify", "x.png", "--resume"], 2),
        (["classify", "x.png", "--watch", "."], 2),
        (["classify", "x.png", "--threads", "0"], 2),
        (["classify", "x.png", "--threads", "65536"], 2),
        (["classify", "x.png"], 1),
        (["--version"], 0),
        (["classify", "--help"], 0),
    ],
)
def test_exit_codes(
    arguments: list[str], code: int, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == code
    assert "Traceback" not in capsys.readouterr().err


@pytest.fixture
def copied_bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    shutil.copytree(Path(edgebrain.__file__).parent / "bundles" / "edge", folder)
    for path in folder.iterdir():
        path.chmod(stat.S_IRUSR | stat.S_IWUSR)
    return folder


def test_tampered_bundle_is_refused(copied_bundle: Path, scans: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = copied_bundle / "model.int8.onnx"
    data = bytearray(model.read_bytes())
    data[len(data) // 2] ^= 1
    model.write_bytes(bytes(data))
    assert run(["classify", str(scans), "--model", str(copied_bundle), "--precision", "int8"]) == 4
    assert run(["models", "verify", str(copied_bundle)]) == 4
    assert "model.int8.onnx" in capsys.readouterr().err


def test_bundle_from_a_newer_schema_is_refused(
    copied_bundle: Path, scans: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = json.loads((copied_bundle / "manifest.json").read_text(encoding="utf-8"))
    manifest["schema_version"] = 99
    (copied_bundle / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    assert run(["classify", str(scans), "--model", str(copied_bundle)]) == 4
    assert "pip install --upgrade edgebrain" in capsys.readouterr().err
