from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from edgebrain.labelled import Sample, read_labelled
from edgebrain.train.config import load_recipe
from edgebrain.train.fit import fit

Samples = tuple[Sample, ...]

pytestmark = pytest.mark.usefixtures("one_thread")


class StopAfterOne(Callback):
    """Raises when the first epoch is over and its checkpoint is written."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        del pl_module
        if trainer.current_epoch == 1:
            raise ArithmeticError


def test_a_run_that_trains_on_a_part_of_val_says_which_and_goes_on(
    tiny_sets: tuple[str, ...], phantoms: Samples, tmp_path: Path
) -> None:
    recipe = load_recipe("edge", [*tiny_sets, "data.val_to_train=0.5", "trainer.epochs=2"])
    samples = [replace(s, group="") if s.label == "glioma" else s for s in phantoms]
    folder = tmp_path / "run"
    with pytest.raises(ArithmeticError):
        fit(recipe, samples, folder, threads=1, callbacks=[StopAfterOne()])
    kept = read_labelled(folder / "splits.csv")
    moved = [s for before, s in zip(samples, kept, strict=True) if before.split != s.split]
    assert 0 < len(moved) < 8
    assert {s.split for s in moved} == {"train"}
    assert {s.label for s in kept if s.split == "val"} == {s.label for s in samples}
    run = fit(recipe, kept, folder, threads=1, resume=True)  # with the run's own splits, as without --splits
    assert run.metrics["train"]["scans"] == 16 + len(moved)
    assert run.metrics["splits"]["val"]["scans"] == 8 - len(moved)
    assert run.metrics["splits"]["test"]["scans"] == 8
