"""A run of a meta-learning recipe: the run folder, exact resume, figures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import edgebrain
from edgebrain.cpus import usable_cpus
from edgebrain.errors import UsageError
from edgebrain.labelled import Sample
from edgebrain.outputs import write_whole
from edgebrain.types import Float64

from . import checkpoint
from .accelerator import find_device, say_device
from .config import SPLITS_FILE, MetaConfig, Recipe, recipe_tree
from .curves import draw_curves
from .data import PreparedSet, check_readable, digest, prepare_samples, select
from .episodes import Episode, EpisodeSampler, pool_of
from .few_shot import groups_of
from .fit import METRICS, MODEL, Run
from .given_splits import Given, left_out_figures, write_given
from .judging import Solver, accuracy_of, judge
from .maml import Maml, Method, check_network, head_names
from .meta_log import MetaLog
from .meta_loop import State, Tasks, as_images, as_task, meta_train
from .meta_progress import Watch
from .models import fresh, save_model
from .started import check_started_with, started_with

STATE = "meta.safetensors"
"""Name of the file in a run folder's checkpoints that a resume needs."""
TEST_EPISODES = 200
QUERIES = 15
"""Query scans of a class in test episodes."""


def meta_fit(
    recipe: Recipe,
    samples: Sequence[Sample],
    folder: Path,
    *,
    resume: bool = False,
    threads: int | None = None,
    unreadable: Sequence[str] = (),
) -> Run:
    """Meta-train a recipe.

    The folder receives what ordinary training leaves: ``model.safetensors`` (the weights of the check with the lowest
    validation loss), ``metrics.json``, ``curves.png``, ``log/`` (``metrics.csv`` and TensorBoard's file, a row a
    check), ``splits.csv`` and ``checkpoints/meta.safetensors``. A GPU is used if there is one.

    Args:
        recipe: Every number of the training.
        samples: Labelled scans with their split: train, val, and test where there is one.
        folder: Run folder; made by the caller's check.
        resume: Go on from the folder's state; on a CPU the result equals that of an uninterrupted run.
        threads: Threads of the tensor library; the CPUs that this process may use if None.
        unreadable: Names of files that were left out of the samples, since they cannot be read.

    Returns:
        The run, with the figures that are in ``metrics.json``.

    Raises:
        TrainingError: The data or the network cannot be meta-trained.
        UsageError: There is nothing to resume, or the folder cannot be written.
    """
    torch.set_num_threads(threads or usable_cpus())
    torch.manual_seed(recipe.seed)
    net = fresh(recipe)
    check_network(net)
    say_device()
    net.to(find_device())
    splits = ("train", "val", *(["test"] if any(s.split == "test" for s in samples) else []))
    data = {s: prepare_samples(select(samples, s, recipe.data), recipe.data.labels, recipe.input, None) for s in splits}
    for split, prepared in data.items():
        check_readable(prepared, recipe.data.labels, split)
    folder.mkdir(parents=True, exist_ok=True)
    state = _earlier(recipe, samples, folder) if resume else State()
    write_given(folder / SPLITS_FILE, samples, unreadable)
    method = method_of(recipe.meta, net)
    start = started_with(recipe, samples)

    tasks = episodes_of(data["train"], recipe, shots=recipe.meta.support, queries=recipe.meta.query, seed=recipe.seed)
    watched = episodes_of(data["val"], recipe, shots=recipe.meta.support, queries=recipe.meta.query, seed=recipe.seed)
    validation = [watched.task(i) for i in range(recipe.meta.check_tasks)]
    with Watch(recipe.meta.iterations, before=state.iteration) as watch, MetaLog(folder / "log", state.rows) as log:

        def keep(now: State) -> None:
            tree = {"state": asdict(now), **start}
            checkpoint.save(folder / checkpoint_name(), tree)
            log.show(now.rows)
            watch.show(now)

        state = meta_train(
            net,
            method,
            tasks,
            validation,
            recipe.meta,
            seed=recipe.seed,
            state=state,
            follow=keep,
        )
    figures = _finish(recipe, _Made(Given(list(samples), tuple(unreadable)), data, folder), net, state)
    reasons = tuple(one.message for prepared in data.values() for one in prepared.unreadable)
    return Run(folder, folder / MODEL, figures, reasons)


