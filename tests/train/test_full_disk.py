from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from edgebrain.errors import EdgebrainError, TrainingError
from edgebrain.labelled import Sample
from edgebrain.train import checkpoint
from edgebrain.train.config import Recipe, load_recipe
from edgebrain.train.fit import fit

resource = pytest.importorskip("resource", reason="this system has no limits on files")

Samples = tuple[Sample, ...]
ENOUGH_FOR_LOGS = 30_000
"""Bytes; a checkpoint of the tiny network has more."""


@contextmanager
def small_files(largest: int) -> Iterator[None]:
    """As on a full disk, the system itself refuses to write more; Python ignores the signal that comes with it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class Fill(Callback):
    """Fills the disk when the second epoch begins."""

    def __init__(self) -> None:
        self.limit = small_files(ENOUGH_FOR_LOGS)
        self.full = False

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        del pl_module
        if trainer.current_epoch == 1:
            self.limit.__enter__()
            self.full = True

    def on_exception(self, *_: Any) -> None:
        if self.full:
            self.limit.__exit__(None, None, None)


@pytest.fixture(autouse=True)
def room_again() -> Iterator[None]:
    """Whatever a test breaks off with, the next one can write."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def recipe(tiny_sets: Sequence[str]) -> Recipe:
    return load_recipe("edge-base", list(tiny_sets))


def test_a_full_disk_leaves_no_half_written_checkpoint(recipe: Recipe, phantoms: Samples, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(TrainingError, match=r"best\.ckpt cannot be written|last\.ckpt cannot be written") as caught:
        fit(recipe, phantoms, run, threads=1, callbacks=[Fill()])
    assert "\n" not in str(caught.value)
    assert sorted(p.name for p in (run / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]
    assert checkpoint.load(run / "checkpoints" / "last.ckpt")["epoch"] == 0
    # With room again it goes on, and ends as if nothing had been.
    fit(recipe, phantoms, run, threads=1, resume=True)
    fit(recipe, phantoms, tmp_path / "whole", threads=1)
    ends = [checkpoint.load(folder / "model.safetensors")["weights"] for folder in (run, tmp_path / "whole")]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[1])


def test_a_log_that_cannot_be_written_is_one_clear_error(
    recipe: Recipe, phantoms: Samples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    class Later(Callback):
        def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            del trainer, pl_module
            monkeypatch.setattr("edgebrain.outputs.write_all", full)

    with pytest.raises(EdgebrainError, match=r"metrics\.csv.*No space left on device"):
        fit(recipe, phantoms, tmp_path / "run", threads=1, callbacks=[Later()])
    assert not [p for p in (tmp_path / "run").rglob("*") if "partial" in p.name or p.name == "metrics.csv"]
