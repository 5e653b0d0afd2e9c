"""How a network learns: loss, averaged weights, optimiser and schedule, as a Lightning module."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from edgebrain.errors import TrainingError

from .config import Recipe
from .models import fresh
from .objective import Mixture, batch_loss, mix
from .optimizers import Schedule, end_epoch, for_lightning, make_optimizer, make_schedule
from .teacher import load_teacher

BEST = "best.ckpt"
LAST = "last.ckpt"
_UNKNOWN = -1

Batch = tuple[Tensor, Tensor]


def _ema(decay: float) -> Any:
    # The average follows quickly at first, or the random start would weigh on it for thousands of steps.
    def update(averaged: Tensor, current: Tensor, count: Tensor | int) -> Tensor:
        if not averaged.is_floating_point():
            return current
        n = float(count)
        return torch.lerp(averaged, current, 1.0 - min(decay, (1.0 + n) / (10.0 + n)))

    return update


class FitModule(lightning.LightningModule):
    """Trains one network.

    The exponential moving average of its weights is what is validated and kept, or the weights themselves where the
    recipe averages nothing. Gradients of the parts of a batch (``trainer.accumulate``) add up to those of the whole;
    batch normalisation still sees one part at a time.

    Args:
        recipe: Every number.
        steps: Optimiser steps in the whole run, for the schedule.
        start: What the run was started with, kept in checkpoints; see started.py.
    """

    def __init__(self, recipe: Recipe, steps: int, start: Mapping[str, Any]) -> None:
        super().__init__()
        self.recipe = recipe
        self.start = start
        self.steps = steps
        self.net = fresh(recipe).to(memory_format=torch.channels_last)
        decay = recipe.optimizer.ema_decay
        self.average = AveragedModel(self.net, avg_fn=_ema(decay), use_buffers=True) if decay else None
        if self.average is not None:
            self.average.requires_grad_(requires_grad=False)
        self.schedule: Schedule | None = None
        self.teach = load_teacher(recipe)
        classes = len(recipe.data.labels)
        # Rows without a label (other pictures, scans with some tumour) are not counted.
        self.train_accuracy = MulticlassAccuracy(classes, average="micro", ignore_index=_UNKNOWN)
        self.accuracy = MulticlassAccuracy(classes, average="micro")
        self.macro_f1 = MulticlassF1Score(classes, average="macro")

    def on_train_start(self) -> None:
        """Lay the optimiser's state out as the weights are; a checkpoint does not keep layouts, and sums differ."""
        for parameter, state in cast("torch.optim.Optimizer", self.optimizers(use_pl_optimizer=False)).state.items():
            for name, value in state.items():
                if value.shape == parameter.shape and value.stride() != parameter.stride():
                    state[name] = torch.empty_like(parameter).copy_(value)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Make what is random in an epoch depend on the seed and the epoch alone, so that a resume repeats it.

        At the first batch, because the loader draws from the same generator when it starts.
        """
        del batch
        if batch_idx == 0:
            # Processes that share the work drop other features and mix other pairs.
            place = [self.recipe.seed, self.current_epoch, *([self.global_rank] if self.global_rank else [])]
            seed = np.random.SeedSequence(place).generate_state(1)[0]
            lightning.seed_everything(int(seed), verbose=False)

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Loss of one batch."""
        images, targets = batch
        mixture: Mixture | None = None
        changes = self.recipe.augment.at(self.current_epoch, self.recipe.trainer.epochs)
        if changes.mixup and float(torch.rand(())) < changes.mixup:
            images, mixture = mix(images, targets, len(self.recipe.data.labels), changes.mixing)
        taught = None if self.teach is None else self.teach(images)
        output = self.net(images)
        loss = batch_loss(output, targets, self.recipe, taught=taught, mixture=mixture)
        known = targets < len(self.recipe.data.labels)
        self.train_accuracy.update(output.logits.detach(), torch.where(known, targets, _UNKNOWN))
        self.log("train/accuracy", self.train_accuracy, on_step=False, on_epoch=True, batch_size=len(targets))
        self.log(
            "train/loss", loss, on_step=False, on_epoch=True, prog_bar=True, sync_dist=True, batch_size=len(batch[1])
        )
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Move the average, where a whole batch and not a part of one is over."""
        del outputs, batch
        if self.average is not None and (batch_idx + 1) % self.recipe.trainer.accumulate == 0:
            self.average.update_parameters(self.net)

    def validation_step(self, batch: Batch, _: int) -> None:
        """Metrics of the weights that are kept."""
        logits = (self.average or self.net)(batch[0]).logits
        self.accuracy(logits, batch[1])
        self.macro_f1(logits, batch[1])
        values: dict[str, Any] = {
            "val/loss": nn.functional.cross_entropy(logits, batch[1]),
            "val/accuracy": self.accuracy,
            "val/macro_f1": self.macro_f1,
        }
        self.log_dict(values, on_step=False, on_epoch=True, prog_bar=True, sync_dist=True, batch_size=len(batch[1]))

    def configure_optimizers(self) -> Any:
        """The recipe's optimiser and schedule."""
        optimizer = make_optimizer(self.net.parameters(), self.recipe.optimizer)
        self.schedule = make_schedule(optimizer, self.recipe.schedule, self.steps)
        return for_lightning(optimizer, self.schedule)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what a resume must agree with."""
        checkpoint["edgebrain"] = dict(self.start)


def kept_weights(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights to keep out of a :class:`FitModule`'s: the averaged ones, or where nothing is averaged, the weights.

    Args:
        state: ``state_dict`` of the module.
    """
    averaged = "average.module."
    prefix = averaged if any(k.startswith(averaged) for k in state) else "net."
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


