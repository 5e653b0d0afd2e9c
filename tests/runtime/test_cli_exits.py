"""How the command ends: closed and full streams, signals, --debug."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest

from edgebrain.cli import exits
from edgebrain.cli.app import run
from edgebrain.errors import EdgebrainError, HashMismatch, UsageError
from edgebrain.phantom import SAMPLES, draw_phantom

COMMAND = [sys.executable, "-m", "edgebrain"]


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    path = tmp_path / "scans" / "scan.png"
    path.parent.mkdir()
    cv2.imwrite(str(path), draw_phantom(SAMPLES[0]))
    return path


def in_shell(script: str, *arguments: str | Path) -> tuple[int, str]:
    """Run a line of bash, in which "$@" is the command; give its exit code and what it complained."""
    command = [*COMMAND, *map(str, arguments)]
    done = subprocess.run(["bash", "-c", script, "bash", *command], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    return done.returncode, done.stderr


@pytest.mark.parametrize("result_format", ["table", "json", "jsonl", "csv"])
def test_closed_standard_output_is_one_error(scan: Path, result_format: str) -> None:
    code, complaint = in_shell('"$@" >&-', "classify", scan, "-f", result_format)
    assert code == 2
    assert complaint == "edgebrain: Standard output is closed. Name a file with --output.\n"


def test_all_closed_is_fine_where_nothing_is_printed(scan: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    code, _ = in_shell('"$@" <&- >&- 2>&-', "classify", scan, "-f", "jsonl", "-o", out)
    assert code == 0
    assert out.read_bytes().startswith(b'{"schema": ')
    assert out.read_bytes().count(b"\n") == 1


def test_closed_standard_error_keeps_the_exit_code() -> None:
    assert in_shell('"$@" 2>&-', "classify", "no-such-scan.png", "--model", "no-such-model")[0] == 2


def test_closed_standard_input_is_one_error() -> None:
    code, complaint = in_shell('"$@" <&-', "classify", "-")
    assert code == 2
    assert "Standard input is closed" in complaint


PRINTING = [["doctor"], ["doctor", "--json"], ["models", "show"], ["models", "card"], ["models", "list"], ["--version"]]


@pytest.mark.parametrize("arguments", PRINTING, ids=" ".join)
@pytest.mark.parametrize("script", ['"$@" >&-', 'ulimit -f 0; "$@" > full'], ids=["closed", "full"])
def test_what_cannot_be_printed_is_one_error(
    arguments: list[str], script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(exits.__file__).parents[2]))
    monkeypatch.chdir(tmp_path)
    code, complaint = in_shell(script, *arguments)
    if arguments == ["--version"] and "&-" in script:
        assert code in {0, 1}  # typer prints nothing where there is no output
        return
    assert code == 1
    assert complaint.startswith("edgebrain: cannot read or write: ")
    assert complaint.count("\n") == 1


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_characters_that_a_terminal_does_not_know_are_no_error(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    monkeypatch.setenv("COLUMNS", "60")  # so that tables are cut, with an ellipsis
    code, complaint = in_shell('"$@" >/dev/null', "doctor")
    assert (code, complaint) == (0, "")


@pytest.mark.parametrize("arguments", [["doctor"], ["models", "list"], ["models", "show"]], ids=" ".join)
def test_a_reader_that_has_gone_is_told_by_the_exit_code(arguments: list[str]) -> None:
    code, complaint = in_shell('set -o pipefail; "$@" | true', *arguments)
    assert (code, complaint) == (exits.EXIT_PIPE, "")


def test_standard_output_of_evaluate_and_phantom_that_cannot_be_written(
    scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "set.csv").write_text(f"path,label\n{scan},glioma\n", encoding="utf-8")
    code, complaint = in_shell('ulimit -f 0; "$@" > full', "evaluate", "set.csv", "--json")
    assert code == 1
    assert "edgebrain: cannot read or write: " in complaint
    code, complaint = in_shell('"$@" >&-', "phantom", "drawings")
    assert code == 1
    assert complaint.startswith("edgebrain: cannot read or write: ")


def test_termination_leaves_nothing_half_done(scan: Path, tmp_path: Path) -> None:
    for index in range(600):
        shutil.copyfile(scan, scan.with_name(f"copy-{index:04}.png"))
    out = tmp_path / "results" / "out.json"
    out.parent.mkdir()
    command = [*COMMAND, "classify", str(scan.parent), "-f", "json", "-o", str(out)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not any(file.stat().st_size for file in out.parent.iterdir()):
            time.sleep(0.005)
        process.terminate()
        _, complaint = process.communicate(timeout=60)
    assert process.returncode == exits.EXIT_TERMINATED == 128 + signal.SIGTERM
    assert complaint == "edgebrain: terminated; what was written so far is complete.\n"
    assert list(out.parent.iterdir()) == []


def test_importing_and_running_leave_signals_alone() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    assert run(["--version"]) == 0
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_library_may_turn_the_signal_into_its_own_error(
    number: signal.Signals, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)}

    def import_something() -> int:
        try:
            os.kill(os.getpid(), number)
            time.sleep(30)
        except KeyboardInterrupt as error:
            raise ImportError("cannot be imported") from error
        return 0

    try:
        exits.heed_signals()
        assert exits.guarded([], import_something) == code
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
    assert capsys.readouterr().err.count("\n") == 1
    assert exits.guarded([], lambda: 0) == 0


INTERRUPTED = """
import builtins, runpy, sys
real = builtins.__import__
def interrupted(name, *rest, **more):
    if name == "edgebrain.cli":
        raise KeyboardInterrupt
    return real(name, *rest, **more)
builtins.__import__ = interrupted
runpy.run_module("edgebrain", run_name="__main__")
"""


def test_interrupt_during_imports_is_quiet() -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (EdgebrainError("a"), 1),
        (UsageError("b"), 2),
        (HashMismatch("c"), 4),
        (KeyboardInterrupt(), 130),
        (OSError(28, os.strerror(28)), 1),
        (MemoryError(), 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_debug_adds_a_traceback_and_keeps_the_exit_code(
    error: BaseException, code: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exits, "_discard", lambda _: None)  # it would close the test's own output

    def fail() -> int:
        raise error

    assert exits.guarded([], fail) == code
    plain = capsys.readouterr().err
    assert exits.guarded(["--debug"], fail) == code
    debugged = capsys.readouterr().err
    assert plain.count("\n") == 1
    assert debugged.startswith("Traceback")
    assert debugged.endswith(plain)
