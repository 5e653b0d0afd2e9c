"""Fitting a recipe to data: the run folder, exact resume, interruption."""

from __future__ import annotations

import json
import signal
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, ProgressBar
from torch import Tensor
from torch.utils.data import DataLoader

import edgebrain
from edgebrain.cpus import usable_cpus
from edgebrain.errors import TrainingError, UsageError
from edgebrain.labelled import Sample, write_samples

from . import checkpoint
from .config import SPLITS_FILE, Recipe, parse_recipe, recipe_tree
from .curves import draw_curves
from .data import MixedSampler, PreparedSet, ScanDataset, digest, prepare_samples, select
from .learner import BEST, LAST, FitModule, Keeper
from .models import build, save_model
from .progress import History, progress_callback, quiet_lightning
from .scoring import score

CHECKPOINTS = "checkpoints"
"""Name of the folder in a run folder that a resume needs."""


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
) -> Run:
    """Train a recipe.

    The folder receives ``model.safetensors`` (averaged weights of the epoch with the lowest validation loss),
    ``metrics.json``, ``curves.png``, ``log/metrics.csv``, ``splits.csv`` and ``checkpoints/{best,last}.ckpt``.

    Args:
        recipe: Every number of the training.
        samples: Labelled scans with their split: train, val, and test where there is one.
        folder: Run folder; must be new or empty unless resuming.
        resume: Go on from the folder's last checkpoint; on a CPU the result equals that of an uninterrupted run.
        threads: Threads of the tensor library; the CPUs that this process may use if None.
        callbacks: Further Lightning callbacks.

    Returns:
        The run.

    Raises:
        UsageError: The folder is taken, or resume was asked for and does not fit.
        TrainingError: The data cannot be trained on.
        KeyboardInterrupt: The user stopped it; ``resume`` goes on.
    """
    check_folder(folder, recipe, samples, resume=resume)
    torch.set_num_threads(threads or usable_cpus())
    lightning.seed_everything(recipe.seed, verbose=False)
    # All splits are read first, so that a bad one does not cost the hours of training before it.
    splits = ("train", "val", *(["test"] if any(s.split == "test" for s in samples) else []))
    data = {split: _prepared(recipe, samples, split) for split in splits}
    loader = _loader(recipe, data["train"], training=True)
    if resume and isinstance(loader.sampler, MixedSampler):
        # Lightning starts the loader, and its workers start to draw, before it tells the sampler the epoch.
        loader.sampler.set_epoch(checkpoint.load(_last(folder))["epoch"] + 1)
    module = FitModule(recipe, recipe.trainer.epochs * len(loader), digest(samples))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder} cannot be made: {error.strerror}.", remedy="Name another --output.") from error
    write_samples(folder / SPLITS_FILE, samples)
    history = History(folder / "log" / "metrics.csv")
    with quiet_lightning(), _own_interrupt(), warnings.catch_warnings():
        for known in (".*does not have many workers.*", ".*LeafSpec.*deprecated.*"):
            warnings.filterwarnings("ignore", known)
        trainer = _trainer(recipe, folder, [history, *callbacks])
        start = str(_last(folder)) if resume else None
        trainer.fit(module, loader, _loader(recipe, data["val"], training=False), ckpt_path=start)
    return _finish(recipe, data, folder, history, digest(samples))


def _last(folder: Path) -> Path:
    return folder / CHECKPOINTS / LAST


def _trainer(recipe: Recipe, folder: Path, callbacks: Sequence[Callback]) -> lightning.Trainer:
    progress = progress_callback()
    return lightning.Trainer(
        accelerator="auto",
        devices=1,
        precision=recipe.trainer.precision,
        max_epochs=recipe.trainer.epochs,
        gradient_clip_val=recipe.optimizer.clip,
        deterministic=True,
        default_root_dir=folder,
        logger=False,
        callbacks=[progress, *callbacks, Keeper(folder / CHECKPOINTS)],
        plugins=[checkpoint.SafetensorsIO()],
        enable_progress_bar=isinstance(progress, ProgressBar),
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )


