"""Runs of a meta-learning recipe on phantoms: what they leave behind, and that a stopped one goes on exactly."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

from edgebrain.errors import TrainingError, UsageError
from edgebrain.labelled import Sample
from edgebrain.train import checkpoint
from edgebrain.train import meta_fit as module
from edgebrain.train import meta_loop as loop
from edgebrain.train.config import Recipe, load_recipe
from edgebrain.train.maml import Maml
from edgebrain.train.meta_fit import check_meta_folder, meta_fit
from edgebrain.train.models import load_model
from edgebrain.train.progress import FIGURES, RATE

TINY = (
    "input.width=16",
    "input.height=16",
    "cnn.filters=[4, 4, 4]",
    "cnn.dense=[8]",
    "meta.iterations=4",
    "meta.check_every=2",
    "meta.check_tasks=2",
    "meta.support=1",
    "meta.query=1",
    "meta.inner_steps=2",
    "meta.test_steps=2",
)


@pytest.fixture(autouse=True)
def _few_episodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TEST_EPISODES", 4)
    monkeypatch.setattr(module, "QUERIES", 1)


def recipe(*changes: str) -> Recipe:
    return load_recipe("maml-glioma-meningioma", [*TINY, *changes])


def test_the_recipe_has_the_numbers_of_system_a() -> None:
    meta = load_recipe("maml-glioma-meningioma").meta
    assert (meta.order, meta.inner_lr, meta.lr, meta.weight_decay) == ("second", 0.01, 0.002, 1e-5)
    assert (meta.iterations, meta.tasks, meta.support, meta.query) == (1000, 2, 5, 5)
    assert (meta.factor, meta.patience) == (0.5, 5)


def test_a_run_leaves_a_model_figures_and_curves(phantoms: tuple[Sample, ...], tmp_path: Path) -> None:
    figures = meta_fit(recipe(), phantoms, tmp_path / "run", threads=1, unreadable=("broken.png",)).metrics
    written = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert written["unreadable"] == {"count": 1, "files": ["broken.png"]}
    assert written["splits"]["test"]["accuracy"] == figures["splits"]["test"]["accuracy"]
    assert 0 <= figures["splits"]["test"]["accuracy"]["value"] <= 1
    assert figures["iterations"] == 4
    assert (tmp_path / "run" / "curves.png").read_bytes().startswith(b"\x89PNG")
    interval = written["splits"]["test"]["accuracy"]
    assert interval["low"] <= interval["value"] <= interval["high"]
    found = {str(p.relative_to(tmp_path / "run")) for p in (tmp_path / "run").rglob("*") if p.is_file()}
    log = {name for name in found if name.startswith("log")}
    alike = {"model.safetensors", "metrics.json", "curves.png", "splits.csv", "splits.unreadable.json"}
    alike.add("checkpoints/meta.safetensors")
    assert found - log == alike
    events = log - {"log/metrics.csv"}
    assert [Path(name).name.startswith("events.out.tfevents") for name in events] == [True]
    with (tmp_path / "run" / "log" / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["epoch", "seconds", *FIGURES, RATE]
    assert [row["epoch"] for row in rows] == ["1", "3"]
    assert {row[RATE] for row in rows} == {"0.002"}
    # The board shows what the table holds.
    board = EventAccumulator(str(tmp_path / "run" / "log")).Reload()
    shown = [(event.step, event.value) for event in board.Scalars("val/loss")]
    assert shown == [(int(row["epoch"]), pytest.approx(float(row["val/loss"]))) for row in rows]
    model = load_model(tmp_path / "run" / "model.safetensors")
    assert model.recipe.meta.order == "second"
    assert model.net(torch.zeros(1, 1, 16, 16, dtype=torch.uint8)).logits.shape == (1, 2)


@pytest.mark.parametrize("order", ["first", "anil"])
def test_a_stopped_run_ends_where_a_whole_one_does(phantoms: tuple[Sample, ...], tmp_path: Path, order: str) -> None:
    whole, stopped = recipe(f"meta.order={order}"), tmp_path / "stopped"
    meta_fit(whole, phantoms, tmp_path / "whole", threads=1)

    class Stop(Exception):
        pass

    keep = checkpoint.save
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "save", lambda path, tree: (keep(path, tree), (_ for _ in ()).throw(Stop))[0])
        with pytest.raises(Stop):
            meta_fit(whole, phantoms, stopped, threads=1)
    meta_fit(whole, phantoms, stopped, resume=True, threads=1)
    logs = [(folder / "log" / "metrics.csv").read_text() for folder in (tmp_path / "whole", stopped)]
    without_seconds = [[line.split(",")[:1] + line.split(",")[2:] for line in log.splitlines()] for log in logs]
    assert without_seconds[0] == without_seconds[1]
    ends = [load_model(folder / "model.safetensors").net.state_dict() for folder in (tmp_path / "whole", stopped)]
    assert all(torch.equal(ends[0][k], ends[1][k]) for k in ends[0])


def test_early_stopping_ends_a_run_that_stays(phantoms: tuple[Sample, ...], tmp_path: Path) -> None:
    # A rate at which nothing moves: no check after the first is better.
    still = recipe("meta.iterations=40", "meta.stop_after=3", "meta.lr=1e-30", "meta.weight_decay=0")
    assert meta_fit(still, phantoms, tmp_path / "run", threads=1).metrics["iterations"] == 8


def test_a_gain_that_is_too_small_does_not_count_but_its_weights_do(
    phantoms: tuple[Sample, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([1.0, 0.999, 0.5, 0.499, 0.498, 0.497])
    monkeypatch.setattr(loop, "_check", lambda *_: {"val/loss": next(losses), "val/accuracy": 0.5})
    slow = recipe("meta.iterations=40", "meta.check_every=1", "meta.stop_after=3", "meta.min_gain=0.01")
    figures = meta_fit(slow, phantoms, tmp_path / "run", threads=1).metrics
    assert (figures["iterations"], figures["best_iteration"]) == (6, 6)


def test_a_validation_loss_that_is_no_number_ends_the_run(
    phantoms: tuple[Sample, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = Maml.scores
    monkeypatch.setattr(Maml, "scores", lambda *arguments: scores(*arguments) * float("nan"))
    with pytest.raises(TrainingError, match="validation loss is nan"):
        meta_fit(recipe(), phantoms, tmp_path / "run", threads=1)
    assert not (tmp_path / "run" / module.checkpoint_name()).exists()


def test_another_recipe_does_not_resume(phantoms: tuple[Sample, ...], tmp_path: Path) -> None:
    meta_fit(recipe(), phantoms, tmp_path / "run", threads=1)
    with pytest.raises(UsageError, match="another recipe"):
        meta_fit(recipe("meta.lr=0.1"), phantoms, tmp_path / "run", resume=True, threads=1)
    others = [replace(s, group=s.label) for s in phantoms]
    with pytest.raises(UsageError, match="other groups"):
        meta_fit(recipe(), others, tmp_path / "run", resume=True, threads=1)


def test_a_taken_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="not empty"):
        check_meta_folder(tmp_path, resume=False)
    with pytest.raises(UsageError, match="no run to resume"):
        check_meta_folder(tmp_path, resume=True)
