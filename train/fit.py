"""Fitting a recipe to data: the run folder, exact resume, interruption."""

from __future__ import annotations

import json
import os
import signal
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, ProgressBar

import edgebrain
from edgebrain.cpus import usable_cpus
from edgebrain.errors import UsageError
from edgebrain.labelled import Sample
from edgebrain.outputs import write_whole

from . import checkpoint
from .board import Board
from .config import SPLITS_FILE, Recipe, recipe_tree
from .curves import draw_curves
from .data import PreparedSet, check_readable, digest, prepare_samples, select
from .given_splits import Given, left_out_figures, write_given
from .learner import BEST, LAST, FitModule, Keeper, kept_weights
from .loading import Place, training_loader, validation_loader
from .models import build, save_model, towards_start
from .processes import Machines, check_precision, is_first, trainer_options
from .progress import History, progress_callback, quiet_lightning
from .scoring import headline, judge_splits
from .started import check_started_with, started_with
from .tasks import left_out, with_more_training, without_rare
from .transforms import canvas_side

CHECKPOINTS = "checkpoints"
"""Name of the folder in a run folder that a resume needs."""
MODEL = "model.safetensors"
METRICS = "metrics.json"
EVALUATION = "evaluation.json"


@dataclass(frozen=True)
class Run:
    """A finished training run: its folder, its model file, its figures, and files that could not be used, with why."""

    folder: Path
    model: Path
    metrics: dict[str, Any]
    unreadable: tuple[str, ...] = ()


def fit(
    recipe: Recipe,
    samples: Sequence[Sample],
    folder: Path,
    *,
    resume: bool = False,
    threads: int | None = None,
    callbacks: Sequence[Callback] = (),
    machines: Machines | None = None,
    unreadable: Sequence[str] = (),
) -> Run:
    """Train a recipe.

    The folder receives ``model.safetensors`` (weights of the epoch with the lowest validation loss),
    ``metrics.json``, ``evaluation.json`` (val and test with ROC curves, calibration and the figures of each class, as
    ``edgebrain evaluate --json`` has them), ``curves.png``, ``log/`` (``metrics.csv`` and TensorBoard's file),
    ``splits.csv`` and ``checkpoints/{best,last}.ckpt``.

    Args:
        recipe: Every number of the training.
        samples: Labelled scans with their split: train, val, and test where there is one.
        folder: Run folder; must be new or empty unless resuming.
        resume: Go on from the folder's last checkpoint; on a CPU the result equals that of an uninterrupted run.
        threads: Threads of the tensor library; the CPUs that this process may use if None.
        callbacks: Further Lightning callbacks.
        machines: Processes that share every batch; what torchrun started, else one, if None.
        unreadable: Names of files that were left out of the samples, since they cannot be read.

    Returns:
        The run; without figures in all processes but the first, which write nothing.

    Raises:
        UsageError: The folder is taken, or resume was asked for and does not fit.
        TrainingError: The data cannot be trained on.
        KeyboardInterrupt: The user stopped it; ``resume`` goes on.
    """
    check_precision(recipe.trainer.precision)
    samples = with_more_training(samples, recipe.data.val_to_train)
    recipe = without_rare(recipe, samples)
    if is_first() or resume:
        check_folder(folder, recipe, samples, resume=resume)
    torch.set_num_threads(threads or usable_cpus())
    lightning.seed_everything(recipe.seed, verbose=False)
    # All splits are read first, so that a bad one does not cost the hours of training before it.
    splits = ("train", "val", *(["test"] if any(s.split == "test" for s in samples) else []))
    data = {split: _prepared(recipe, samples, split) for split in splits}
    history = History(folder / "log" / "metrics.csv")
    stop = _Stop()
    with quiet_lightning(), _own_interrupt(stop), warnings.catch_warnings():
        for known in (".*does not have many workers.*", ".*LeafSpec.*deprecated.*"):
            warnings.filterwarnings("ignore", known)
        trainer = _trainer(
            recipe, folder, [history, Board(folder / "log", history), stop, *callbacks], machines or Machines()
        )
        place = Place(trainer.global_rank, trainer.world_size)
        loader, sampler = training_loader(recipe, data["train"], place)
        if resume:
            # Lightning starts the loader, and its workers start to draw, before it tells the sampler the epoch.
            sampler.set_epoch(checkpoint.load(last_checkpoint(folder))["epoch"] + 1)
        steps = recipe.trainer.epochs * (len(loader) // recipe.trainer.accumulate)
        module = FitModule(recipe, steps, started_with(recipe, samples))
        if is_first():
            _make_folder(folder)
            write_given(folder / SPLITS_FILE, samples, unreadable)
        start = str(last_checkpoint(folder)) if resume else None
        trainer.fit(module, loader, validation_loader(recipe, data["val"], place), ckpt_path=start)
    if not is_first():
        return Run(folder, folder / MODEL, {})
    return _finish(recipe, data, folder, history, Given(list(samples), tuple(unreadable)))


def last_checkpoint(folder: Path) -> Path:
    """Where a run folder has the checkpoint that a resume starts from.

    Args:
        folder: Run folder.
    """
    return folder / CHECKPOINTS / LAST


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder} cannot be made: {error.strerror}.", remedy="Name another --output.") from error


