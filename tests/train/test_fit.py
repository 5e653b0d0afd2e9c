from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from edgebrain.errors import TrainingError, UsageError
from edgebrain.labelled import Sample, read_labelled, write_samples
from edgebrain.train import checkpoint
from edgebrain.train.config import Recipe, load_recipe
from edgebrain.train.data import digest
from edgebrain.train.fit import fit
from edgebrain.train.models import load_model

Samples = tuple[Sample, ...]


class StopAfter(Callback):
    """Raises when an epoch, counted from 1, is over and its checkpoint is written."""

    def __init__(self, epoch: int, error: type[BaseException] = ArithmeticError) -> None:
        self.epoch = epoch
        self.error = error

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        del pl_module
        if trainer.current_epoch == self.epoch:
            raise self.error


pytestmark = pytest.mark.usefixtures("one_thread")


def trained(folder: Path) -> dict[str, Any]:
    """All that training left: the network, its average and the optimiser after the last epoch, and the model."""
    last = checkpoint.load(folder / "checkpoints" / "last.ckpt")
    model = checkpoint.load(folder / "model.safetensors")
    return {
        "model": model["weights"],
        "last": last["state_dict"],
        "optimizer": last["optimizer_states"],
        "schedule": last["lr_schedulers"],
        "best": model["facts"]["best_epoch"],
        "splits": model["facts"]["splits"],
    }


def assert_same(left: Any, right: Any, where: str = "") -> None:
    assert type(left) is type(right), where
    if isinstance(left, torch.Tensor):
        assert torch.equal(left, right), where
    elif isinstance(left, dict):
        assert left.keys() == right.keys(), where
        for key in left:
            assert_same(left[key], right[key], f"{where}/{key}")
    elif isinstance(left, list | tuple):
        assert len(left) == len(right), where
        for k, (one, other) in enumerate(zip(left, right, strict=True)):
            assert_same(one, other, f"{where}/{k}")
    else:
        assert left == right, where


@pytest.fixture
def whole(tiny: Recipe, phantoms: Samples, tmp_path: Path) -> Path:
    """The folder of an uninterrupted run."""
    return fit(tiny, phantoms, tmp_path / "whole", threads=1).folder


def check_evaluation(figures: dict[str, Any], everything: dict[str, Any]) -> None:
    """Val and test have every figure with its interval, and the same values as without."""
    assert list(figures["evaluation"]) == list(everything) == ["val", "test"]
    for split, short in figures["evaluation"].items():
        assert short["scans"] == short["groups"] == 8  # every drawing is a group of its own
        assert short["accuracy"]["value"] == pytest.approx(figures["splits"][split]["accuracy"], abs=1e-5)
        assert short["macro_f1"]["value"] == pytest.approx(figures["splits"][split]["macro_f1"], abs=1e-5)
        for name in ("accuracy", "macro_f1", "macro_f2", "specificity", "sensitivity", "auroc", "ece"):
            assert short[name]["low"] <= short[name]["value"] <= short[name]["high"]
            assert "cluster" in short[name]["method"]
        assert everything[split]["confusion"] == figures["splits"][split]["confusion"]
        assert {curve["label"] for curve in everything[split]["roc"]} == {"glioma", "meningioma", "pituitary", "tumor"}