def check_meta_folder(folder: Path, *, resume: bool) -> None:
    """Say whether a run can start or go on in a folder, before any long work.

    Raises:
        UsageError: The folder is taken, or holds no run to go on with.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file, not a folder.", remedy="Name another --output.")
    if resume and not (folder / checkpoint_name()).is_file():
        raise UsageError(f"{folder} holds no run to resume.", remedy="Start it without --resume, in a new folder.")
    if not resume and folder.is_dir() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty.", remedy="--resume continues its run; or name another --output.")


def checkpoint_name() -> Path:
    """Where in a run folder the state lies."""
    return Path("checkpoints", STATE)


def method_of(config: MetaConfig, net: nn.Module) -> Maml:
    """The method that a recipe asks for."""
    return Maml(config.order, config.inner_lr, config.inner_steps, config.test_steps, head_names(net))


def episodes_of(
    prepared: PreparedSet, recipe: Recipe, *, shots: int, queries: int, seed: int, disjoint: bool = True
) -> Tasks:
    """Episodes of all labels of a recipe, each label always in its own place."""
    everything = tuple(range(len(recipe.data.labels)))
    targets = prepared.targets.astype(np.intp)
    sampler = EpisodeSampler(
        pool_of(targets, np.flatnonzero(targets < len(everything))),
        groups_of(prepared.samples),
        [everything],
        shots=shots,
        queries=queries,
        seed=seed,
        disjoint=disjoint,
    )
    return Tasks(as_images(prepared.images), sampler)


def solver(net: nn.Module, method: Method, images: Tensor) -> Solver:
    """A method with a network, as something that solves episodes of scans that lie where the network does."""
    net.eval()
    weights = dict(net.named_parameters())

    def solve(episode: Episode) -> Float64:
        return method.scores(net, weights, as_task(images, episode)).detach().cpu().numpy().astype(np.float64)

    return solve


def _earlier(recipe: Recipe, samples: Sequence[Sample], folder: Path) -> State:
    tree = checkpoint.load(folder / checkpoint_name())
    check_started_with(tree, recipe, samples, folder)
    return State(**tree["state"])


@dataclass(frozen=True)
class _Made:
    given: Given
    data: dict[str, PreparedSet]
    folder: Path


def _finish(recipe: Recipe, run: _Made, net: nn.Module, state: State) -> dict[str, Any]:
    data, folder = run.data, run.folder
    figures: dict[str, Any] = {
        "schema": 1,
        "parameters": sum(p.numel() for p in net.parameters()),
        "best_iteration": state.best_iteration,
        "iterations": state.iteration,
        "training_seconds": round(state.seconds, 1),
        "data_sha256": digest(run.given.samples, recipe.data.labels),
        "code_version": edgebrain.__version__,
        "train": {"scans": len(data["train"].targets), "unreadable": len(data["train"].unreadable)},
        "splits": {s: _figures(net, recipe, prepared, s) for s, prepared in data.items() if s != "train"},
    }
    save_model(folder / MODEL, state.weights, recipe, figures)
    figures["recipe"] = recipe_tree(recipe)
    failed = [one for prepared in data.values() for one in prepared.unreadable]
    figures["unreadable"] = left_out_figures(run.given.unreadable, failed)  # names do not belong into the model
    write_whole(folder / METRICS, (json.dumps(figures, indent=2) + "\n").encode())
    draw_curves(folder / "log" / "metrics.csv", folder / "curves.png", unit="iteration")
    return figures


def _figures(net: nn.Module, recipe: Recipe, prepared: PreparedSet, split: str) -> dict[str, Any]:
    test = episodes_of(prepared, recipe, shots=recipe.meta.support, queries=QUERIES, seed=recipe.seed)
    solve = solver(net, method_of(recipe.meta, net), test.images)
    with Watch(TEST_EPISODES, f"judging on {split}") as watch:
        outcome = judge(solve, test.sampler, TEST_EPISODES, watch.step)
    return {
        "scans": len(prepared.targets),
        "episodes": TEST_EPISODES,
        "shots": recipe.meta.support,
        "accuracy": asdict(accuracy_of(outcome)),
    }
