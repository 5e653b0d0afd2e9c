"""``edgebrain evaluate`` on drawn scans: what is checked is the bookkeeping, never the accuracy."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgebrain.classifier import Classifier
from edgebrain.cli.app import run
from edgebrain.errors import EXIT_MISSING, EXIT_USAGE
from edgebrain.evaluation.run import evaluate_samples
from edgebrain.evaluation.stress import stress_samples
from edgebrain.labelled import read_labelled
from edgebrain.phantom import PhantomSpec, draw_phantom
from edgebrain.stress.changes import STRESSES

CLASSES = ("glioma", "meningioma_tumor", "notumor", "pituitary")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    for k, name in enumerate(CLASSES):
        folder = root / "Testing" / name
        folder.mkdir(parents=True)
        for seed in range(3):
            cv2.imwrite(str(folder / f"{seed}.png"), draw_phantom(PhantomSpec(seed=10 * k + seed, side=96)))
    return root


def test_figures_count_every_scan(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evaluate", str(data), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["n"] == 12
    assert sum(sum(row) for row in figures["confusion"]) == 12
    assert [sum(row) for row in figures["confusion"]] == [3, 3, 3, 3]


def test_unreadable_scan_is_counted_and_named(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "Testing" / "glioma" / "broken.png").write_bytes(b"")
    assert run(["evaluate", str(data), "--json"]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["n_failed"] == 1
    assert "broken.png" in err


def test_report_is_written(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib", reason="plots need the extra 'report'")
    assert run(["evaluate", str(data), "--report", str(tmp_path / "report")]) == 0
    names = {p.name for p in (tmp_path / "report").iterdir()}
    assert {"report.html", "evaluation.json", "confusion.png"} <= names
    assert "Confusion matrix" in capsys.readouterr().out


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        pytest.fail("scans were classified before the report was checked")

    monkeypatch.setattr("edgebrain.cli.run_evaluate.evaluate_samples", fail)


@pytest.mark.usefixtures("unread")
def test_a_report_without_matplotlib_is_refused_before_the_work(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert run(["evaluate", str(data), "--report", str(tmp_path / "report")]) == EXIT_MISSING
    assert "edgebrain[report]" in capsys.readouterr().err
    assert not (tmp_path / "report").exists()


@pytest.mark.usefixtures("unread")
def test_a_report_folder_that_cannot_be_written_is_refused_before_the_work(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib", reason="plots need the extra 'report'")
    (tmp_path / "file").write_bytes(b"")
    assert run(["evaluate", str(data), "--report", str(tmp_path / "file" / "report")]) == EXIT_USAGE
    assert "cannot be written" in capsys.readouterr().err


def test_the_middle_frame_of_a_file_counts(
    data: Path, tiff_bytes: Callable[..., bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    one = draw_phantom(PhantomSpec(seed=3, side=96))
    blank = np.zeros_like(one)
    (data / "Testing" / "glioma" / "volume.tif").write_bytes(tiff_bytes(blank, one, blank))
    (data / "Testing" / "glioma" / "ends.tif").write_bytes(tiff_bytes(one, blank, one))
    assert run(["evaluate", str(data), "--json"]) == 1
    out, err = capsys.readouterr()
    assert (json.loads(out)["n"], json.loads(out)["n_failed"]) == (13, 1)
    assert "ends.tif" in err
    assert "volume.tif" not in err


def test_manifest_with_groups_splits_and_copies(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = sorted((data / "Testing").rglob("*.png"))
    rows = [f"{p},{p.parent.name},g{i // 2},test,{paths[0] if i == 1 else ''}" for i, p in enumerate(paths)]
    manifest = tmp_path / "splits.csv"
    manifest.write_text("\n".join(["path,label,group,split,copy_of", *rows]), encoding="utf-8")
    assert run(["evaluate", str(manifest), "--split", "test", "--unique", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["n"], figures["n_groups"]) == (11, 6)


@pytest.mark.parametrize(
    ("name", "content", "names"),
    [("empty", None, "empty"), ("nowhere", None, "nowhere"), ("bad.csv", "file,label\na.png,glioma\n", "path")],
)
def test_bad_data_is_one_error(
    name: str, content: str | None, names: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_text(content, encoding="utf-8")
    elif name == "empty":
        path.mkdir()
    assert run(["evaluate", str(path)]) == 2
    err = capsys.readouterr().err
    assert names in err
    assert "Traceback" not in err


def test_unknown_split_is_one_error(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evaluate", str(data), "--split", "val"]) == 2
    assert "val" in capsys.readouterr().err


def test_a_binary_model_is_evaluated_and_stressed_on_four_classes(
    data: Path, make_classifier: Callable[..., Classifier]
) -> None:
    samples = read_labelled(data, labels=("no_tumor", "tumor"))
    classifier = make_classifier(lambda images: np.zeros((len(images), 2), np.float32), labels=("no_tumor", "tumor"))
    evaluation = evaluate_samples(classifier, samples)
    assert [row.support for row in evaluation.per_class] == [3, 9]
    assert evaluation.tumor is not None
    assert evaluation.tumor.tumors == 9
    assert any("every kind of tumour" in note for note in evaluation.notes)
    assert stress_samples(classifier, samples, stresses=STRESSES[:1], resamples=10).n == 12
