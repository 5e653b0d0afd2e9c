"""Recipes that are meta-learned go their own way in every command."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from edgebrain.errors import UsageError
from edgebrain.labelled import Sample, write_samples
from edgebrain.train import checkpoint, meta_fit
from edgebrain.train.commands import TrainRequest, run_train
from edgebrain.train.config import load_recipe, recipe_names
from edgebrain.train.given import from_data
from edgebrain.train.processes import Machines
from edgebrain.train.run_all import _alone, _recipe, run_all
from edgebrain.train.tune import TuneRequest, run_tune

NAME = "maml-glioma-meningioma"
TINY_META = (
    *("input.width=16", "input.height=16", "cnn.filters=[4, 4, 4]", "cnn.dense=[8]", "meta.iterations=4"),
    *("meta.check_every=2", "meta.check_tasks=2", "meta.support=1", "meta.query=1", "meta.inner_steps=1"),
    "meta.test_steps=1",
)


@pytest.fixture
def request_all(phantoms: Sequence[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainRequest:
    monkeypatch.setattr(meta_fit, "TEST_EPISODES", 4)
    monkeypatch.setattr(meta_fit, "QUERIES", 1)
    write_samples(tmp_path / "splits.csv", phantoms)
    return TrainRequest(
        "all", overrides=TINY_META, splits=(tmp_path / "splits.csv",), output=tmp_path / "runs", threads=1
    )


def test_all_meta_trains_a_meta_recipe_and_goes_on_with_it(
    request_all: TrainRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keep = checkpoint.save

    def stop(path: Path, tree: dict[str, object]) -> None:
        keep(path, tree)
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", stop)
        assert run_all(request_all, NAME) == 1
    capsys.readouterr()
    states = []
    for _ in range(2):
        assert run_all(request_all, NAME) == 0
        line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith(NAME))
        states.append(line.split()[1])
    assert states == ["resumed", "finished"]
    figures = json.loads((tmp_path / "runs" / NAME / "metrics.json").read_text())
    assert figures["iterations"] == 4
    assert f"{figures['splits']['test']['accuracy']['value']:.4f}" in line


def test_all_gives_weights_to_what_takes_them(request_all: TrainRequest, tmp_path: Path) -> None:
    request = replace(request_all, overrides=(), weights="none")
    assert _recipe("vit", request).transfer.weights == "none"
    assert _recipe("edge", request).architecture == "edge"
    missing = replace(request, weights=str(tmp_path / "none.pth"))
    with pytest.raises(UsageError, match="no file of weights"):
        run_all(missing, "edge,vit")
    assert not (tmp_path / "runs").exists()


def test_a_search_over_a_meta_recipe_is_refused() -> None:
    settings = ("search.meta.lr={low=1e-4, high=1e-2}",)
    with pytest.raises(UsageError, match="is meta-learned"):
        run_tune(TuneRequest(NAME, 1, overrides=settings, data=(Path("x"),)))


def test_what_meta_learning_does_not_have_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = (tmp_path,)
    with pytest.raises(UsageError, match="in one process"):
        run_train(TrainRequest(NAME, data=data, machines=Machines(devices=2)))
    with pytest.raises(UsageError, match="counts no epochs"):
        run_train(TrainRequest(NAME, data=data, overrides=("trainer.epochs=3",)))
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="in one process"):
        run_train(TrainRequest(NAME, data=data))


def test_all_leaves_out_what_goes_on_from_another_run(capsys: pytest.CaptureFixture[str]) -> None:
    recipes = [
        load_recipe("edge"),
        load_recipe("edge-base"),
        load_recipe("edge-wide", ["start=x", "distill.teacher=y"]),
    ]
    assert _alone(recipes) == recipes[1:]
    assert capsys.readouterr().err.startswith("left out: edge goes on")


def test_all_by_itself_trains_what_stands_alone(capsys: pytest.CaptureFixture[str]) -> None:
    kept = {recipe.name for recipe in _alone([load_recipe(name) for name in recipe_names()])}
    left_out = set(recipe_names()) - kept
    assert left_out >= {"edge", "edge-lite", "edge-second", "edge-second-stripped", "edge-stripped", "edge-wide"}
    assert {"edge-base", "teacher", "resnet50", "cnn-tuned"} <= kept
    assert capsys.readouterr().err.count("left out: ") == len(left_out)


def test_files_that_the_audit_cannot_read_are_named(
    phantoms: Sequence[Sample], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    write_samples(tmp_path / "all.csv", [*phantoms, Sample(str(tmp_path / "broken.png"), "glioma")])
    from_data([tmp_path / "all.csv"], load_recipe("edge").data.labels, seed=0)
    assert re.search(r"left out: .*broken\.png", capsys.readouterr().err)
