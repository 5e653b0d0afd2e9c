"""From a bundle to more files: stored ranges, the limited gate, what is kept, and every refusal."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the extra 'export' brings torch")
pytest.importorskip("onnx", reason="the extra 'export' brings onnx")

import msgspec
import numpy as np

from edgebrain.bundle import Bundle, open_bundle, write_manifest
from edgebrain.cli.app import run
from edgebrain.engines import EngineOptions, open_engine
from edgebrain.errors import GateFailed, InvalidManifest, UsageError
from edgebrain.export.formats import FLOAT, INT8, INT8_REDUCED, TARGETS, Format, Target, targets
from edgebrain.export.pipeline import ExportRequest, export_bundle
from edgebrain.export.ranges import FILE
from edgebrain.export.reexport import ReexportRequest, reexport
from edgebrain.export.verify import Limits
from edgebrain.heads import Head, write_head
from edgebrain.labelled import Sample
from edgebrain.manifest import HeadSpec
from edgebrain.selftest import read_golden, self_test
from edgebrain.types import Precision

ANYTHING = Limits(1.0, 1.0, 1.0, 1.0)
TRT = TARGETS[Precision.INT8, Format.TENSORRT]
HALF = TARGETS[Precision.FP16, Format.TENSORRT]


@pytest.fixture(scope="module")
def source(small_model: Path, samples: list[Sample], tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle with fp32 and INT8 files and stored ranges."""
    output = tmp_path_factory.mktemp("source") / "bundle"
    request = ExportRequest(small_model, output, "1.0.0", samples, "drawn", calibration_scans=16, limits=ANYTHING)
    return open_bundle(export_bundle(request).folder)


def split(samples: list[Sample], name: str) -> list[Sample]:
    return [s for s in samples if s.split == name]


def ask(source: Bundle, output: Path, *wanted: Target) -> ReexportRequest:
    return ReexportRequest(source, output, (FLOAT, *wanted), limits=ANYTHING)


def without_ranges(source: Bundle, folder: Path) -> Bundle:
    """The same bundle as one that was made before ranges were stored."""
    shutil.copytree(source.folder, folder)
    write_manifest(folder, msgspec.structs.replace(source.manifest, calibration=None))
    return open_bundle(folder)


def test_stored_ranges_give_the_same_file_again(source: Bundle, tmp_path: Path) -> None:
    reexport(ask(source, tmp_path / "b", INT8))
    again = open_bundle(tmp_path / "b")
    assert [a.sha256 for a in again.manifest.artifacts] == [a.sha256 for a in source.manifest.artifacts]
    assert again.manifest.calibration == source.manifest.calibration
    assert again.manifest.provenance["calibration_sha256"] == source.manifest.provenance["calibration_sha256"]
    # The file is the same, so that its figures still hold.
    assert again.manifest.metrics["int8"]["accuracy"] == source.manifest.metrics["int8"]["accuracy"]


def test_without_scans_the_gate_says_that_it_is_limited(source: Bundle, tmp_path: Path) -> None:
    exported = reexport(ask(source, tmp_path / "b", TRT, HALF))
    assert exported.report.limited
    manifest = open_bundle(tmp_path / "b").manifest
    assert manifest.provenance["gate"] == "passed on golden inputs only"
    for name in ("export_report.md", "MODEL_CARD.md"):
        assert "drawn golden inputs only" in (tmp_path / "b" / name).read_text(encoding="utf-8")
    told = json.loads((tmp_path / "b" / "export_report.json").read_text(encoding="utf-8"))
    assert told["limited"] is True
    assert [f["layout"] for f in told["files"]] == [None, "s8s8-trt", "fp16-trt"]


