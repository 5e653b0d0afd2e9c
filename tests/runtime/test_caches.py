"""The caches of compiled models, and ``edgebrain cache``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgebrain.caches import cache_files, cache_home, clear_cache, private_folder
from edgebrain.cli.app import run
from edgebrain.errors import EdgebrainError


@pytest.fixture(autouse=True)
def cache_home_of_this_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEBRAIN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_folder_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_home() == tmp_path / "cache"
    monkeypatch.delenv("EDGEBRAIN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_home() == tmp_path / "xdg" / "edgebrain"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative, which the specification tells to ignore")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_home() == tmp_path / ".cache" / "edgebrain"


def test_a_folder_is_made_for_its_user_alone() -> None:
    folder = private_folder("openvino")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert private_folder("openvino") == folder


@pytest.mark.parametrize("mode", [0o770, 0o702])
def test_a_folder_that_others_can_write_to_is_refused(mode: int) -> None:
    private_folder("openvino").chmod(mode)
    with pytest.raises(EdgebrainError, match="only you can write to"):
        private_folder("openvino")


def test_a_link_and_a_file_are_refused(tmp_path: Path) -> None:
    cache_home().mkdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (cache_home() / "openvino").symlink_to(tmp_path / "elsewhere")
    (cache_home() / "tensorrt").write_bytes(b"")
    for kind in ("openvino", "tensorrt"):
        with pytest.raises(EdgebrainError, match="cache folder"):
            private_folder(kind)


def test_clearing_deletes_what_is_listed_and_nothing_else(tmp_path: Path) -> None:
    keep = tmp_path / "keep"
    keep.write_bytes(b"12345")
    (private_folder("openvino") / "a.blob").write_bytes(b"123")
    (private_folder("tensorrt") / "b.engine").write_bytes(b"1")
    (private_folder("tensorrt") / "link").symlink_to(keep)
    assert [(f.kind, f.path.name, f.bytes) for f in cache_files()] == [
        ("openvino", "a.blob", 3),
        ("tensorrt", "b.engine", 1),
    ]
    assert [f.path.name for f in clear_cache("openvino")] == ["a.blob"]
    assert [f.path.name for f in cache_files()] == ["b.engine"]
    clear_cache()
    assert cache_files() == []
    assert keep.read_bytes() == b"12345"


def test_nothing_there_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert cache_files() == clear_cache() == []
    assert run(["cache", "list"]) == run(["cache", "clear"]) == 0
    assert capsys.readouterr().out == "0 files deleted, 0.00 MB\n"


def test_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    folder = private_folder("tensorrt")
    (folder / "a.engine").write_bytes(b"1" * 20_000)
    (folder / "b.engine").write_bytes(b"")
    key = {"precision": "int8", "device": "Orin", "tensorrt": "10.3.0", "target": "gpu"}
    (folder / "a.json").write_text(json.dumps({"key": key}), encoding="utf-8")
    assert run(["cache", "path"]) == run(["cache", "list", "--engine", "tensorrt"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{cache_home()}\n")
    assert "0.02 MB" in said
    assert "int8 for Orin, TensorRT 10.3.0, gpu" in said
    assert "not usable" in said
    assert run(["cache", "clear", "--engine", "openvino"]) == 0
    assert len(cache_files()) == 3
    assert run(["cache", "clear"]) == 0
    assert capsys.readouterr().out.endswith("3 files deleted, 0.02 MB\n")


def test_one_file_is_one_file(capsys: pytest.CaptureFixture[str]) -> None:
    (private_folder("tensorrt") / "a.engine").write_bytes(b"1")
    assert run(["cache", "clear"]) == 0
    assert capsys.readouterr().out == "1 file deleted, 0.00 MB\n"
