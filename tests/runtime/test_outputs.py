"""Links, pipes and second runs: what a file that is written does to what is there."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from edgebrain.errors import UsageError
from edgebrain.outputs import GrowingFile, WholeFile, write_whole


def test_a_link_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_text("old")
    real.chmod(0o640)
    link.symlink_to(real)
    write_whole(link, b"new")
    assert link.is_symlink()
    assert real.read_bytes() == b"new"
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert {entry.name for entry in tmp_path.iterdir()} == {"real", "link"}


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()), daemon=True)
    reader.start()
    write_whole(pipe, b"x" * 100_000)
    reader.join(timeout=30)
    assert read == [b"x" * 100_000]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder"):
        write_whole(tmp_path, b"")


@pytest.mark.parametrize("written", [False, True])
def test_a_second_run_may_not_replace_rows_that_are_being_replaced(tmp_path: Path, *, written: bool) -> None:
    path = tmp_path / "rows"
    path.write_bytes(b"old")
    first = GrowingFile(path, replace=True)
    if written:
        first.write(b"first")
    with pytest.raises(UsageError, match="Another run is writing"):
        GrowingFile(path, replace=True)
    first.commit()
    second = GrowingFile(path, replace=True)
    second.write(b"second")
    second.commit()
    assert path.read_bytes() == b"second"


def test_a_second_run_may_not_replace_a_document_that_is_being_replaced(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    path.write_bytes(b"old")
    first = WholeFile(path)
    with pytest.raises(UsageError, match="Another run is writing"):
        WholeFile(path)
    first.abort()
    second = WholeFile(path)
    second.write(b"second")
    second.commit()
    assert path.read_bytes() == b"second"
    assert list(tmp_path.iterdir()) == [path]


def test_of_two_runs_with_a_new_document_the_slower_one_is_told(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    first, second = WholeFile(path), WholeFile(path)
    first.write(b"first")
    second.write(b"second")
    first.commit()
    with pytest.raises(UsageError, match="in the meantime"):
        second.commit()
    second.abort()
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


def test_rows_that_came_since_the_file_was_read_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    path.write_bytes(b"one\ntwo\n")
    with pytest.raises(UsageError, match="in the meantime"):
        GrowingFile(path, size=4)
    assert path.read_bytes() == b"one\ntwo\n"
    GrowingFile(path, size=8).commit()


def test_the_file_under_the_name_is_the_one_that_is_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows"
    path.write_bytes(b"old")
    real_open = os.open
    replaced: list[str | Path] = []

    def slow_open(name: str | Path, flags: int, mode: int = 0o777) -> int:
        file = real_open(name, flags, mode)
        if not replaced:  # another run puts its file in place between opening and locking
            replaced.append(name)
            (tmp_path / "other").write_bytes(b"other ")
            (tmp_path / "other").replace(path)
        return file

    monkeypatch.setattr(os, "open", slow_open)
    file = GrowingFile(path)
    file.write(b"mine")
    file.commit()
    assert path.read_bytes() == b"other mine"


def test_the_lock_is_held_until_the_finish_is_done(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    refused: list[str] = []

    def finish() -> None:
        with pytest.raises(UsageError, match="Another run is writing") as caught:
            GrowingFile(path)
        refused.append(str(caught.value))

    GrowingFile(path, finish=finish).commit()
    assert len(refused) == 1
    GrowingFile(path).abort()