def test_files_are_added_and_others_kept(source: Bundle, tmp_path: Path) -> None:
    reexport(ask(source, tmp_path / "b", TRT))
    bundle = open_bundle(tmp_path / "b")
    assert [(a.file, a.engine, a.layout) for a in bundle.manifest.artifacts] == [
        ("model.onnx", "onnxruntime", None),
        ("model.int8.onnx", "onnxruntime", "u8s8"),
        ("model.trt.int8.onnx", "tensorrt", "s8s8-trt"),
    ]
    assert {"fp32", "int8", "s8s8-trt"} == set(read_golden(bundle).logits)
    for artifact in bundle.manifest.artifacts:
        assert len(bundle.read(artifact)) == artifact.bytes


def test_every_int8_file_is_tested_against_its_own_golden_outputs(source: Bundle, tmp_path: Path) -> None:
    reexport(ask(source, tmp_path / "b", INT8_REDUCED))
    bundle = open_bundle(tmp_path / "b")
    tests = {
        a.layout: self_test(bundle, open_engine(bundle, a, EngineOptions()), a)
        for a in bundle.artifacts("onnxruntime")
        if a.precision is Precision.INT8
    }
    assert set(tests) == {"u8s8", "u8s8-reduced"}
    assert all(test.worst < 1e-4 for test in tests.values())  # this machine made them


def with_head(source: Bundle, folder: Path) -> tuple[Bundle, HeadSpec]:
    """The same bundle with a head to adapt."""
    shutil.copytree(source.folder, folder)
    size = source.manifest.graph.embedding_size
    data = write_head(Head(np.zeros(size), np.ones(size), np.ones((2, size)), np.zeros(2)))
    (folder / "head.npz").write_bytes(data)
    spec = HeadSpec("two", ("a", "b"), None, 0.1, 5, "head.npz", hashlib.sha256(data).hexdigest(), len(data))
    write_manifest(folder, msgspec.structs.replace(source.manifest, heads=(spec,)))
    return open_bundle(folder), spec


def test_heads_are_kept(source: Bundle, tmp_path: Path) -> None:
    bundle, spec = with_head(source, tmp_path / "with")
    reexport(ask(bundle, tmp_path / "b", INT8))
    again = open_bundle(tmp_path / "b")
    assert again.manifest.heads == (spec,)
    assert again.read(spec) == bundle.read(spec)


def test_an_adapted_bundle_is_refused(source: Bundle, tmp_path: Path) -> None:
    bundle, spec = with_head(source, tmp_path / "with")
    adapted = msgspec.structs.replace(bundle.manifest, labels=spec.labels, negative_label=None, head=spec)
    write_manifest(bundle.folder, adapted)
    with pytest.raises(UsageError, match="adapted head"):
        reexport(ask(open_bundle(bundle.folder), tmp_path / "b", INT8))
    assert not (tmp_path / "b").exists()


def test_a_bundle_can_be_written_onto_itself(source: Bundle, tmp_path: Path) -> None:
    shutil.copytree(source.folder, tmp_path / "b")
    own = open_bundle(tmp_path / "b")
    reexport(ask(own, tmp_path / "b", HALF))
    assert len(open_bundle(tmp_path / "b").manifest.artifacts) == 3
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


def test_another_calibration_leaves_no_int8_file_of_the_first(
    source: Bundle, samples: list[Sample], tmp_path: Path
) -> None:
    request = changed(ask(source, tmp_path / "b", TRT), calibration=split(samples, "train")[:16])
    reexport(request)
    files = [a.file for a in open_bundle(tmp_path / "b").manifest.artifacts]
    assert files == ["model.onnx", "model.trt.int8.onnx"]


def changed(request: ReexportRequest, **changes: object) -> ReexportRequest:
    return replace(request, **changes)  # type: ignore[arg-type]  # names are checked by the class


def test_openvino_files_come_as_graph_and_weights(source: Bundle, tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="the extra 'openvino' brings it")
    wanted = targets({Precision.FP16, Precision.INT8}, {Format.OPENVINO})
    exported = reexport(ask(source, tmp_path / "b", *wanted[1:]))
    names = [a.file for a in open_bundle(tmp_path / "b").manifest.artifacts if a.engine == "openvino"]
    assert names == ["model.ov.fp16.xml", "model.ov.fp16.bin", "model.ov.int8.xml", "model.ov.int8.bin"]
    half, eight = (row.comparison for row in exported.report.rows[1:])
    assert half is not None
    assert eight is not None
    assert half.largest_shift < 0.01
    assert 0 < eight.largest_shift < 0.1


