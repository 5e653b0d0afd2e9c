"""A whole export: the bundle that comes out classifies, verifies, and is never left half-written."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the extra 'export' brings torch")
pytest.importorskip("onnx", reason="the extra 'export' brings onnx")

import edgebrain
from edgebrain import place
from edgebrain.bundle import open_bundle
from edgebrain.cli.app import run
from edgebrain.errors import EdgebrainError, ExportError, GateFailed, TrainingError, UsageError
from edgebrain.export import pipeline
from edgebrain.export import reexport as reexporting
from edgebrain.export.pipeline import ExportRequest, export_bundle
from edgebrain.export.reexport import ReexportRequest
from edgebrain.export.verify import Limits
from edgebrain.labelled import Sample, write_samples
from edgebrain.place import check_output, replacing
from edgebrain.selftest import self_test
from edgebrain.types import PREPROCESSING_VERSION

NEVER = Limits(accuracy_drop=-1.0)
ANYTHING = Limits(1.0, 1.0, 1.0, 1.0)


def request(model: Path, output: Path, samples: list[Sample], limits: Limits = ANYTHING) -> ExportRequest:
    return ExportRequest(model, output, "1.2.3", samples, "drawn phantoms", calibration_scans=16, limits=limits)


@pytest.fixture(scope="module")
def exported(small_model: Path, samples: list[Sample], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_bundle(request(small_model, tmp_path_factory.mktemp("out") / "bundle", samples)).folder


def test_bundle_holds_what_it_should(exported: Path) -> None:
    names = {p.name for p in exported.iterdir()}
    assert names == {
        "manifest.json",
        "model.onnx",
        "model.int8.onnx",
        "golden.npz",
        "calibration.json",
        "export_report.json",
        "export_report.md",
        "MODEL_CARD.md",
    }
    manifest = open_bundle(exported).manifest
    assert (manifest.id, manifest.version, manifest.graph.embedding_size) == ("small", "1.2.3", 16)
    assert manifest.input.preprocessing == PREPROCESSING_VERSION
    assert "trained_preprocessing" not in manifest.provenance
    assert manifest.metrics["int8"]["scans"] == 12
    assert manifest.metrics["int8"]["gate"]["scans"] == 12


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_bundle_runs_and_passes_its_own_test(exported: Path, samples: list[Sample], precision: str) -> None:
    classifier = edgebrain.Classifier.load(exported, precision=precision)
    prediction = classifier.classify(samples[0].path)
    assert sum(prediction.probabilities.values()) == pytest.approx(1)
    assert self_test(classifier.bundle, classifier.engine).passed


def test_card_names_figures_and_command(exported: Path) -> None:
    card = (exported / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "Not a medical device" in card
    assert "edgebrain evaluate" in card
    assert "1.2.3" in card
    assert "fitted on 9 validation scans with a tumour and 3 without" in card
    assert "of\n9 tumours below the *standard* threshold" in card
    manifest = open_bundle(exported).manifest
    assert manifest.provenance["thresholds"] in card
    assert manifest.metrics["int8"]["gate"]["tumours"] == 9


def test_exports_are_repeatable(exported: Path, small_model: Path, samples: list[Sample], tmp_path: Path) -> None:
    again = export_bundle(request(small_model, tmp_path / "again", samples)).folder
    first, second = (open_bundle(folder).manifest for folder in (exported, again))
    assert [a.sha256 for a in first.artifacts] == [a.sha256 for a in second.artifacts]
    assert first.decision == second.decision


def test_a_bundle_may_ask_for_another_preprocessing_than_the_training_had(
    small_model: Path, samples: list[Sample], tmp_path: Path
) -> None:
    other = export_bundle(replace(request(small_model, tmp_path / "b", samples), preprocessing=2)).folder
    manifest = open_bundle(other).manifest
    assert manifest.input.preprocessing == 2
    assert manifest.provenance["trained_preprocessing"] == PREPROCESSING_VERSION
    with pytest.raises(UsageError, match="no preprocessing version 99"):
        export_bundle(replace(request(small_model, tmp_path / "c", samples), preprocessing=99))


def test_the_preprocessing_of_a_finished_bundle_stays(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["export", str(exported), "--preprocessing", "2"]) == 2
    assert "for training runs" in capsys.readouterr().err


def test_failed_gate_leaves_the_old_bundle_whole(small_model: Path, samples: list[Sample], tmp_path: Path) -> None:
    output = tmp_path / "bundle"
    export_bundle(request(small_model, output, samples))
    (output / "CHANGELOG.md").write_text("by hand", encoding="utf-8")
    before = {p.name: p.read_bytes() for p in output.iterdir()}
    with pytest.raises(GateFailed, match="accuracy"):
        export_bundle(request(small_model, output, samples, NEVER))
    assert {p.name: p.read_bytes() for p in output.iterdir()} == before
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"]


def test_new_export_keeps_the_changelog(small_model: Path, samples: list[Sample], tmp_path: Path) -> None:
    output = tmp_path / "bundle"
    export_bundle(request(small_model, output, samples))
    (output / "CHANGELOG.md").write_text("by hand", encoding="utf-8")
    export_bundle(request(small_model, output, samples))
    assert (output / "CHANGELOG.md").read_text(encoding="utf-8") == "by hand"


def test_folder_of_something_else_is_refused(small_model: Path, samples: list[Sample], tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious", encoding="utf-8")
    with pytest.raises(UsageError, match="no bundle"):
        export_bundle(request(small_model, tmp_path, samples))


def test_missing_split_and_bad_model_are_one_error(
    model_of: Callable[[Sequence[Sample]], Path], samples: list[Sample], tmp_path: Path
) -> None:
    rest = [s for s in samples if s.split != "val"]
    with pytest.raises(UsageError, match="no val split"):
        export_bundle(request(model_of(rest), tmp_path / "b", rest))
    (tmp_path / "model.safetensors").write_bytes(b"not a model")
    with pytest.raises(TrainingError, match="cannot be read"):
        export_bundle(request(tmp_path / "model.safetensors", tmp_path / "b", samples))


def test_splits_of_another_training_are_refused(small_model: Path, samples: list[Sample], tmp_path: Path) -> None:
    swapped = [replace(s, split={"train": "test", "test": "train"}.get(s.split or "", s.split)) for s in samples]
    with pytest.raises(UsageError, match=r"not what .* was trained with.*splits\.csv"):
        export_bundle(request(small_model, tmp_path / "b", swapped))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("output", ["file", "file/bundle", "file/deeper/bundle", "dangling"])
def test_output_that_cannot_be_a_folder_is_one_error(
    small_model: Path, samples: list[Sample], tmp_path: Path, output: str
) -> None:
    (tmp_path / "file").write_text("precious", encoding="utf-8")
    (tmp_path / "dangling").symlink_to("nowhere")
    with pytest.raises(UsageError, match="folder"):
        export_bundle(request(small_model, tmp_path / output, samples))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["dangling", "file"]


def test_new_and_nested_outputs_are_fine(tmp_path: Path) -> None:
    for output in (tmp_path, tmp_path / "new", tmp_path / "a" / "b"):
        check_output(output)
    with replacing(tmp_path / "a" / "b") as folder:
        (folder / "new").touch()
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["b"]
    assert (tmp_path / "a" / "b" / "new").is_file()


@pytest.mark.parametrize("rescued", [True, False])
def test_a_failed_replacement_never_loses_the_earlier_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rescued: bool
) -> None:
    output = tmp_path / "bundle"
    output.mkdir()
    (output / "earlier").touch()
    (tmp_path / ".bundle.old").mkdir()  # somebody's own
    monkeypatch.setattr(place, "_exchange", lambda *_: False)  # as on a system that cannot
    rename, calls = Path.replace, []

    def fail(source: Path, target: Path) -> Path:
        calls.append(source.name)
        if len(calls) == 2 or (len(calls) == 3 and not rescued):
            raise PermissionError(13, "Permission denied")
        return rename(source, target)

    monkeypatch.setattr(Path, "replace", fail)
    with (
        pytest.raises(UsageError if rescued else ExportError, match="Permission denied") as caught,
        replacing(output) as folder,
    ):
        (folder / "new").touch()
    assert calls == ["bundle", "new", "old"]
    kept = [p for p in tmp_path.rglob("earlier") if p.is_file()]
    assert len(kept) == 1
    if rescued:
        assert kept == [output / "earlier"]
        assert sorted(p.name for p in tmp_path.iterdir()) == [".bundle.old", "bundle"]
    else:
        assert str(kept[0].parent) in str(caught.value)


def test_a_full_disk_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(EdgebrainError, match="No space left") as caught, replacing(tmp_path / "bundle"):
        raise OSError(28, "No space left on device")
    assert caught.value.exit_code == 1
    assert list(tmp_path.iterdir()) == []


def test_every_library_is_looked_for(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "sympy" else find(name))
    assert run(["export", "run", "--data", "splits.csv", "-o", "out"]) == 3
    assert "'sympy'" in capsys.readouterr().err


def test_the_share_of_float_layers_is_asked_for(
    small_model: Path,
    samples: list[Sample],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(request: ExportRequest | ReexportRequest) -> None:
        raise GateFailed(f"up to {request.limits.float_layers} in float")

    monkeypatch.setattr(pipeline, "export_bundle", refuse)
    write_samples(tmp_path / "splits.csv", samples)
    options = ["--data", str(tmp_path / "splits.csv"), "--float-layers", "0.25"]
    assert run(["export", str(small_model.parent), *options]) == 4
    assert "up to 0.25 in float" in capsys.readouterr().err
    monkeypatch.setattr(reexporting, "reexport", refuse)
    assert run(["export", "edge", "-o", str(tmp_path / "new"), "--float-layers", "0.25"]) == 4
    assert "up to 0.25 in float" in capsys.readouterr().err
    assert run(["export", "edge", "-o", str(tmp_path / "new")]) == 4
    assert "up to 0.5 in float" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--float-layers", "0.6"], "less than or equal to 0.5"),
        (["--float-layers", "-0.1"], "greater than or equal to 0"),
        (["--float-layers", "nan"], "--float-layers"),
        (["--fp16", "--format", "tensorrt", "--float-layers", "0"], "--float-layers is about INT8"),
    ],
)
def test_a_share_of_float_layers_that_makes_no_sense(
    options: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["export", "edge", "-o", str(tmp_path / "new"), *options]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_command_line(
    small_model: Path, samples: list[Sample], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_samples(tmp_path / "splits.csv", samples)
    options = [
        "--data",
        str(tmp_path / "splits.csv"),
        "-o",
        str(tmp_path / "b"),
        "--calibration-scans",
        "16",
        "--force",
    ]
    assert run(["export", str(small_model.parent), *options]) == 0
    assert "bundle" in capsys.readouterr().out
    manifest = json.loads((tmp_path / "b" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["provenance"]["data"] == "splits"
