"""A run of a meta-learning recipe: the run folder, exact resume, figures."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import edgebrain
from edgebrain.cpus import usable_cpus
from edgebrain.errors import UsageError
from edgebrain.intervals import group_index
from edgebrain.labelled import Sample
from edgebrain.outputs import write_whole

from . import checkpoint
from .config import SPLITS_FILE, MetaConfig, Recipe, recipe_tree
from .curves import draw_curves
from .data import PreparedSet, digest, prepare_samples, select
from .episodes import EpisodeSampler, Indices, pool_of
from .given_splits import Given, left_out_figures, write_given
from .judging import Solver, accuracy_of, judge
from .maml import Maml, Method, check_network, head_names
from .meta_loop import State, Tasks, as_task, meta_train
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
) -> dict[str, Any]:
    """Meta-train a recipe.

    The folder receives ``model.safetensors`` (the weights of the check with the lowest validation loss),
    ``metrics.json``, ``curves.png``, ``log/metrics.csv``, ``splits.csv`` and ``checkpoints/meta.safetensors``.

    Args:
        recipe: Every number of the training.
        samples: Labelled scans with their split: train, val, and test where there is one.
        folder: Run folder; made by the caller's check.
        resume: Go on from the folder's state; on a CPU the result equals that of an uninterrupted run.
        threads: Threads of the tensor library; the CPUs that this process may use if None.
        unreadable: Names of files that were left out of the samples, since they cannot be read.

    Returns:
        The figures, as in ``metrics.json``.

    Raises:
        TrainingError: The data or the network cannot be meta-trained.
        UsageError: There is nothing to resume, or the folder cannot be written.
    """
    torch.set_num_threads(threads or usable_cpus())
    torch.manual_seed(recipe.seed)
    net = fresh(recipe)
    check_network(net)
    splits = ("train", "val", *(["test"] if any(s.split == "test" for s in samples) else []))
    data = {s: prepare_samples(select(samples, s, recipe.data), recipe.data.labels, recipe.input, None) for s in splits}
    folder.mkdir(parents=True, exist_ok=True)
    state = _earlier(recipe, samples, folder) if resume else State()
    write_given(folder / SPLITS_FILE, samples, unreadable)
    method = method_of(recipe.meta, net)
    start = started_with(recipe, samples)

    tasks = episodes_of(data["train"], recipe, shots=recipe.meta.support, queries=recipe.meta.query, seed=recipe.seed)
    watched = episodes_of(data["val"], recipe, shots=recipe.meta.support, queries=recipe.meta.query, seed=recipe.seed)
    validation = [watched.task(i) for i in range(recipe.meta.check_tasks)]
    with Watch(recipe.meta.iterations) as watch:

        def keep(now: State) -> None:
            tree = {"state": asdict(now), **start}
            checkpoint.save(folder / checkpoint_name(), tree)
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
    return _finish(recipe, _Run(Given(list(samples), tuple(unreadable)), data, folder), net, state)


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


def groups_of(prepared: PreparedSet) -> Indices:
    """Groups of prepared scans as numbers; a scan without one is a group of its own."""
    return group_index([s.group or s.path for s in prepared.samples])


def episodes_of(
    prepared: PreparedSet, recipe: Recipe, *, shots: int, queries: int, seed: int, disjoint: bool = True
) -> Tasks:
    """Episodes of all labels of a recipe, each label always in its own place."""
    everything = tuple(range(len(recipe.data.labels)))
    targets = prepared.targets.astype(np.intp)
    sampler = EpisodeSampler(
        pool_of(targets, np.flatnonzero(targets < len(everything))),
        groups_of(prepared),
        [everything],
        shots=shots,
        queries=queries,
        seed=seed,
        disjoint=disjoint,
    )
    return Tasks(prepared.images, sampler)


def solver(net: nn.Module, method: Method, prepared: PreparedSet) -> Solver:
    """A method with a network, as something that solves episodes of prepared scans."""
    net.eval()
    weights = dict(net.named_parameters())
    return lambda episode: (
        method.scores(net, weights, as_task(prepared.images, episode)).detach().numpy().astype(np.float64)
    )


def _earlier(recipe: Recipe, samples: Sequence[Sample], folder: Path) -> State:
    tree = checkpoint.load(folder / checkpoint_name())
    check_started_with(tree, recipe, samples, folder)
    return State(**tree["state"])


@dataclass(frozen=True)
class _Run:
    given: Given
    data: dict[str, PreparedSet]
    folder: Path


def _finish(recipe: Recipe, run: _Run, net: nn.Module, state: State) -> dict[str, Any]:
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
        "splits": {s: _figures(net, recipe, prepared) for s, prepared in data.items() if s != "train"},
    }
    save_model(folder / "model.safetensors", state.weights, recipe, figures)
    figures["recipe"] = recipe_tree(recipe)
    failed = [one for prepared in data.values() for one in prepared.unreadable]
    figures["unreadable"] = left_out_figures(run.given.unreadable, failed)  # names do not belong into the model
    write_whole(folder / "metrics.json", (json.dumps(figures, indent=2) + "\n").encode())
    log = folder / "log" / "metrics.csv"
    log.parent.mkdir(exist_ok=True)
    write_whole(log, _csv(state).encode())
    draw_curves(log, folder / "curves.png", unit="iteration")
    return figures


def _figures(net: nn.Module, recipe: Recipe, prepared: PreparedSet) -> dict[str, Any]:
    test = episodes_of(prepared, recipe, shots=recipe.meta.support, queries=QUERIES, seed=recipe.seed)
    outcome = judge(solver(net, method_of(recipe.meta, net), prepared), test.sampler, TEST_EPISODES)
    return {
        "scans": len(prepared.targets),
        "episodes": TEST_EPISODES,
        "shots": recipe.meta.support,
        "accuracy": asdict(accuracy_of(outcome)),
    }


def _csv(state: State) -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(state.rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(state.rows)
    return text.getvalue()