def test_a_bundle_without_ranges_says_what_to_give(source: Bundle, tmp_path: Path) -> None:
    old = without_ranges(source, tmp_path / "old")
    with pytest.raises(UsageError, match=r"stores no calibration ranges.*--calibration DIR"):
        reexport(ask(old, tmp_path / "b", INT8))
    assert reexport(ask(old, tmp_path / "b", HALF)).report.ranges is None  # fp16 needs none


def test_ranges_of_another_graph_are_refused(source: Bundle, tmp_path: Path) -> None:
    shutil.copytree(source.folder, tmp_path / "b")
    text = (tmp_path / "b" / FILE).read_bytes().replace(source.manifest.artifacts[0].sha256.encode(), b"0" * 64)
    (tmp_path / "b" / FILE).write_bytes(text)
    entry = source.manifest.calibration
    assert entry is not None
    other = msgspec.structs.replace(entry, sha256=hashlib.sha256(text).hexdigest())
    write_manifest(tmp_path / "b", msgspec.structs.replace(source.manifest, calibration=other))
    with pytest.raises(InvalidManifest, match="another graph"):
        reexport(ask(open_bundle(tmp_path / "b"), tmp_path / "out", INT8))


def test_scans_that_calibrate_and_judge_are_refused(source: Bundle, samples: list[Sample], tmp_path: Path) -> None:
    twice = tmp_path / "another name.png"
    shutil.copyfile(samples[0].path, twice)
    request = changed(
        ask(source, tmp_path / "b", INT8),
        calibration=[Sample(str(twice), "glioma"), *split(samples, "train")[1:17]],
        validation=[samples[0], *split(samples, "val")],
    )
    with pytest.raises(UsageError, match=r"1 calibration scans are in validation.*another name\.png"):
        reexport(request)
    assert not (tmp_path / "b").exists()


def test_a_failing_gate_writes_nothing_unless_forced(source: Bundle, samples: list[Sample], tmp_path: Path) -> None:
    never = Limits(accuracy_drop=-1.0)
    request = changed(ask(source, tmp_path / "b", INT8, HALF), validation=split(samples, "val"), limits=never)
    with pytest.raises(GateFailed, match=r"model\.trt\.fp16\.onnx: accuracy"):
        reexport(request)
    assert not (tmp_path / "b").exists()
    reexport(changed(request, force=True))
    manifest = open_bundle(tmp_path / "b").manifest
    assert manifest.provenance["gate"].startswith("FAILED: model.int8.onnx: accuracy")
    assert manifest.metrics["int8"]["gate"]["failures"]


def test_command_line_from_a_bundle(
    source: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["export", str(source.folder), "--int8", "--fp16", "--format", "tensorrt", "--format", "onnx"]) == 0
    out = capsys.readouterr().out
    assert "passed, limited" in out
    assert (tmp_path / "small-bundle" / "model.trt.fp16.onnx").is_file()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["nowhere", "--int8"], 2, "no run, checkpoint or bundle"),
        ([".", "--int8"], 2, "neither a training run nor a bundle"),
        (["edge", "--fp16"], 2, "no fp16 file for --format onnx"),
        (["broken.safetensors"], 4, "no safetensors file"),
        (["other.safetensors"], 4, "not a checkpoint of edgebrain"),
    ],
)
def test_wrong_command_lines_are_one_error(  # noqa: PLR0917 - three fixtures of pytest
    words: list[str],
    code: int,
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.safetensors").write_bytes(b"not a model")
    (tmp_path / "other.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    assert run(["export", *words]) == code
    told = " ".join(capsys.readouterr().err.split())
    assert said in told
    assert told.startswith("edgebrain: ")
    if code == 4:
        assert "Name the model.safetensors" in told
    assert "Traceback" not in told
