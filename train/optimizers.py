"""Optimisers and learning-rate schedules by their names in a recipe."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from typing import Any

import torch
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau, StepLR

from .config import OptimizerConfig, ScheduleConfig

Schedule = LRScheduler | ReduceLROnPlateau


def make_optimizer(parameters: Iterable[Parameter], config: OptimizerConfig) -> Optimizer:
    """Build the optimiser of a recipe over what learns.

    AdamW (Loshchilov and Hutter, ICLR 2019) decays no norms and biases. Adam (Kingma and Ba, ICLR 2015), NAdam (Dozat,
    2016) and SGD with momentum add the decay of all weights to the gradient, as the systems that used them did.

    Args:
        parameters: Of the network; frozen ones are left out.
        config: Name and numbers.
    """
    learned = [p for p in parameters if p.requires_grad]
    if config.name == "adamw":
        groups = [
            {"params": [p for p in learned if p.ndim > 1], "weight_decay": config.weight_decay},
            {"params": [p for p in learned if p.ndim <= 1], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=config.lr)
    if config.name == "sgd":
        return torch.optim.SGD(learned, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay)
    kind = torch.optim.Adam if config.name == "adam" else torch.optim.NAdam
    return kind(learned, lr=config.lr, weight_decay=config.weight_decay)


def make_schedule(optimizer: Optimizer, config: ScheduleConfig, steps: int) -> Schedule | None:
    """Build the schedule of a recipe.

    Args:
        optimizer: Whose learning rate moves.
        config: Name and numbers.
        steps: Optimiser steps in the whole run; only ``one_cycle`` looks at it.

    Returns:
        ``one_cycle`` is to be moved after every step, the others by :func:`end_epoch`; None for ``constant``.
    """
    if config.name == "constant":
        return None
    if config.name == "plateau":
        return ReduceLROnPlateau(optimizer, factor=config.factor, patience=config.patience)
    if config.name == "step":
        return StepLR(optimizer, config.every, config.factor)
    warmup = max(1, round(config.warmup * steps))

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, steps - warmup))))

    return LambdaLR(optimizer, factor)


def for_lightning(optimizer: Optimizer, schedule: Schedule | None) -> Any:
    """What a Lightning module's ``configure_optimizers`` returns for them.

    Lightning moves schedules by epoch only after the callbacks that keep the epoch: a resumed run would be one move
    behind. So it is told a frequency that it never reaches, and whoever keeps the epoch calls :func:`end_epoch` first.
    """
    if schedule is None:
        return optimizer
    if isinstance(schedule, LambdaLR):
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
    never = {"scheduler": schedule, "interval": "epoch", "frequency": sys.maxsize, "monitor": "val/loss"}
    return {"optimizer": optimizer, "lr_scheduler": never}


def end_epoch(schedule: Schedule | None, loss: float) -> None:
    """Move a schedule that moves by epoch; others are left alone.

    Args:
        schedule: Of :func:`make_schedule`.
        loss: Of the validation.
    """
    if isinstance(schedule, ReduceLROnPlateau):
        schedule.step(loss)
    elif isinstance(schedule, StepLR):
        schedule.step()
