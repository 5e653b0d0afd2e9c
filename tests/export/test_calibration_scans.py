"""Which scans calibrate and which judge, and the ranges that come of them."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra 'export' brings torch")
pytest.importorskip("onnx", reason="the extra 'export' brings onnx")

from edgebrain.bundle import open_bundle
from edgebrain.cli.app import run
from edgebrain.errors import ExportError, InvalidManifest, UsageError
from edgebrain.export.ranges import METHOD, SCHEMA, Ranges, Source, measure, read_ranges, simplified, write_ranges
from edgebrain.export.scans import (
    calibration_samples,
    content_digest,
    prepare_calibration,
    refuse_overlap,
    validation_samples,
    without_overlap,
)
from edgebrain.export.to_onnx import to_onnx
from edgebrain.labelled import Sample, write_samples
from edgebrain.train.data import PreparedSet, prepare_samples
from edgebrain.train.models import TrainedModel
from edgebrain.types import InputSpec

LABELS = ("glioma", "meningioma", "no_tumor", "pituitary")
SPEC = InputSpec(width=64, height=64)
RANGES = Ranges(SCHEMA, "a" * 64, "b" * 64, 16, METHOD, {"x": (-1.5, 2.25), "y": (0.0, 1e-7)})


def prepared(samples: list[Sample]) -> PreparedSet:
    return prepare_samples(samples, LABELS, SPEC, None)


def test_a_plain_folder_of_scans_calibrates(samples: list[Sample], tmp_path: Path) -> None:
    for sample in samples[:3]:
        shutil.copy(sample.path, tmp_path)
    assert len(calibration_samples(tmp_path, LABELS)) == 3
    with pytest.raises(UsageError, match="no class folders"):
        validation_samples(tmp_path, LABELS)  # a gate needs to know what they show


def test_an_empty_folder_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no scans"):
        calibration_samples(tmp_path, LABELS)


def test_a_manifest_gives_the_split_that_is_meant(samples: list[Sample], tmp_path: Path) -> None:
    write_samples(tmp_path / "s.csv", samples)
    assert {s.split for s in calibration_samples(tmp_path / "s.csv", LABELS)} == {"train"}
    assert {s.split for s in validation_samples(tmp_path / "s.csv", LABELS)} == {"val"}


def test_scans_of_other_classes_are_left_out(samples: list[Sample], tmp_path: Path) -> None:
    write_samples(tmp_path / "s.csv", samples)
    assert {s.label for s in calibration_samples(tmp_path / "s.csv", ("glioma", "no_tumor"))} == {"glioma", "no_tumor"}
    with pytest.raises(UsageError, match="no scan of the model's classes"):
        calibration_samples(tmp_path / "s.csv", ("tumor", "other"))


def test_calibration_is_drawn_evenly_and_the_same_again(samples: list[Sample]) -> None:
    first, second = (prepare_calibration(samples, LABELS, SPEC, 8, 1) for _ in range(2))
    assert np.bincount(first.targets).tolist() == [2, 2, 2, 2]
    assert first.samples == second.samples


def test_a_copy_under_another_name_overlaps(samples: list[Sample], tmp_path: Path) -> None:
    copy = tmp_path / "copy.png"
    shutil.copy(samples[0].path, copy)
    calibration = prepared([Sample(str(copy), "glioma"), samples[1]])
    with pytest.raises(UsageError, match=r"1 calibration scans are in validation.*copy\.png and .*0\.png"):
        refuse_overlap(calibration, prepared(samples[:1]))
    kept = without_overlap(calibration, prepared(samples[:1]))
    assert [s.path for s in kept.samples] == [samples[1].path]
    assert len(kept.images) == len(kept.targets) == 1


def test_a_group_on_both_sides_overlaps(samples: list[Sample]) -> None:
    one, two = (replace(s, group="patient 7") for s in samples[:2])
    with pytest.raises(UsageError, match="in a group with it"):
        refuse_overlap(prepared([one]), prepared([two]))
    with pytest.raises(UsageError, match="in a group with it"):
        refuse_overlap(prepared([one]), prepared([replace(two, source="elsewhere")]))  # groups span sources
    refuse_overlap(prepared([replace(one, group="")]), prepared([replace(two, group="")]))


def test_digest_names_the_pictures_not_their_names_or_order(samples: list[Sample], tmp_path: Path) -> None:
    copy = tmp_path / "copy.png"
    shutil.copy(samples[0].path, copy)
    named = content_digest(prepared([Sample(str(copy), "glioma"), samples[1]]))
    assert named == content_digest(prepared([samples[1], samples[0]]))
    assert named != content_digest(prepared(samples[1:2]))


def test_ranges_are_read_as_written(tmp_path: Path) -> None:
    assert read_ranges(write_ranges(RANGES), tmp_path, "a" * 64) == RANGES


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"no json", "holds no calibration ranges"),
        (b"{}", "holds no calibration ranges"),
        (write_ranges(RANGES).replace(b'"schema": 1', b'"schema": 9'), "calibration schema 9"),
        (write_ranges(RANGES).replace(b"-1.5", b"2.5"), "range of x is impossible"),
        (write_ranges(RANGES).replace(b"2.25", b"1e999"), "calibration ranges|impossible"),
    ],
)
def test_what_is_no_range_is_refused(data: bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidManifest, match=said):
        read_ranges(data, tmp_path, "a" * 64)


def test_every_tensor_of_the_graph_has_a_range(trained: TrainedModel, samples: list[Sample]) -> None:
    ready = simplified(to_onnx(trained.net.deployed(), SPEC, {}))
    images = prepared(samples[:16]).images[:, np.newaxis]
    ranges = measure(ready, images, Source("a", "b"))
    layers = {node.output[0] for node in ready.graph.node if node.op_type == "Conv"}
    assert layers <= set(ranges.tensors)
    assert all(low <= high for low, high in ranges.tensors.values())
    with pytest.raises(ExportError, match="15 calibration scans are too few"):
        measure(ready, images[:15], Source("a", "b"))


def test_a_run_finds_its_own_splits_and_takes_other_scans(
    small_model: Path, samples: list[Sample], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_folder = tmp_path / "run"
    run_folder.mkdir()
    shutil.copy(small_model, run_folder / "model.safetensors")
    out = ["-o", str(tmp_path / "b"), "--force", "--int8"]
    assert run(["export", str(run_folder), *out]) == 2
    assert "says which scans" in " ".join(capsys.readouterr().err.split())
    write_samples(run_folder / "splits.csv", samples)
    own = tmp_path / "own"
    own.mkdir()
    for sample in samples:
        if sample.split == "test":
            continue
        shutil.copy(sample.path, own)
    write_samples(tmp_path / "judge.csv", [s for s in samples if s.split == "test"])
    more = ["--calibration", str(own), "--validation", str(tmp_path / "judge.csv")]
    assert run(["export", str(run_folder), *out, *more]) == 0
    told = capsys.readouterr().out
    assert "model.int8.onnx" in told
    manifest = open_bundle(tmp_path / "b").manifest
    assert manifest.provenance["calibration_scans"] == sum(s.split != "test" for s in samples)
    assert manifest.metrics["int8"]["gate"]["scans"] == sum(s.split == "test" for s in samples)
