from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgebrain.errors import EdgebrainError, MissingExtra, UsageError
from edgebrain.labelled import Sample, read_labelled
from edgebrain.train import commands
from edgebrain.train.config import recipe_names
from edgebrain.train.given import from_data
from edgebrain.train.given_splits import read_splits

Samples = tuple[Sample, ...]
Call = Callable[..., int]


@pytest.fixture
def sets(tiny_sets: Sequence[str]) -> list[str]:
    return [word for item in tiny_sets if "epochs" not in item for word in ("--set", item)]


@pytest.fixture
def textures(tmp_path: Path) -> Path:
    """A folder of classes with ten images each that do not repeat one another, but for one copy."""
    rng = np.random.default_rng(0)
    for label in ("glioma", "meningioma", "no", "pituitary"):
        (tmp_path / "data" / label).mkdir(parents=True)
        for k in range(10):
            image = cv2.resize(rng.integers(0, 256, (8, 8), np.uint8), (96, 96), interpolation=cv2.INTER_CUBIC)
            assert cv2.imwrite(str(tmp_path / "data" / label / f"{k}.png"), image)
    original = tmp_path / "data" / "glioma" / "0.png"
    (tmp_path / "data" / "glioma" / "copy.png").write_bytes(original.read_bytes())
    return tmp_path / "data"