def _trainer(recipe: Recipe, folder: Path, callbacks: Sequence[Callback], machines: Machines) -> lightning.Trainer:
    progress = progress_callback()
    return lightning.Trainer(
        **trainer_options(machines),
        precision=recipe.trainer.precision,
        max_epochs=recipe.trainer.epochs,
        gradient_clip_val=recipe.optimizer.clip or None,
        accumulate_grad_batches=recipe.trainer.accumulate,
        deterministic=True,
        default_root_dir=folder,
        logger=False,
        callbacks=[progress, *callbacks, Keeper(folder / CHECKPOINTS, recipe.trainer.patience)],
        plugins=[checkpoint.SafetensorsIO()],
        enable_progress_bar=isinstance(progress, ProgressBar),
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )


class _Stop(Callback):
    """Ends the training at the next batch where Ctrl-C was swallowed.

    Python ignores what is raised in a destructor, and at the end of an epoch that of the loader waits for its workers.
    """

    def __init__(self) -> None:
        self.asked = False

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Raise what the user asked for."""
        del trainer, pl_module, batch, batch_idx
        if self.asked:
            raise KeyboardInterrupt


@contextmanager
def _own_interrupt(stop: _Stop) -> Iterator[None]:
    """Take Ctrl+C as everywhere else: Lightning would turn it into ``exit(1)`` and leave the signal ignored."""
    main = threading.current_thread() is threading.main_thread()
    handler, process = signal.getsignal(signal.SIGINT), os.getpid()

    def heed(number: int, frame: FrameType | None) -> None:
        if os.getpid() != process:
            return  # a terminal tells the workers, too, whose sudden end would be an error of the training's
        stop.asked = True
        if callable(handler):
            handler(number, frame)

    if main and callable(handler):
        signal.signal(signal.SIGINT, heed)
    try:
        yield
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from error
        raise
    finally:
        if main:
            signal.signal(signal.SIGINT, handler)


def check_folder(folder: Path, recipe: Recipe, samples: Sequence[Sample] | None = None, *, resume: bool) -> None:
    """Say whether a run can start or go on in a folder, before any long work.

    Args:
        folder: Run folder.
        recipe: The recipe to train.
        samples: The data, if it is known by now.
        resume: Whether a run is to go on.

    Raises:
        UsageError: The folder is taken, or its run does not fit.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file, not a folder.", remedy="Name another --output.")
    last = last_checkpoint(folder)
    if not resume:
        if folder.exists() and any(folder.iterdir()):
            way = "--resume continues its run; or name" if last.is_file() else "Remove it, or name"
            raise UsageError(f"{folder} is not empty.", remedy=f"{way} another --output.")
        return
    if not last.is_file():
        raise UsageError(
            f"{folder} holds no run to resume: no epoch was finished.",
            remedy="Start it without --resume, in a new or emptied folder.",
        )
    check_started_with(checkpoint.load(last).get("edgebrain", {}), recipe, samples, folder)


def _prepared(recipe: Recipe, samples: Sequence[Sample], split: str) -> PreparedSet:
    side = canvas_side(recipe) if split == "train" else None
    prepared = prepare_samples(select(samples, split, recipe.data), recipe.data.labels, recipe.input, side)
    check_readable(prepared, recipe.data.labels, split)
    return prepared


def _finish(recipe: Recipe, data: Mapping[str, PreparedSet], folder: Path, history: History, given: Given) -> Run:
    failed = [one for prepared in data.values() for one in prepared.unreadable]
    tree = checkpoint.load(folder / CHECKPOINTS / BEST)
    weights = towards_start(kept_weights(tree["state_dict"]), recipe)
    net = build(recipe)
    net.load_state_dict(weights)
    scores, evaluations = judge_splits(net, data, recipe)
    figures: dict[str, Any] = {
        "schema": 1,
        "recipe": recipe_tree(recipe),
        "parameters": sum(p.numel() for p in net.parameters()),
        "best_epoch": tree["epoch"],
        "training_seconds": round(history.seconds, 1),
        "data_sha256": digest(given.samples, recipe.data.labels),
        "code_version": edgebrain.__version__,
        "train": {"scans": len(data["train"].targets), "unreadable": len(data["train"].unreadable)},
        "other_labels": left_out(given.samples, recipe.data),
        "splits": scores,
    }
    model = folder / MODEL
    save_model(model, weights, recipe, {k: v for k, v in figures.items() if k != "recipe"})
    # Not in the model, which is passed on: names of files, every figure with its interval, and the curves.
    figures["unreadable"] = left_out_figures(given.unreadable, failed)
    figures["evaluation"] = {split: headline(evaluation) for split, evaluation in evaluations.items()}
    everything = {split: evaluation.to_dict() for split, evaluation in evaluations.items()}
    write_whole(folder / EVALUATION, (json.dumps(everything) + "\n").encode())
    write_whole(folder / METRICS, (json.dumps(figures, indent=2) + "\n").encode())
    draw_curves(history.path, folder / "curves.png")
    return Run(folder, model, figures, tuple(one.message for one in failed))
