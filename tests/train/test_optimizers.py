from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import nn

from edgebrain.errors import TrainingError
from edgebrain.labelled import Sample
from edgebrain.train import checkpoint
from edgebrain.train.config import OptimizerConfig, ScheduleConfig, load_recipe
from edgebrain.train.fit import fit
from edgebrain.train.optimizers import end_epoch, make_optimizer, make_schedule

Samples = tuple[Sample, ...]


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))


@pytest.mark.parametrize(
    ("name", "kind"),
    [("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam), ("nadam", torch.optim.NAdam), ("sgd", torch.optim.SGD)],
)
def test_an_optimiser_has_the_numbers_of_the_recipe(name: Any, kind: type[torch.optim.Optimizer]) -> None:
    net = network()
    net[0].requires_grad_(requires_grad=False)
    optimizer = make_optimizer(net.parameters(), OptimizerConfig(name=name, lr=0.25, momentum=0.8, weight_decay=0.5))
    assert type(optimizer) is kind
    assert {group["lr"] for group in optimizer.param_groups} == {0.25}
    held = [p for group in optimizer.param_groups for p in group["params"]]
    assert sorted(map(id, held)) == sorted(id(p) for p in net.parameters() if p.requires_grad)
    decays = {p.ndim: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decays == ({2: 0.5, 1: 0.0} if name == "adamw" else {2: 0.5, 1: 0.5})
    assert [group.get("momentum") for group in optimizer.param_groups][-1] == (0.8 if name == "sgd" else None)


def rates(config: ScheduleConfig, losses: Sequence[float]) -> list[float]:
    """The learning rate of each epoch, and the one after the last."""
    optimizer = make_optimizer(network().parameters(), OptimizerConfig(name="sgd", lr=1.0))
    schedule = make_schedule(optimizer, config, 10)
    found = [optimizer.param_groups[0]["lr"]]
    for loss in losses:
        optimizer.step()
        end_epoch(schedule, loss)
        found.append(optimizer.param_groups[0]["lr"])
    return found


def test_schedules_by_epoch_move_as_the_recipe_says() -> None:
    assert rates(ScheduleConfig(name="constant"), [1.0] * 3) == [1.0] * 4
    assert rates(ScheduleConfig(name="step", every=2, factor=0.5), [1.0] * 5) == [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]
    # Two epochs without a lower loss are borne, the third one lowers the rate.
    plateau = ScheduleConfig(name="plateau", patience=2, factor=0.5)
    assert rates(plateau, [3.0, 2.0, 2.0, 2.0, 2.0, 1.0]) == [1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5]
    # What moves by step is not moved here.
    assert rates(ScheduleConfig(warmup=0.1), [1.0] * 3) == [1.0] * 4


VARIANTS = {
    "adam": ("optimizer.name=adam", "schedule.name=plateau", "schedule.patience=0", "optimizer.ema_decay=0"),
    "nadam": ("optimizer.name=nadam", "schedule.name=constant", "optimizer.clip=0", "augment.style=flips"),
    "sgd": ("optimizer.name=sgd", "schedule.name=step", "schedule.every=1", "augment.style=resized_crop"),
}


class Crash(Callback):
    """Breaks a run when its third epoch begins."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        del pl_module
        if trainer.current_epoch == 2:
            raise ArithmeticError


def state(folder: Path) -> dict[str, Any]:
    last = checkpoint.load(folder / "checkpoints" / "last.ckpt")
    return {key: last[key] for key in ("state_dict", "optimizer_states", "lr_schedulers", "epoch")}


def same(left: Any, right: Any) -> bool:
    if isinstance(left, torch.Tensor):
        return torch.equal(left, right)
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[k], right[k]) for k in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_optimiser_and_schedule_is_resumed_exactly(
    phantoms: Samples, tiny_sets: Sequence[str], tmp_path: Path, variant: str
) -> None:
    recipe = load_recipe("edge-base", [*tiny_sets, *VARIANTS[variant], "trainer.epochs=4"])
    fit(recipe, phantoms, tmp_path / "whole", threads=1)
    with pytest.raises(ArithmeticError):
        fit(recipe, phantoms, tmp_path / "parts", threads=1, callbacks=[Crash()])
    fit(recipe, phantoms, tmp_path / "parts", threads=1, resume=True)
    assert same(state(tmp_path / "whole"), state(tmp_path / "parts"))
    models = [checkpoint.load(tmp_path / name / "model.safetensors")["weights"] for name in ("whole", "parts")]
    assert same(*models)
    averaged = any(key.startswith("average.") for key in state(tmp_path / "whole")["state_dict"])
    assert averaged == (variant != "adam")


def test_training_that_gets_no_better_stops_and_stays_stopped(
    phantoms: Samples, tiny_sets: Sequence[str], tmp_path: Path
) -> None:
    # A rate this small moves no weight that a float32 can tell, so no epoch is better than the first.
    frozen = ("optimizer.lr=1e-30", "optimizer.name=sgd", "optimizer.weight_decay=0", "optimizer.ema_decay=0.999")
    sets = [*tiny_sets, *frozen, "schedule.name=constant", "trainer.epochs=9", "trainer.patience=2", "model.dropout=0"]
    recipe = load_recipe("edge-base", sets)
    run = fit(recipe, phantoms, tmp_path / "run", threads=1)
    rows = (run.folder / "log" / "metrics.csv").read_text().splitlines()
    epochs = len(rows) - 1
    assert epochs < 9
    assert epochs == run.metrics["best_epoch"] + 1 + 2
    before = state(run.folder)
    again = fit(recipe, phantoms, run.folder, threads=1, resume=True)
    assert same(before, state(run.folder))
    assert again.metrics["splits"] == run.metrics["splits"]
    assert (run.folder / "log" / "metrics.csv").read_text().splitlines() == rows


def test_what_needs_a_gpu_is_refused_before_anything_is_done(
    phantoms: Samples, tiny_sets: Sequence[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    recipe = load_recipe("edge", [*tiny_sets, "trainer.precision=16-mixed"])
    with pytest.raises(TrainingError, match=r"16-mixed needs a GPU.*bf16-mixed"):
        fit(recipe, phantoms, tmp_path / "run", threads=1)
    assert not (tmp_path / "run").exists()
