"""How a network learns: loss, averaged weights, optimiser and schedule, as a Lightning module."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, cast

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from .config import Recipe, recipe_tree
from .models import fresh
from .objective import Mixture, batch_loss, mix
from .teacher import load_teacher

BEST = "best.ckpt"
LAST = "last.ckpt"

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
    """Trains one network; the exponential moving average of its weights is what is validated and kept.

    Args:
        recipe: Every number.
        steps: Optimiser steps in the whole run, for the schedule.
        data: Digest of the samples, kept in checkpoints.
    """

    def __init__(self, recipe: Recipe, steps: int, data: str) -> None:
        super().__init__()
        self.recipe = recipe
        self.data = data
        self.steps = steps
        self.net = fresh(recipe).to(memory_format=torch.channels_last)
        self.average = AveragedModel(self.net, avg_fn=_ema(recipe.optimizer.ema_decay), use_buffers=True)
        self.average.requires_grad_(requires_grad=False)
        self.teach = load_teacher(recipe)
        classes = len(recipe.data.labels)
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
            seed = np.random.SeedSequence([self.recipe.seed, self.current_epoch]).generate_state(1)[0]
            lightning.seed_everything(int(seed), verbose=False)

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Loss of one batch."""
        images, targets = batch
        mixture: Mixture | None = None
        changes = self.recipe.augment.at(self.current_epoch, self.recipe.trainer.epochs)
        if changes.mixup and float(torch.rand(())) < changes.mixup:
            images, mixture = mix(images, targets, len(self.recipe.data.labels))
        taught = None if self.teach is None else self.teach(images)
        loss = batch_loss(self.net(images), targets, self.recipe, taught=taught, mixture=mixture)
        self.log("train/loss", loss, on_step=False, on_epoch=True, prog_bar=True, batch_size=len(batch[1]))
        return loss

    def on_train_batch_end(self, *_: Any) -> None:
        """Move the average."""
        self.average.update_parameters(self.net)

    def validation_step(self, batch: Batch, _: int) -> None:
        """Metrics of the averaged weights."""
        logits = self.average(batch[0]).logits
        self.accuracy(logits, batch[1])
        self.macro_f1(logits, batch[1])
        values: dict[str, Any] = {
            "val/loss": nn.functional.cross_entropy(logits, batch[1]),
            "val/accuracy": self.accuracy,
            "val/macro_f1": self.macro_f1,
        }
        self.log_dict(values, on_step=False, on_epoch=True, prog_bar=True, batch_size=len(batch[1]))

    def configure_optimizers(self) -> Any:
        """AdamW without decay on norms and biases; linear warm-up, then cosine to zero."""
        config = self.recipe.optimizer
        learned = [p for p in self.net.parameters() if p.requires_grad]
        decayed = [p for p in learned if p.ndim > 1]
        plain = [p for p in learned if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=config.lr)
        warmup = max(1, round(self.recipe.schedule.warmup * self.steps))

        def factor(step: int) -> float:
            if step < warmup:
                return (step + 1) / warmup
            return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, self.steps - warmup))))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what a resume must agree with."""
        checkpoint["edgebrain"] = {"recipe": recipe_tree(self.recipe), "data": self.data}


class Keeper(Checkpoint):
    """Writes ``best.ckpt`` and ``last.ckpt`` when an epoch is over, so that a resume starts at an epoch's first batch.

    Unlike Lightning's own, it knows no absolute paths: a run folder can be moved and resumed.

    Args:
        folder: Where the files go.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.best = math.inf
        self.epoch = -1

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Keep the epoch; the earlier of equally good ones stays the best."""
        del pl_module
        if trainer.current_epoch <= self.epoch:
            return  # Lightning ends the last finished epoch once more when a run goes on
        self.epoch = trainer.current_epoch
        # Not accuracy: on a few hundred scans its maximum over many epochs is luck. The likelihood hears every scan.
        loss = float(trainer.callback_metrics["val/loss"])
        if loss < self.best:
            self.best = loss
            trainer.save_checkpoint(self.folder / BEST)
        trainer.save_checkpoint(self.folder / LAST)

    def state_dict(self) -> dict[str, Any]:
        """What a resume needs."""
        return {"best": self.best, "epoch": self.epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        self.best, self.epoch = state_dict["best"], state_dict["epoch"]
