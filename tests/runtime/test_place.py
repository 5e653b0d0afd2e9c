"""Which places a bundle may take, and what becomes of what is there."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from edgebrain.bundle import Bundle, open_bundle
from edgebrain.errors import InvalidManifest, UsageError
from edgebrain.place import check_output, replacing


def manifest(folder: Path, text: str | None = None) -> Path:
    """A folder with the least that passes for a bundle."""
    folder.mkdir(parents=True)
    least = {"schema_version": 1, "artifacts": [{"file": "model.onnx"}], "golden": {"file": "golden.npz"}}
    (folder / "manifest.json").write_text(json.dumps(least) if text is None else text, encoding="utf-8")
    return folder


def test_every_file_of_a_bundle_may_go(tmp_path: Path) -> None:
    output = manifest(tmp_path / "b")
    for name in ("model.onnx", "golden.npz", "MODEL_CARD.md", "CHANGELOG.md", "export_report.json"):
        (output / name).touch()
    check_output(output)
    check_output(open_bundle("edge").folder)


@pytest.mark.parametrize(
    "text", ["{}", "[]", "no json", '{"schema_version": "3", "artifacts": []}', '{"schema_version": 3}']
)
def test_the_manifest_of_something_else_is_no_bundle(tmp_path: Path, text: str) -> None:
    output = manifest(tmp_path / "extension", text)
    with pytest.raises(UsageError, match="is no bundle"):
        check_output(output)


@pytest.mark.parametrize("name", ["thesis.tex", ".git", "model.int8.onnx"])
def test_a_file_that_the_manifest_does_not_name_is_not_deleted(tmp_path: Path, name: str) -> None:
    output = manifest(tmp_path / "b")
    (output / name).touch()
    with pytest.raises(UsageError, match=f"holds {name}"):
        check_output(output)


def test_a_folder_or_link_with_the_name_of_a_file_is_not_deleted(tmp_path: Path) -> None:
    output = manifest(tmp_path / "b")
    (output / "CHANGELOG.md").symlink_to(tmp_path / "history.md")
    with pytest.raises(UsageError, match=r"holds CHANGELOG\.md"):
        check_output(output)
    (output / "CHANGELOG.md").unlink()
    (output / "model.onnx").mkdir()
    with pytest.raises(UsageError, match=r"holds model\.onnx"):
        check_output(output)


def test_a_link_stays_one_and_its_folder_is_replaced(tmp_path: Path) -> None:
    target = manifest(tmp_path / "disk" / "b")
    link = tmp_path / "link"
    link.symlink_to(target)
    check_output(link)
    with replacing(link) as folder:
        (folder / "new").touch()
    assert link.readlink() == target
    assert [p.name for p in target.iterdir()] == ["new"]
    assert [p.name for p in target.parent.iterdir()] == ["b"]


def test_the_current_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = tmp_path / "a"
    inner.mkdir()
    monkeypatch.chdir(inner)
    for name in (".", "../a", str(inner)):
        with pytest.raises(UsageError, match="current folder"):
            check_output(Path(name))


def test_a_mount_point_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path) == tmp_path)
    with pytest.raises(UsageError, match="mount point"):
        check_output(tmp_path)


def test_texts_are_read_from_regular_files_of_a_sane_size(tmp_path: Path) -> None:
    bundle = Bundle(tmp_path, open_bundle("edge").manifest)
    (tmp_path / "secret").write_text("secret", encoding="utf-8")
    (tmp_path / "CHANGELOG.md").symlink_to("secret")
    with pytest.raises(InvalidManifest, match="symbolic link"):
        bundle.read_text("CHANGELOG.md")
    with (tmp_path / "MODEL_CARD.md").open("wb") as file:
        file.truncate((1 << 20) + 1)
    with pytest.raises(InvalidManifest, match="at most 1 MiB"):
        bundle.read_text("MODEL_CARD.md")
    (tmp_path / "export_report.md").write_text("one\r\ntwo\n", encoding="utf-8", newline="")
    assert bundle.read_text("export_report.md") == "one\r\ntwo\n"
