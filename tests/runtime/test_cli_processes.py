"""``edgebrain classify`` as a process: killed, interrupted, fed by a pipe, watching a folder, left by its reader."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from edgebrain.phantom import SAMPLES, sample_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    RowsOf = Callable[[Path], list[dict[str, Any]]]

COMMAND = [sys.executable, "-m", "edgebrain", "classify"]


def test_resume_after_kill_loses_and_repeats_nothing(scans: Path, tmp_path: Path, rows_of: RowsOf) -> None:
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


def test_interrupt_leaves_complete_rows(scans: Path, tmp_path: Path, rows_of: RowsOf) -> None:
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


def test_list_on_standard_input(scans: Path, tmp_path: Path, rows_of: RowsOf) -> None:
    output = tmp_path / "out.jsonl"
    names = b"\0".join(os.fsencode(p) for p in sorted(scans.iterdir()))
    command = [*COMMAND, "-", "-f", "jsonl", "-o", str(output)]
    assert subprocess.run(command, input=names, check=False).returncode == 0
    assert [row["path"] for row in rows_of(output)] == sorted(str(p) for p in scans.iterdir())


def wait_for_rows(output: Path, count: int) -> None:
    deadline = time.monotonic() + 60
    while not output.exists() or output.read_bytes().count(b"\n") < count:
        assert time.monotonic() < deadline, f"row {count} did not come within a minute"
        time.sleep(0.05)


def test_watch_classifies_what_is_there_and_what_arrives(scans: Path, tmp_path: Path, rows_of: RowsOf) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    there, arriving = inbox / "b.png", inbox / "a.png"
    shutil.copyfile(scans / sample_name(SAMPLES[0]), there)
    output = tmp_path / "out.jsonl"
    command = [*COMMAND, "--watch", str(inbox), "-f", "jsonl", "-o", str(output)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for_rows(output, 1)
            shutil.copyfile(scans / sample_name(SAMPLES[1]), arriving)
            wait_for_rows(output, 2)
        finally:
            process.send_signal(signal.SIGINT)
    assert process.returncode == 130
    assert [row["path"] for row in rows_of(output)] == [str(there), str(arriving)]


def test_reader_of_standard_output_may_go(scans: Path) -> None:
    command = f"{sys.executable} -m edgebrain classify {scans} -f jsonl | head -c 10"
    done = subprocess.run(["bash", "-c", command], capture_output=True, check=False)
    assert b"Traceback" not in done.stderr
    assert len(done.stdout) == 10
