"""Scripts that judge trained networks: errors that all of them make, and tumours told from healthy slices."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from edgebrain.labelled import Sample, read_labelled, write_samples
from edgebrain.train.config import Recipe, load_recipe
from edgebrain.train.models import build, save_model

Refused = Callable[..., str]
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


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> Refused:
    """Runs a script, and gives the reason for which it ends."""

    def run(script: str, *arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", [f"{script}.py", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            importlib.import_module(script).main()
        return str(ended.value)

    return run


def test_networks_with_other_labels_are_not_compared(
    tiny: Recipe, manifest: Path, tmp_path: Path, refused: Refused
) -> None:
    binary = load_recipe("cnn3-binary")
    save_model(tmp_path / "binary.safetensors", build(binary).state_dict(), binary, {})
    edge = always(0, tiny, tmp_path / "edge.safetensors")
    assert "other labels" in refused("shared_errors", manifest, edge, tmp_path / "binary.safetensors")


def test_a_scan_that_cannot_be_read_is_told(tiny: Recipe, manifest: Path, tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    broken = Sample(str(tmp_path / "broken.png"), "glioma", source="phantoms", group="broken", split="test")
    write_samples(manifest, [*read_labelled(manifest), broken])
    assert "cannot be read" in refused("shared_errors", manifest, always(0, tiny, tmp_path / "edge.safetensors"))


def test_the_ablation_refuses_what_it_cannot_judge_before_it_prepares_anything(
    tiny: Recipe, manifest: Path, tmp_path: Path, refused: Refused, capsys: pytest.CaptureFixture[str]
) -> None:
    edge = always(0, tiny, tmp_path / "edge.safetensors")
    given = ("ablation", "--splits", manifest, "--start", edge, "-o", tmp_path / "out")
    assert "another size" in refused(*given, "--measure", f"tiny={edge}")
    for options, said in (
        (("--measure", "tiny=nowhere"), "no such file: nowhere"),
        (("--measure", f"tiny={edge}", "--only", "no mixup"), "nothing is trained"),
        (("--measure", f"tiny={edge}", "--teacher", edge), "not allowed with"),
        ((), "one of the arguments"),
    ):
        assert refused(*given, *options) == "2"
        assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_areas_tell_how_well_tumours_are_told_from_the_rest() -> None:
    ablation = importlib.import_module("ablation")
    for tumors, healthy, expected in (
        ([0.9, 0.8], [0.7, 0.1], 1.0),
        ([0.9, 0.2], [0.5, 0.1], 0.75),
        ([0.5], [0.5], 0.5),
    ):
        assert ablation.area(np.array(tumors, np.float32), np.array(healthy, np.float32)) == expected