def test_the_signatures_import_nothing_heavy() -> None:
    code = (
        "import sys, edgebrain.train.cli; print([m for m in ('torch', 'lightning', 'cv2', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    # Typer itself may bring rich in; nothing else.
    assert set(json.loads(done.stdout.replace("'", '"'))) <= {"rich"}


def test_an_audit_needs_no_tensor_library(textures: Path) -> None:
    code = (
        "import sys, typer; from edgebrain.train.cli import mount; app = typer.Typer(); mount(app);"
        "app(['audit', sys.argv[1]], standalone_mode=False);"
        "sys.exit(any(m in sys.modules for m in ('torch', 'lightning', 'onnxruntime')))"
    )
    subprocess.run([sys.executable, "-c", code, str(textures)], capture_output=True, check=True, timeout=120)


def test_the_list_shows_every_recipe(call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("train", "list") == 0
    out = " ".join(capsys.readouterr().out.split())
    for word in ("name", "system", "architecture", "parameters", "input", "task", "160 x 160", "4 classes"):
        assert word in out
    for name in recipe_names():
        assert name in out


def test_the_list_fits_a_hundred_columns(
    call: Call, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert call("train", "list") == 0
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 1 + len(recipe_names())  # none is wrapped
    assert [re.split(r" {2,}", line)[0] for line in lines[1:]] == recipe_names()
    tuned = lines[1 + recipe_names().index("cnn-tuned")]
    assert re.fullmatch(r"cnn-tuned +D +cnn-tuned +3,235,892 +224 x 224 +4 classes", tuned)
    frozen = lines[1 + recipe_names().index("resnet18-frozen")]
    assert re.fullmatch(r"resnet18-frozen +B +resnet18 +2,052 / 11,178,564 +224 x 224 +4 classes", frozen)
    assert lines[1 + recipe_names().index("cnn3-binary")].endswith("any tumour")


@pytest.mark.parametrize(
    ("recipe", "weights", "message"),
    [
        ("edge", "imagenet", "no published weights for edge"),
        ("cnn3-binary", "none", "no published weights for cnn3"),
        ("resnet50", "no/such/file.pth", "no file of weights no/such/file.pth"),
        ("resnet50", 'a"b\\c', "no file of weights"),
    ],
)
def test_weights_that_cannot_be_used_are_refused_before_the_data_is_read(
    recipe: str, weights: str, message: str, call: Call, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        call("train", recipe, "--weights", weights, "--data", tmp_path / "nothing")


@pytest.mark.parametrize("weights", ["none", "imagenet"])
def test_weights_go_into_the_recipe(weights: str) -> None:
    recipe = commands.recipe_of(commands.TrainRequest("resnet50", weights=weights))
    assert recipe.transfer.weights == weights


def test_weights_may_be_a_file(tmp_path: Path) -> None:
    file = tmp_path / "my weights, 'é'.pth"
    file.touch()
    assert commands.recipe_of(commands.TrainRequest("vit", weights=str(file))).transfer.weights == str(file)


def test_the_list_works_without_the_tensor_library(
    call: Call, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hide(monkeypatch, "torch")
    assert call("train", "list") == 0
    assert "?" in capsys.readouterr().out


def hide(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    find = importlib.util.find_spec

    def find_spec(name: str, *rest: Any) -> Any:
        return None if name == module else find(name, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)


@pytest.mark.parametrize("module", commands.NEEDED)
def test_a_missing_library_is_named_with_the_remedy(
    call: Call, manifest: Path, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    hide(monkeypatch, module)
    with pytest.raises(MissingExtra, match=rf"training needs .*'{module}'.*pip install 'edgebrain\[train\]'") as caught:
        call("train", "edge", "--splits", manifest, "--output", manifest.parent / "run")
    assert caught.value.exit_code == 3


def test_a_run_with_given_splits(
    call: Call, manifest: Path, sets: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = manifest.parent / "run"
    arguments = ("train", "edge", "--splits", manifest, "--output", folder, "--threads", 1, *sets)
    assert call(*arguments, "--epochs", 2, "--seed", 5) == 0

    figures = json.loads((folder / "metrics.json").read_text())
    assert (figures["recipe"]["seed"], figures["recipe"]["trainer"]["epochs"]) == (5, 2)
    captured = capsys.readouterr()
    out = " ".join(captured.out.split())
    for split in ("val", "test"):
        assert split in out
    accuracies = (f"{figures['splits'][s]['accuracy']:.4f}" for s in ("val", "test"))
    assert f"accuracy {' '.join(accuracies)}" in out
    assert "macro-F1" in out
    assert "recall pituitary" in out
    assert str(folder / "model.safetensors") in captured.out
    assert "epoch 2/2" in captured.err
    assert "epoch" not in captured.out

    # The run folder has all that a resume needs, and a finished run stays what it is.
    assert call("train", "edge", "--output", folder, "--threads", 1, *sets, "--epochs", 2, "--seed", 5, "--resume") == 0
    again = json.loads((folder / "metrics.json").read_text())
    assert again["splits"] == figures["splits"]
    with pytest.raises(UsageError, match="another recipe"):
        call("train", "edge", "--output", folder, *sets, "--epochs", 3, "--seed", 5, "--resume")


def test_a_run_with_folders_is_audited_and_split(
    call: Call, textures: Path, sets: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    code = call("train", "edge", "--data", textures, "--output", folder, "--threads", 1, "--epochs", 1, *sets)
    assert code == 0
    samples = read_labelled(folder / "splits.csv")
    assert len(samples) == 41
    assert {s.split for s in samples} == {"train", "val", "test"}
    assert sum(bool(s.copy_of) for s in samples) == 1
    groups = {s.group: {o.split for o in samples if o.group == s.group} for s in samples}
    assert all(len(splits) == 1 for splits in groups.values())
    assert "audit: 41 scans, 1 copies" in capsys.readouterr().err


def test_the_run_folder_is_looked_at_before_the_data(call: Call, textures: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "x").touch()
    (textures / "glioma" / "0.png").write_bytes(b"")
    with pytest.raises(UsageError, match="is not empty"):
        call("train", "edge", "--data", textures, "--output", tmp_path / "taken")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("edge",), "Nothing to train on"),
        (("edge", "--output", "nowhere", "--resume"), "Nothing to train on"),
        (("edge", "--data", "a", "--splits", "b.csv"), "Give one of them"),
        (("edge", "--data", "no-such-folder"), "no file or folder"),
        (("egde", "--data", "a"), "Did you mean 'edge'"),
        (("edge", "--set", "trainer.epoch=3"), "Did you mean 'epochs'"),
    ],
)
def test_wrong_calls_are_usage_errors(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EdgebrainError, match=message) as caught:
        call("train", *arguments)
    assert caught.value.exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_an_audit_writes_what_is_asked_for(
    call: Call, textures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, csv = tmp_path / "a.json", tmp_path / "s.csv"
    assert call("audit", textures, "--json", out, "--splits", csv, "--fractions", "0.8,0.2,0", "--seed", 3) == 0
    report = json.loads(out.read_text())
    assert (report["images"], report["unique"]) == (41, 40)
    assert {s.split for s in read_labelled(csv)} == {"train", "val"}
    assert capsys.readouterr().out


def test_thresholds_and_strictness_reach_the_audit(call: Call, textures: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.json"
    assert call("audit", textures, "--json", out, "--copy-threshold", 0.98, "--group-threshold", 0.9) == 0
    report = json.loads(out.read_text())
    assert (report["copy_threshold"], report["group_threshold"]) == (0.98, 0.9)
    (textures / "glioma" / "broken.png").write_bytes(b"")
    assert call("audit", textures) == 0
    assert call("audit", textures, "--strict") == 1


@pytest.mark.parametrize("text", ["", "0.7,0.3", "a,b,c", "0.5,0.5,0.5", "nan,nan,nan", "0.7,0.15,0.15,0"])
def test_fractions_that_make_no_sense(call: Call, textures: Path, tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match=r"such as 0\.7,0\.15,0\.15"):
        call("audit", textures, "--splits", tmp_path / "s.csv", "--fractions", text)
    assert not (tmp_path / "s.csv").exists()


@pytest.mark.parametrize("options", [("--keep-test",), ("--hold-out", "set")])
def test_how_to_split_is_not_said_in_vain(call: Call, textures: Path, options: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match=f"{options[0]} says how to split.*--splits"):
        call("audit", textures, *options)


def test_a_published_test_split_is_kept_if_asked_for(
    call: Call, textures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for label in sorted(p.name for p in textures.iterdir()):
        for split, numbers in (("Training", range(2, 10)), ("Testing", range(2))):
            (tmp_path / "set" / split / label).mkdir(parents=True)
            for k in numbers:
                (textures / label / f"{k}.png").rename(tmp_path / "set" / split / label / f"{k}.png")
    (textures / "glioma" / "copy.png").rename(tmp_path / "set" / "Training" / "glioma" / "copy.png")
    with pytest.raises(UsageError, match="two test splits"):
        call("audit", tmp_path / "set", "--splits", tmp_path / "s.csv", "--keep-test", "--hold-out", "set")
    assert call("audit", tmp_path / "set", "--splits", tmp_path / "s.csv", "--keep-test") == 0
    samples = read_splits([tmp_path / "s.csv"])
    assert all((s.split == "test") == ("Testing" in s.path) for s in samples)
    assert [s.split for s in samples if s.path.endswith("copy.png")] == [""]  # it repeats a test scan
    assert {s.split for s in samples if "Training" in s.path} == {"train", "val", ""}
    capsys.readouterr()
    from_data([tmp_path / "set"], ("glioma", "meningioma", "no_tumor", "pituitary"), seed=0)
    assert "own splits are not kept" in capsys.readouterr().err