def test_a_run_writes_all_its_files(
    tiny: Recipe, phantoms: Samples, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = fit(tiny, phantoms, tmp_path / "run", threads=1)

    files = {p.relative_to(run.folder).as_posix() for p in run.folder.rglob("*") if p.is_file()}
    events = {name for name in files if name.startswith("log/events.out.tfevents.")}
    assert len(events) == 1
    files -= events
    assert files == {
        "model.safetensors",
        "metrics.json",
        "evaluation.json",
        "curves.png",
        "splits.csv",
        "log/metrics.csv",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
    }
    figures = json.loads((run.folder / "metrics.json").read_text())
    assert figures == run.metrics
    assert figures["train"] == {"scans": 16, "unreadable": 0}
    assert {name: split["scans"] for name, split in figures["splits"].items()} == {"val": 8, "test": 8}
    check_evaluation(figures, json.loads((run.folder / "evaluation.json").read_text()))
    assert [s.path for s in read_labelled(run.folder / "splits.csv")] == [s.path for s in phantoms]
    assert (run.folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    rows = (run.folder / "log" / "metrics.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["epoch", "0", "1", "2"]
    assert all(cell for row in rows for cell in row.split(","))
    captured = capfd.readouterr()
    assert captured.out == ""
    # One line an epoch, and nothing that Lightning would say of itself.
    assert [line.split("  ")[0] for line in captured.err.splitlines()] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]


def test_it_takes_the_cpus_that_the_process_may_use(
    tiny: Recipe, phantoms: Samples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As a quota of control groups makes it, and where the system knows no affinity.
    monkeypatch.setattr("edgebrain.train.fit.usable_cpus", lambda: 3)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    with pytest.raises(ArithmeticError):
        fit(tiny, phantoms, tmp_path / "run", callbacks=[StopAfter(0)])
    assert torch.get_num_threads() == 3


def test_the_model_file_holds_what_was_trained(tiny: Recipe, whole: Path) -> None:
    model = load_model(whole / "model.safetensors")

    assert model.recipe == tiny
    assert not model.net.training
    best = checkpoint.load(whole / "checkpoints" / "best.ckpt")
    for name, weight in model.net.state_dict().items():
        assert torch.equal(weight, best["state_dict"][f"average.module.{name}"])


def striped(folder: Path, label: str, steps: tuple[int, int], seed: int) -> Path:
    rows, columns = np.mgrid[:96, :96]
    clean = 120.0 + 90.0 * np.sin(rows * steps[0] / 4 + columns * steps[1] / 4 + seed)
    noisy = clean + np.random.default_rng(seed).normal(0, 8, clean.shape)
    path = folder / f"{label}{seed}.png"
    assert cv2.imwrite(str(path), np.clip(noisy, 0, 255).astype(np.uint8))
    return path


def test_it_learns(tiny_sets: Sequence[str], tmp_path: Path) -> None:
    kinds = {"glioma": (0, 2), "meningioma": (2, 0), "no_tumor": (0, 5), "pituitary": (5, 0)}
    samples = [
        Sample(str(striped(tmp_path, label, steps, seed)), label, split=split)
        for label, steps in kinds.items()
        for seed, split in enumerate(["train"] * 6 + ["val"] * 2 + ["test"] * 3)
    ]
    sets = [*tiny_sets, "augment.quarter_turn=0", "augment.rotation=5", "augment.calm_from=1", "optimizer.lr=0.01"]
    sets.append("trainer.epochs=16")
    run = fit(load_recipe("edge-base", sets), samples, tmp_path / "run", threads=1)

    assert run.metrics["splits"]["test"]["accuracy"] > 0.8  # chance is 0.25
    losses = [float(row.split(",")[2]) for row in (run.folder / "log" / "metrics.csv").read_text().splitlines()[1:]]
    assert losses[-1] < 0.8 * losses[0]


def test_the_same_recipe_gives_the_same_weights_and_another_seed_others(
    tiny: Recipe, phantoms: Samples, whole: Path, tmp_path: Path
) -> None:
    again = fit(tiny, phantoms, tmp_path / "again", threads=1)
    sets = {**{k: getattr(tiny, k) for k in tiny.__struct_fields__}, "seed": 7}
    other = fit(Recipe(**sets), phantoms, tmp_path / "other", threads=1)

    assert_same(trained(whole), trained(again.folder))
    weight = "stem.0.weight"
    assert not torch.equal(trained(whole)["model"][weight], trained(other.folder)["model"][weight])


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("workers", [0, 1])
def test_a_resumed_run_ends_where_an_uninterrupted_one_does(
    phantoms: Samples, tiny_sets: Sequence[str], tmp_path: Path, precision: str, workers: int
) -> None:
    recipe = load_recipe("edge", [*tiny_sets, f"trainer.precision={precision}", f"trainer.workers={workers}"])
    whole = fit(recipe, phantoms, tmp_path / "whole", threads=1)
    with pytest.raises(ArithmeticError):
        fit(recipe, phantoms, tmp_path / "parts", threads=1, callbacks=[StopAfter(1)])
    assert not (tmp_path / "parts" / "model.safetensors").exists()
    torch.manual_seed(12345)  # whatever the new process did with its generators must not matter
    with pytest.raises(ArithmeticError):
        fit(recipe, phantoms, tmp_path / "parts", threads=1, resume=True, callbacks=[StopAfter(2)])
    parts = fit(recipe, phantoms, tmp_path / "parts", threads=1, resume=True)

    assert_same(trained(whole.folder), trained(parts.folder))
    logs = [(run.folder / "log" / "metrics.csv").read_text().splitlines() for run in (whole, parts)]
    without_times = [[[c for k, c in enumerate(row.split(",")) if k != 1] for row in log] for log in logs]
    assert without_times[0] == without_times[1]


KILLED = """
import os, signal, sys
from lightning.pytorch.callbacks import Callback
from edgebrain.labelled import read_labelled
from edgebrain.train.config import load_recipe
from edgebrain.train.fit import fit

class Kill(Callback):
    def on_train_batch_end(self, trainer, *_):
        if trainer.current_epoch == 1:
            os.kill(os.getpid(), signal.SIGKILL)

manifest, folder, *sets = sys.argv[1:]
from pathlib import Path
fit(load_recipe("edge", sets), read_labelled(manifest), Path(folder), threads=1, callbacks=[Kill()])
"""


def test_a_killed_process_is_resumed_exactly(phantoms: Samples, tiny_sets: Sequence[str], tmp_path: Path) -> None:
    manifest = tmp_path / "splits.csv"
    write_samples(manifest, phantoms)
    sets = [*tiny_sets, "trainer.precision=bf16-mixed", "trainer.workers=1"]
    code = [sys.executable, "-c", KILLED, str(manifest), str(tmp_path / "parts"), *sets]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "OMP_NUM_THREADS": "1"}
    killed = subprocess.run(code, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr

    recipe = load_recipe("edge", sets)
    samples = read_labelled(manifest)
    parts = fit(recipe, samples, tmp_path / "parts", threads=1, resume=True)
    whole = fit(recipe, samples, tmp_path / "whole", threads=1)
    assert_same(trained(whole.folder), trained(parts.folder))


def test_a_finished_run_may_be_resumed_and_stays_what_it_is(tiny: Recipe, phantoms: Samples, whole: Path) -> None:
    before = trained(whole)
    fit(tiny, phantoms, whole, threads=1, resume=True)
    assert_same(before, trained(whole))


def test_a_moved_run_can_be_resumed(tiny: Recipe, phantoms: Samples, tmp_path: Path, whole: Path) -> None:
    with pytest.raises(ArithmeticError):
        fit(tiny, phantoms, tmp_path / "here", threads=1, callbacks=[StopAfter(2)])
    (tmp_path / "here").rename(tmp_path / "there")
    moved = fit(tiny, phantoms, tmp_path / "there", threads=1, resume=True)
    assert not (tmp_path / "here").exists()
    assert_same(trained(whole), trained(moved.folder))


def test_an_interrupt_stays_an_interrupt(tiny: Recipe, phantoms: Samples, tmp_path: Path) -> None:
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        fit(tiny, phantoms, tmp_path / "run", threads=1, callbacks=[StopAfter(1, KeyboardInterrupt)])
    assert signal.getsignal(signal.SIGINT) is handler
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").is_file()


def test_an_exit_that_is_no_interrupt_passes(tiny: Recipe, phantoms: Samples, tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        fit(tiny, phantoms, tmp_path / "run", threads=1, callbacks=[StopAfter(1, SystemExit)])


def test_settings_of_the_process_are_put_back(tiny: Recipe, phantoms: Samples, tmp_path: Path) -> None:
    loggers = [logging.getLogger(name) for name in ("lightning", "lightning.pytorch", "lightning.fabric")]
    before = [logger.level for logger in loggers], list(warnings.filters)
    with pytest.raises(ArithmeticError):
        fit(tiny, phantoms, tmp_path / "run", threads=1, callbacks=[StopAfter(0)])
    assert ([logger.level for logger in loggers], list(warnings.filters)) == before


def test_a_folder_with_something_in_it_is_left_alone(tiny: Recipe, phantoms: Samples, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"is not empty\. Remove it, or name another --output"):
        fit(tiny, phantoms, tmp_path, threads=1)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_a_folder_with_a_run_in_it_can_only_be_resumed(tiny: Recipe, phantoms: Samples, whole: Path) -> None:
    before = trained(whole)
    with pytest.raises(UsageError, match="--resume continues its run"):
        fit(tiny, phantoms, whole, threads=1)
    assert_same(before, trained(whole))


def test_the_output_must_be_a_folder_that_can_be_made(tiny: Recipe, phantoms: Samples, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file, not a folder"):
        fit(tiny, phantoms, tmp_path / "file", threads=1)
    with pytest.raises(UsageError, match="cannot be made"):
        fit(tiny, phantoms, tmp_path / "file" / "run", threads=1)


@pytest.mark.parametrize("started", [False, True])
def test_resume_needs_a_finished_epoch(tiny: Recipe, phantoms: Samples, tmp_path: Path, started: bool) -> None:
    if started:
        with pytest.raises(ArithmeticError):
            fit(tiny, phantoms, tmp_path / "run", threads=1, callbacks=[StopAfter(0)])
    with pytest.raises(UsageError, match=r"no epoch was finished.*without --resume"):
        fit(tiny, phantoms, tmp_path / "run", threads=1, resume=True)


def test_resume_wants_the_same_recipe(phantoms: Samples, tiny_sets: Sequence[str], tmp_path: Path, whole: Path) -> None:
    del tmp_path
    other = load_recipe("edge", [*tiny_sets, "optimizer.lr=0.5"])
    with pytest.raises(UsageError, match="started with another recipe"):
        fit(other, phantoms, whole, threads=1, resume=True)


def test_resume_wants_the_same_data(tiny: Recipe, phantoms: Samples, whole: Path) -> None:
    with pytest.raises(UsageError, match=r"started with other data.*splits\.csv"):
        fit(tiny, phantoms[1:], whole, threads=1, resume=True)
    with pytest.raises(UsageError, match=r"other groups, copies or conflicts.*splits\.csv"):
        fit(tiny, [replace(s, group="one") for s in phantoms], whole, threads=1, resume=True)


def test_resume_refuses_what_is_no_training_checkpoint(tiny: Recipe, phantoms: Samples, tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "checkpoints" / "last.ckpt", {"edgebrain": {}})
    with pytest.raises(UsageError, match="no checkpoint of a training run"):
        fit(tiny, phantoms, tmp_path, threads=1, resume=True)


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_class_must_be_in_every_split(tiny: Recipe, phantoms: Samples, tmp_path: Path, split: str) -> None:
    kept = [s for s in phantoms if not (s.split == split and s.label == "pituitary")]
    with pytest.raises(TrainingError, match=f"The {split} split has no sample of: pituitary"):
        fit(tiny, kept, tmp_path / "run", threads=1)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_class_of_which_nothing_can_be_read_is_missing(
    tiny: Recipe, phantoms: Samples, tmp_path: Path, split: str
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n")
    bad = [replace(s, path=str(broken)) if s.split == split and s.label == "no_tumor" else s for s in phantoms]
    with pytest.raises(TrainingError, match=rf"No scan of no_tumor in the {split} split can be read\..*broken\.png"):
        fit(tiny, bad, tmp_path / "run", threads=1)


def test_a_run_without_a_test_split_is_scored_on_val_alone(tiny: Recipe, phantoms: Samples, tmp_path: Path) -> None:
    run = fit(tiny, [s for s in phantoms if s.split != "test"], tmp_path / "run", threads=1)
    assert list(run.metrics["splits"]) == ["val"]


def test_too_few_scans_for_a_batch(phantoms: Samples, tiny_sets: Sequence[str], tmp_path: Path) -> None:
    recipe = load_recipe("edge", [*tiny_sets, "trainer.batch_size=20"])
    with pytest.raises(
        TrainingError, match=r"An epoch of 18 training scans does not fill one batch of 20\..*batch_size"
    ):
        fit(recipe, phantoms, tmp_path / "run", threads=1)


def test_files_that_cannot_be_used_are_counted_and_named(tiny: Recipe, phantoms: Samples, tmp_path: Path) -> None:
    broken = Sample(str(tmp_path / "gone.png"), "glioma", split="train")
    run = fit(tiny, [*phantoms, broken], tmp_path / "run", threads=1)
    assert run.metrics["train"] == {"scans": 16, "unreadable": 1}
    assert len(run.unreadable) == 1
    assert "gone.png" in run.unreadable[0]
    # In the figures by their names alone, with those that an audit had left out before.
    assert run.metrics["unreadable"] == {"count": 1, "files": ["gone.png"]}
    assert "gone.png" not in json.dumps(load_model(run.model).facts)


def test_the_splits_of_a_binary_run_keep_the_kinds_of_tumour(
    phantoms: Samples, tiny_sets: Sequence[str], tmp_path: Path
) -> None:
    recipe = load_recipe(
        "edge", [*tiny_sets, "trainer.epochs=1", "data.labels=['no_tumor', 'tumor']", "model.labels=2"]
    )
    run = fit(recipe, phantoms, tmp_path / "run", threads=1)
    assert read_labelled(tmp_path / "run" / "splits.csv") == list(phantoms)
    assert run.metrics["data_sha256"] == digest(phantoms, recipe.data.labels)
    assert run.metrics["other_labels"] == {}
