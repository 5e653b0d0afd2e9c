"""The files of a bundle: changed, missing, linked, or no files at all."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from edgebrain.bundle import MANIFEST, Artifact, HashedFile, Manifest, describe_file, open_bundle, write_manifest
from edgebrain.errors import HashMismatch, InvalidManifest
from edgebrain.types import Precision

MakeManifest = Callable[..., Manifest]

NO_ONNX = "the extra 'export' brings the onnx package"


def golden_of(folder: Path) -> HashedFile:
    entry = open_bundle(folder).manifest.golden
    assert entry is not None
    return entry


def test_a_changed_file_is_refused(bundle_folder: Path) -> None:
    entry = golden_of(bundle_folder)
    data = bytearray((bundle_folder / entry.file).read_bytes())
    data[50] ^= 1
    (bundle_folder / entry.file).write_bytes(data)
    with pytest.raises(HashMismatch, match=r"golden\.bin is not the file") as caught:
        open_bundle(bundle_folder).read(entry)
    assert caught.value.exit_code == 4


def test_another_size_is_refused_before_anything_is_hashed(
    bundle_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry, bundle = golden_of(bundle_folder), open_bundle(bundle_folder)
    with (bundle_folder / entry.file).open("ab") as file:
        file.write(b"more")
    monkeypatch.delattr(hashlib, "sha256")
    with pytest.raises(HashMismatch, match=rf"{entry.bytes + 4} bytes, expected {entry.bytes}"):
        bundle.read(entry)


def test_a_missing_file(bundle_folder: Path) -> None:
    golden = golden_of(bundle_folder)
    (bundle_folder / "golden.bin").unlink()
    with pytest.raises(InvalidManifest, match=r"golden\.bin cannot be read: No such file"):
        open_bundle(bundle_folder).read(golden)


@pytest.mark.parametrize("name", ["golden.bin", MANIFEST])
def test_a_linked_file_is_refused(bundle_folder: Path, name: str) -> None:
    entry = golden_of(bundle_folder)
    (bundle_folder / name).rename(bundle_folder / "elsewhere")
    (bundle_folder / name).symlink_to("elsewhere")
    with pytest.raises(InvalidManifest, match="is a symbolic link"):
        open_bundle(bundle_folder).read(entry)


@pytest.mark.parametrize("name", ["golden.bin", MANIFEST])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["pipe", "folder"])
def test_what_is_no_file_is_refused_without_waiting(
    bundle_folder: Path, name: str, make: Callable[[Path], None]
) -> None:
    entry = golden_of(bundle_folder)
    (bundle_folder / name).unlink()
    make(bundle_folder / name)
    before = open_handles()
    with pytest.raises(InvalidManifest, match="not a regular file"):
        open_bundle(bundle_folder).read(entry)
    assert open_handles() == before


def open_handles() -> int:
    kernel = Path("/proc/self/fd")
    return len(list(kernel.iterdir())) if kernel.is_dir() else 0


@pytest.mark.parametrize("name", ["model.onnx", "MODEL.ONNX", "model.bin"])
def test_a_graph_with_external_data_is_refused_whatever_it_is_called(
    tmp_path: Path, tiny_graph: bytes, make_manifest: MakeManifest, name: str
) -> None:
    onnx = pytest.importorskip("onnx", reason=NO_ONNX)
    path = tmp_path / name
    onnx.save_model(
        onnx.load_from_string(tiny_graph), path, save_as_external_data=True, location="weights.bin", size_threshold=0
    )
    file = describe_file(path)
    artifact = Artifact(file.file, "onnxruntime", Precision.FP32, file.sha256, file.bytes)
    write_manifest(tmp_path, make_manifest(artifacts=(artifact,)))
    with pytest.raises(InvalidManifest, match="external data"):
        open_bundle(tmp_path).read(artifact)


def test_a_file_of_the_right_hash_that_is_no_graph_is_called_so(tmp_path: Path, make_manifest: MakeManifest) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"no graph at all")
    file = describe_file(path)
    artifact = Artifact(file.file, "onnxruntime", Precision.FP32, file.sha256, file.bytes)
    write_manifest(tmp_path, make_manifest(artifacts=(artifact,)))
    with pytest.raises(InvalidManifest, match=r"is no ONNX file .*although"):
        open_bundle(tmp_path).read(artifact)


def test_a_card_is_text_without_control_characters(bundle_folder: Path) -> None:
    (bundle_folder / "MODEL_CARD.md").write_bytes(b"# Card\r\n\x1b[2Jgone \xff\n\nend")
    assert open_bundle(bundle_folder).read_card() == "# Card\n\\x1b[2Jgone \ufffd\n\nend\n"


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda card: card.symlink_to(MANIFEST)])
def test_a_card_that_is_no_file_is_refused_without_waiting(bundle_folder: Path, make: Callable[[Path], None]) -> None:
    make(bundle_folder / "MODEL_CARD.md")
    with pytest.raises(InvalidManifest, match=r"MODEL_CARD\.md is (not a regular file|a symbolic link)"):
        open_bundle(bundle_folder).read_card()
