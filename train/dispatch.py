"""One way to train a recipe, whether it learns from scans or from tasks."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgebrain.errors import UsageError

from .config import Recipe
from .given_splits import Given
from .processes import Machines, is_first


@dataclass(frozen=True)
class Done:
    """What a training left: its figures, and files that could not be used, each with the reason."""

    metrics: dict[str, Any]
    unreadable: tuple[str, ...] = ()


def is_meta(recipe: Recipe) -> bool:
    """Say whether a recipe learns from tasks of a few scans; see meta_fit.py."""
    return recipe.meta.order != "none"


def state_file(recipe: Recipe, folder: Path) -> Path:
    """Where a run folder has what a resume of the recipe starts from."""
    if is_meta(recipe):
        from .meta_fit import checkpoint_name

        return folder / checkpoint_name()
    from .fit import last_checkpoint

    return last_checkpoint(folder)


def check_start(recipe: Recipe, folder: Path, *, resume: bool) -> None:
    """Say whether a run can start or go on in a folder, before any long work.

    Raises:
        UsageError: The folder is taken, or its run does not fit.
    """
    if is_meta(recipe):
        from .meta_fit import check_meta_folder

        check_meta_folder(folder, resume=resume)
    elif is_first():
        from .fit import check_folder

        check_folder(folder, recipe, resume=resume)


def check_meta_request(recipe: Recipe, machines: Machines, overrides: Sequence[str]) -> None:
    """Refuse for a meta-learning recipe what only ordinary training has.

    Raises:
        UsageError: Several processes, or a number of epochs, were asked for.
    """
    if not is_meta(recipe):
        return
    if max(machines.devices, machines.nodes, int(os.environ.get("WORLD_SIZE") or 1)) > 1:
        raise UsageError(
            f"The recipe {recipe.name} is meta-learned, in one process.", remedy="Leave out --devices and --nodes."
        )
    if any(item.partition("=")[0].strip() == "trainer.epochs" for item in overrides):
        raise UsageError(
            f"The recipe {recipe.name} is meta-learned, and counts no epochs.", remedy="Use --set meta.iterations=N."
        )


def train_recipe(
    recipe: Recipe,
    given: Given,
    folder: Path,
    *,
    resume: bool,
    threads: int | None,
    machines: Machines | None = None,
) -> Done:
    """Train a recipe in its own way.

    Args:
        recipe: Every number of the training.
        given: Labelled scans with their split, and what could not be read.
        folder: Run folder.
        resume: Go on from what :func:`state_file` names.
        threads: Threads of the tensor library.
        machines: Processes that share every batch; meta-learning has one.

    Returns:
        What was left; without figures in all processes but the first.

    Raises:
        EdgebrainError: The folder or the data cannot be used.
    """
    if is_meta(recipe):
        from .meta_fit import check_meta_folder, meta_fit

        check_meta_folder(folder, resume=resume)
        run = meta_fit(recipe, given.samples, folder, resume=resume, threads=threads, unreadable=given.unreadable)
    else:
        from .fit import fit

        run = fit(
            recipe,
            given.samples,
            folder,
            resume=resume,
            threads=threads,
            machines=machines,
            unreadable=given.unreadable,
        )
    return Done(run.metrics, run.unreadable)
