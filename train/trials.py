"""One trial of a search: a short training that is watched and may be given up."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import lightning
import optuna
import torch
from lightning.pytorch.callbacks import Callback
from optuna.trial import FrozenTrial, Trial, TrialState

from edgebrain.errors import TrainingError, UsageError
from edgebrain.labelled import Sample
from edgebrain.outputs import write_whole

from .config import Recipe, with_values
from .fit import Run, fit

PARTIAL = ".partial"
Goal = Literal["loss", "macro_f1"]


class Watch(Callback):
    """Reports every epoch to the search, and gives a trial up when the search says so.

    Args:
        trial: The trial.
        goal: Figure to judge by.

    Attributes:
        value: The figure of the epoch that training keeps, the one with the lowest validation loss; None before.
    """

    def __init__(self, trial: Trial, goal: Goal) -> None:
        self.trial = trial
        self.goal = goal
        self.value: float | None = None
        self._loss = math.inf

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Report the epoch."""
        del pl_module
        loss = float(trainer.callback_metrics["val/loss"])
        if not math.isfinite(loss):
            self.trial.set_user_attr("diverged", value=True)
            raise optuna.TrialPruned
        if loss < self._loss:
            self._loss = loss
            self.value = float(trainer.callback_metrics[f"val/{self.goal}"])
        assert self.value is not None
        self.trial.report(self.value, trainer.current_epoch)
        if trainer.current_epoch + 1 < (trainer.max_epochs or 0) and self.trial.should_prune():
            raise optuna.TrialPruned


class Bench:
    """Trains the trials of a search; what stays of each is a folder with two small files.

    Args:
        recipe: What is trained but for what is drawn.
        samples: Labelled scans. Those to test with are not looked at: a search that chose by them would leave nothing
            to judge its outcome with.
        folder: Where ``trials/NUMBER/`` go.
        goal: Figure to judge by.
        threads: Threads of the tensor library, or None for what this process may use.
    """

    def __init__(
        self, recipe: Recipe, samples: Sequence[Sample], folder: Path, *, goal: Goal, threads: int | None = None
    ) -> None:
        self.recipe = recipe
        self.samples = [sample for sample in samples if sample.split in ("train", "val")]
        self.folder = folder / "trials"
        self.goal = goal
        self.threads = threads

    def __call__(self, trial: Trial, values: Mapping[str, Any]) -> float:
        """Train with the values of a trial.

        Returns:
            The figure of the epoch that training keeps.

        Raises:
            TrainingError: These values cannot be trained with.
            optuna.TrialPruned: The trial was given up.
        """
        work = self.folder / f"{trial.number:04d}{PARTIAL}"
        watch = Watch(trial, self.goal)
        shutil.rmtree(work, ignore_errors=True)
        try:
            recipe = with_values(self.recipe, values, f"trial {trial.number}")
            run = fit(recipe, self.samples, work, threads=self.threads, callbacks=(watch,))
            self._tell(trial, run, values, watch.value)
        except UsageError as error:
            raise TrainingError(f"Trial {trial.number}: {error.message}", remedy=error.remedy) from error
        except torch.OutOfMemoryError as error:
            raise TrainingError(f"Trial {trial.number} did not fit into the memory of the device.") from error
        finally:
            self._keep(work, trial.number)
        assert watch.value is not None
        return watch.value

    def _tell(self, trial: Trial, run: Run, values: Mapping[str, Any], value: float | None) -> None:
        figures = run.metrics["splits"]["val"]
        known = {key: figures[key] for key in ("accuracy", "macro_f1", "recall")}
        known |= {key: run.metrics[key] for key in ("best_epoch", "training_seconds", "parameters")}
        for key, figure in known.items():
            trial.set_user_attr(key, figure)
        record = {"trial": trial.number, "values": dict(values), self.goal: value, **known}
        write_whole(run.folder / "trial.json", (json.dumps(record, indent=2) + "\n").encode())

    def _keep(self, work: Path, number: int) -> None:
        kept = [path for path in (work / "trial.json", work / "log" / "metrics.csv") if path.is_file()]
        if kept:
            target = self.folder / f"{number:04d}"
            target.mkdir(parents=True, exist_ok=True)
            for path in kept:
                path.replace(target / path.name)
        shutil.rmtree(work, ignore_errors=True)

    def tidy(self, trials: Collection[FrozenTrial]) -> None:
        """Remove what workers that were killed have left behind.

        Args:
            trials: All trials of the study.
        """
        running = {trial.number for trial in trials if trial.state == TrialState.RUNNING}
        for path in self.folder.glob(f"*{PARTIAL}"):
            number = path.name.removesuffix(PARTIAL)
            if number.isdecimal() and int(number) not in running:
                shutil.rmtree(path, ignore_errors=True)