class Keeper(Checkpoint):
    """Writes ``best.ckpt`` and ``last.ckpt`` when an epoch is over, so that a resume starts at an epoch's first batch.

    Before that it moves the schedules that move by epoch, and it stops the training that gets no better. Unlike
    Lightning's own, it knows no absolute paths: a run folder can be moved and resumed.

    Args:
        folder: Where the files go.
        patience: Epochs without a lower validation loss after which training stops; 0 never stops.
    """

    def __init__(self, folder: Path, patience: int = 0) -> None:
        self.folder = folder
        self.patience = patience
        self.best = math.inf
        self.epoch = -1
        self.waited = 0

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """A run that had stopped early stays stopped when it is resumed."""
        del pl_module
        self._stop_in_time(trainer)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Keep the epoch; the earlier of equally good ones stays the best."""
        if trainer.current_epoch <= self.epoch:
            return  # Lightning ends the last finished epoch once more when a run goes on
        self.epoch = trainer.current_epoch
        # Not accuracy: on a few hundred scans its maximum over many epochs is luck. The likelihood hears every scan.
        loss = float(trainer.callback_metrics["val/loss"])
        if not math.isfinite(loss):
            raise TrainingError(
                f"The validation loss is no number after epoch {self.epoch + 1}: training went out of hand.",
                remedy="Start again with a lower optimizer.lr, or with optimizer.clip above 0.",
            )
        end_epoch(cast("FitModule", pl_module).schedule, loss)
        better = loss < self.best
        self.waited = 0 if better else self.waited + 1
        if better:
            self.best = loss
            trainer.save_checkpoint(self.folder / BEST)
        trainer.save_checkpoint(self.folder / LAST)
        self._stop_in_time(trainer)

    def _stop_in_time(self, trainer: lightning.Trainer) -> None:
        if self.patience and self.waited >= self.patience:
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        """What a resume needs."""
        return {"best": self.best, "epoch": self.epoch, "waited": self.waited}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        self.best, self.epoch = state_dict["best"], state_dict["epoch"]
        self.waited = state_dict.get("waited", 0)  # version 0.2 did not count
