"""A trained run on its own test scans: the answers that a comparison of runs measures."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from edgebrain.cpus import usable_cpus
from edgebrain.decision import probabilities_of
from edgebrain.errors import TrainingError
from edgebrain.labelled import NO_TUMOR, Sample, read_labelled
from edgebrain.types import Float64

from .config import SPLITS_FILE, Recipe, load_recipe, recipe_names, recipe_tree
from .data import prepare_samples, select
from .dispatch import is_meta
from .models import load_model
from .recipe_text import toml_value
from .scoring import network_logits

MODEL = "model.safetensors"


@dataclass(frozen=True)
class RunAnswers:
    """What a run says of its test scans; copies are left out, so that no scan counts twice.

    Attributes:
        recipe: What was trained.
        facts: What training wrote into the model: parameters, time, epochs, digest of the data.
        negative: The label that means no tumour, or None.
        samples: The N scans that could be read, labelled as the recipe asks.
        probabilities: float64 [N, K], softmax of the logits over the temperature that was fitted on val.
        tested: All scans that were asked for.
        command: Command that trains the same recipe on the same splits.
    """

    recipe: Recipe
    facts: dict[str, Any]
    negative: str | None
    samples: tuple[Sample, ...]
    probabilities: Float64
    tested: tuple[Sample, ...]
    command: str


def assess_run(folder: Path, *, threads: int | None = None) -> RunAnswers:
    """Run a trained network on the test scans of its run folder.

    Args:
        folder: Holds ``model.safetensors`` and ``splits.csv``.
        threads: Threads of the tensor library; the CPUs that this process may use if None.

    Raises:
        TrainingError: The model cannot be read, or there is nothing to test with.
        UsageError: The splits cannot be read.
    """
    torch.set_num_threads(threads or usable_cpus())
    trained = load_model(folder / MODEL)
    data = trained.recipe.data
    samples = read_labelled(folder / SPLITS_FILE, labels=data.labels)
    chosen = [sample for sample in select(samples, "test", data) if not sample.copy_of]
    prepared = prepare_samples(chosen, data.labels, trained.recipe.input, None)
    try:
        temperature = float(trained.facts["splits"]["val"]["temperature"])
    except (KeyError, TypeError, ValueError) as error:
        raise TrainingError(f"{folder / MODEL} does not say how well it did on val.") from error
    return RunAnswers(
        recipe=trained.recipe,
        facts=trained.facts,
        negative=NO_TUMOR if NO_TUMOR in data.labels else None,
        samples=prepared.samples,
        probabilities=probabilities_of(network_logits(trained.net, prepared.images), temperature),
        tested=tuple(chosen),
        command=train_command(trained.recipe, folder),
    )


def is_meta_run(folder: Path) -> bool:
    """Say whether a run was meta-learned: its figures are of episodes, which ``edgebrain fewshot`` measures.

    Raises:
        TrainingError: The model cannot be read.
    """
    return is_meta(load_model(folder / MODEL).recipe)


def train_command(recipe: Recipe, folder: Path) -> str:
    """The command that trains a recipe on the splits of a run folder, in a new folder."""
    words = ["edgebrain", "train", recipe.name]
    if recipe.name in recipe_names():
        usual = _flat(recipe_tree(load_recipe(recipe.name)))
        own = _flat(recipe_tree(recipe))
        changed = [key for key, value in own.items() if usual.get(key) != value]
        words += [word for key in changed for word in ("--set", f"{key}={toml_value(own[key])}")]
    else:
        words[-1] = f"{recipe.name}.toml"
    return shlex.join([*words, "--splits", str(folder / SPLITS_FILE), "--output", f"runs/{recipe.name}"])


def _flat(tree: Mapping[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in tree.items():
        if key == "search":
            continue  # it changes nothing about a training
        inner = _flat(value) if isinstance(value, dict) else None
        values |= {key: value} if inner is None else {f"{key}.{k}": v for k, v in inner.items()}
    return values
