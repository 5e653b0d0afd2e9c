"""What a run was started with, kept in its checkpoints: a resume must be given the same."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgebrain.errors import UsageError
from edgebrain.folders import absolute
from edgebrain.labelled import Sample

from .config import SPLITS_FILE, Recipe, kept_recipe, recipe_tree
from .data import digest


def started_with(recipe: Recipe, samples: Sequence[Sample]) -> dict[str, Any]:
    """The facts of a start: the recipe, the data by its digest, and what is known of the data by another one."""
    return {"recipe": recipe_tree(recipe), "data": digest(samples, recipe.data.labels), "marks": marks(samples)}


def marks(samples: Sequence[Sample]) -> str:
    """Name what is known of scans beside their labels: groups, copies and conflicts.

    They decide what is trained on, and which tasks are drawn, but are not in :func:`edgebrain.train.data.digest`, whose
    value models carry.

    Args:
        samples: Labelled scans; their order counts.

    Returns:
        SHA-256, in hex, over one line a sample: the first sample of its group, the one that it repeats, and whether its
        label is in doubt. What groups are called and where files lie is not in it.
    """
    firsts: dict[str, int] = {}
    places = {absolute(s.path): i for i, s in enumerate(samples)}
    sha = hashlib.sha256()
    for i, s in enumerate(samples):
        group = firsts.setdefault(s.group, i) if s.group else ""
        copy_of = places.get(absolute(s.copy_of), Path(s.copy_of).name) if s.copy_of else ""
        sha.update(f"{group}\0{copy_of}\0{s.conflict}\n".encode("utf-8", "surrogateescape"))
    return sha.hexdigest()


def check_started_with(
    earlier: Mapping[str, Any], recipe: Recipe, samples: Sequence[Sample] | None, folder: Path
) -> None:
    """Refuse to go on with a run that was started with something else.

    Runs from before groups, copies and conflicts were kept go on without that look: their hours of training are worth
    more than a look at what nobody is likely to have changed, and the next checkpoint has it.

    Args:
        earlier: As :func:`started_with` made it when the run was started; empty where there is none.
        recipe: What is to go on.
        samples: The data, if it is known by now.
        folder: Of the run.

    Raises:
        UsageError: Recipe or data are others, or there was no start.
    """
    if "recipe" not in earlier:
        raise UsageError(f"The last checkpoint in {folder} is no checkpoint of a training run.")
    # Which labels are rare is known with the data only.
    known = samples is not None or not recipe.data.rare_below
    if known:
        _refuse_other(kept_recipe(earlier["recipe"], str(folder)), recipe, folder)
    if samples is None:
        return
    remedy = f"Use --splits {folder / SPLITS_FILE}."
    if earlier.get("data") != digest(samples, recipe.data.labels):
        raise UsageError(f"The run in {folder} was started with other data.", remedy=remedy)
    if earlier.get("marks", marks(samples)) != marks(samples):
        raise UsageError(
            f"The run in {folder} was started with other groups, copies or conflicts of the same data.", remedy=remedy
        )


def _refuse_other(earlier: Recipe, recipe: Recipe, folder: Path) -> None:
    """Name what differs: a default may have changed since the run was started."""
    before, now = (dict(_leaves(recipe_tree(one))) for one in (earlier, recipe))
    other = [key for key in before if before[key] != now.get(key)]
    if earlier != recipe:
        hint = f", here {' '.join(f'--set {key}={before[key]}' for key in other[:3])}" if other else ""
        raise UsageError(
            f"The run in {folder} was started with another recipe.",
            remedy=f"Use the same recipe and --set options{hint}.",
        )


def _leaves(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value