@contextmanager
def _own_interrupt() -> Iterator[None]:
    """Take Ctrl+C as everywhere else: Lightning would turn it into ``exit(1)`` and leave the signal ignored."""
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT)
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
    last = _last(folder)
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
    earlier = checkpoint.load(last).get("edgebrain", {})
    if "recipe" not in earlier:
        raise UsageError(f"{last} is no checkpoint of a training run.")
    if parse_recipe(earlier["recipe"], str(last)) != recipe:
        raise UsageError(
            f"The run in {folder} was started with another recipe.", remedy="Use the same recipe and --set options."
        )
    if samples is not None and earlier.get("data") != digest(samples):
        raise UsageError(
            f"The run in {folder} was started with other data.", remedy=f"Use --splits {folder / SPLITS_FILE}."
        )


def _prepared(recipe: Recipe, samples: Sequence[Sample], split: str) -> PreparedSet:
    side = recipe.data.canvas if split == "train" else None
    prepared = prepare_samples(select(samples, split, recipe.data), recipe.data.labels, recipe.input, side)
    missing = [label for i, label in enumerate(recipe.data.labels) if i not in prepared.targets]
    if missing:
        raise TrainingError(
            f"No scan of {', '.join(missing)} in the {split} split can be read. {prepared.unreadable[0]}",
            remedy="Run 'edgebrain audit' on the data folder.",
        )
    return prepared


def _loader(recipe: Recipe, prepared: PreparedSet, *, training: bool) -> DataLoader[tuple[Tensor, int]]:
    batch = recipe.trainer.batch_size
    if not training:
        return DataLoader(ScanDataset(prepared, recipe.input), batch_size=4 * batch)
    sampler = MixedSampler(prepared, recipe.data, recipe.seed)
    if len(sampler) < batch:
        raise TrainingError(
            f"An epoch of {len(sampler)} training scans does not fill one batch of {batch}.",
            remedy="Add data, or lower it with --set trainer.batch_size=N.",
        )
    return DataLoader(
        ScanDataset(prepared, recipe.input, recipe),
        batch_size=batch,
        sampler=sampler,
        num_workers=recipe.trainer.workers,
        persistent_workers=False,  # a new worker each epoch sees the sampler's epoch and holds no state to resume
        drop_last=True,
    )


def _finish(recipe: Recipe, data: Mapping[str, PreparedSet], folder: Path, history: History, sha256: str) -> Run:
    tree = checkpoint.load(folder / CHECKPOINTS / BEST)
    prefix = "average.module."
    weights = {k.removeprefix(prefix): v for k, v in tree["state_dict"].items() if k.startswith(prefix)}
    net = build(recipe)
    net.load_state_dict(weights)
    figures: dict[str, Any] = {
        "schema": 1,
        "recipe": recipe_tree(recipe),
        "parameters": sum(p.numel() for p in net.parameters()),
        "best_epoch": tree["epoch"],
        "training_seconds": round(history.seconds, 1),
        "data_sha256": sha256,
        "code_version": edgebrain.__version__,
        "train": {"scans": len(data["train"].targets), "unreadable": len(data["train"].unreadable)},
        "splits": {split: score(net, prepared, recipe) for split, prepared in data.items() if split != "train"},
    }
    model = folder / "model.safetensors"
    save_model(model, weights, recipe, {k: v for k, v in figures.items() if k != "recipe"})
    text = json.dumps(figures, indent=2)
    temporary = folder / ".metrics.json"
    temporary.write_text(text + "\n", encoding="utf-8")
    temporary.replace(folder / "metrics.json")
    draw_curves(history.path, folder / "curves.png")
    return Run(folder, model, figures, tuple(reason for prepared in data.values() for reason in prepared.unreadable))
