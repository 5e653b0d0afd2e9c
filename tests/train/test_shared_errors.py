"""Scripts that judge trained networks: errors that all of them make, and tumours told from healthy slices."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from edgebrain.labelled import read_labelled
from edgebrain.train.config import Recipe, load_recipe
from edgebrain.train.models import build, save_model

SCRIPTS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))


def always(label: int, recipe: Recipe, path: Path) -> Path:
    """A network that gives one answer to everything."""
    weights = {name: torch.zeros_like(value) for name, value in build(recipe).state_dict().items()}
    weights["head.bias"][label] = 1.0
    save_model(path, weights, recipe, {})
    return path


def test_only_errors_that_all_networks_make_are_shared(
    tiny: Recipe, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shared_errors = importlib.import_module("shared_errors")
    labels = tiny.data.labels
    models = [always(label, tiny, tmp_path / f"{labels[label]}.safetensors") for label in (0, 1)]
    monkeypatch.setattr(sys, "argv", ["shared_errors.py", str(manifest), *map(str, models)])
    assert shared_errors.main() == 0
    lines = capsys.readouterr().out.splitlines()
    test = [s for s in read_labelled(manifest) if s.split == "test"]
    for line, label in zip(lines, labels[:2], strict=False):
        assert int(line.split()[0]) == sum(s.label != label for s in test)
    both = [s for s in test if s.label not in labels[:2]]
    assert lines[2].split()[0] == str(len(both))
    assert [line.split()[1] for line in lines[3:]] == [s.path for s in both]


def test_networks_with_other_labels_are_not_compared(
    tiny: Recipe, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared_errors = importlib.import_module("shared_errors")
    binary = load_recipe("cnn3-binary")
    save_model(tmp_path / "binary.safetensors", build(binary).state_dict(), binary, {})
    models = [always(0, tiny, tmp_path / "edge.safetensors"), tmp_path / "binary.safetensors"]
    monkeypatch.setattr(sys, "argv", ["shared_errors.py", str(manifest), *map(str, models)])
    with pytest.raises(SystemExit, match="other labels"):
        shared_errors.main()


def test_a_scan_that_cannot_be_read_is_told(
    tiny: Recipe, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared_errors = importlib.import_module("shared_errors")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with manifest.open("a", encoding="utf-8") as rows:
        head = manifest.read_text(encoding="utf-8").splitlines()[0].split(",")
        cells = {"path": "broken.png", "label": "glioma", "split": "test"}
        rows.write(",".join(cells.get(name, "") for name in head) + "\n")
    model = always(0, tiny, tmp_path / "edge.safetensors")
    monkeypatch.setattr(sys, "argv", ["shared_errors.py", str(manifest), str(model)])
    with pytest.raises(SystemExit, match="cannot be read"):
        shared_errors.main()


def test_trained_models_of_another_kind_are_not_measured(
    tiny: Recipe, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ablation = importlib.import_module("ablation")
    model = always(0, tiny, tmp_path / "edge.safetensors")
    monkeypatch.setattr(ablation, "judged", lambda *_: None)
    monkeypatch.setattr(ablation, "measure", lambda *_: {"clean": 1.0})
    line = ["ablation.py", "--splits", str(manifest), "--start", str(model), "-o", str(tmp_path / "out"), "--measure"]
    for given, said in ((f"tiny={model}", "another input"), ("tiny=nowhere", "2")):
        monkeypatch.setattr(sys, "argv", [*line, given])
        with pytest.raises(SystemExit, match=said):
            ablation.main()


def test_areas_tell_how_well_tumours_are_told_from_the_rest() -> None:
    ablation = importlib.import_module("ablation")
    for tumors, healthy, expected in (
        ([0.9, 0.8], [0.7, 0.1], 1.0),
        ([0.9, 0.2], [0.5, 0.1], 0.75),
        ([0.5], [0.5], 0.5),
    ):
        assert ablation.area(np.array(tumors, np.float32), np.array(healthy, np.float32)) == expected
