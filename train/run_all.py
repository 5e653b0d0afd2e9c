"""``edgebrain train all``: every recipe on the same data, one after the other, whatever happens to one of them."""

from __future__ import annotations

import gc
import json
import os
import shutil
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from edgebrain.asked import is_binary
from edgebrain.errors import EXIT_OK, EXIT_SOME_FAILED, EdgebrainError, UsageError, printable

from .commands import TrainRequest, recipe_of, require_training
from .config import PUBLISHED_ARCHITECTURES, SPLITS_FILE, Recipe, goes_on, kept_recipe, load_recipe, recipe_names
from .dispatch import state_file, train_recipe
from .given import from_data, from_splits
from .given_splits import Given, read_given, unreadable_file, write_given
from .processes import Machines
from .tasks import check_classes

LEFTOVERS = frozenset({SPLITS_FILE, unreadable_file(Path(SPLITS_FILE)).name, "log", "checkpoints"})
"""What a run leaves that was stopped before its first epoch was over."""
_BINARY_SPLITS = "splits-binary.csv"
_SPLIT_SEED = 0


@dataclass(frozen=True)
class Outcome:
    """What became of a recipe.

    Attributes:
        name: Of the recipe.
        state: ``trained``, ``resumed``, ``finished before`` or ``failed``.
        metrics: The run's figures; empty where it failed.
        why: One line for people where it failed.
    """

    name: str
    state: str
    metrics: dict[str, Any]
    why: str = ""


def run_all(request: TrainRequest, only: str = "") -> int:
    """Train every recipe and print a table of what became of each.

    Finished runs are left alone, half-finished ones go on. Recipes with the same kind of question share their splits,
    which are written beside the runs, so that their figures can be compared.

    Args:
        request: ``output`` is the folder of the run folders; the recipe's name is not looked at.
        only: Names of recipes with commas between them; empty for all there are.

    Returns:
        The exit code: 1 if any recipe failed.

    Raises:
        EdgebrainError: Recipes, data or output cannot be used for any recipe.
    """
    names = [name.strip() for name in only.split(",") if name.strip()]
    recipes = [_recipe(name, request) for name in names or recipe_names()]  # all bad values before any work
    if not names:
        recipes = _alone(recipes)
    _check(request)
    require_training()
    folder = request.output or Path("runs")
    data = _Data(request, folder, [label for recipe in recipes for label in recipe.data.labels])
    outcomes = []
    for number, recipe in enumerate(recipes, 1):
        sys.stderr.write(f"{recipe.name} ({number} of {len(recipes)})\n")
        outcomes.append(_tried(recipe, data, folder / recipe.name, request))
        gc.collect()  # networks of hundreds of megabytes
    _print_outcomes(outcomes)
    return EXIT_SOME_FAILED if any(one.state == "failed" for one in outcomes) else EXIT_OK


def _alone(recipes: Sequence[Recipe]) -> list[Recipe]:
    """Leave out what needs another run that was not named, with a note."""
    kept = [recipe for recipe in recipes if not goes_on(recipe.name) or recipe.start or recipe.distill.teacher]
    for recipe in recipes:
        if recipe not in kept:
            sys.stderr.write(
                f"left out: {recipe.name} goes on from another run; train it with --set start=FILE and "
                "--set distill.teacher=FILE, or name it with --only\n"
            )
    return kept


def _recipe(name: str, request: TrainRequest) -> Recipe:
    """A recipe with what is asked for; weights go where the architecture takes them."""
    published = request.weights is not None and load_recipe(name).architecture in PUBLISHED_ARCHITECTURES
    return recipe_of(replace(request, recipe=name, weights=request.weights if published else None))


def _check(request: TrainRequest) -> None:
    if bool(request.data) == bool(request.splits):
        raise UsageError(
            "'train all' needs data.", remedy="Give either --data DIR, or splits made by 'edgebrain audit --splits'."
        )
    machines = request.machines or Machines()
    if max(machines.devices, machines.nodes, int(os.environ.get("WORLD_SIZE") or 1)) > 1:
        raise UsageError("'train all' runs in one process.", remedy="Train each recipe with its own command.")


class _Data:
    """The data, audited and split once for all recipes that tell kinds apart, and once for those that do not."""

    def __init__(self, request: TrainRequest, folder: Path, labels: Sequence[str]) -> None:
        self.request = request
        self.folder = folder
        self.labels = tuple(dict.fromkeys(labels))
        self.known: dict[bool, Given] = {}

    def of(self, recipe: Recipe) -> Given:
        """The samples that a recipe learns from, each with its split, labelled as they were given."""
        binary = is_binary(recipe.data.labels)
        if binary not in self.known:
            self.known[binary] = self._made(recipe, self.folder / (_BINARY_SPLITS if binary else SPLITS_FILE))
        check_classes(self.known[binary].samples, recipe.data.labels)
        return self.known[binary]

    def _made(self, recipe: Recipe, splits: Path) -> Given:
        if self.request.splits:
            return from_splits(self.request.splits, recipe.data.labels, known=self.labels)
        if splits.is_file():
            sys.stderr.write(f"splits: those of {printable(str(splits))}\n")
            return read_given(splits, labels=self.labels)
        given = from_data(self.request.data, recipe.data.labels, seed=_SPLIT_SEED, known=self.labels)
        splits.parent.mkdir(parents=True, exist_ok=True)
        write_given(splits, given.samples, given.unreadable)
        return given


def _tried(recipe: Recipe, data: _Data, folder: Path, request: TrainRequest) -> Outcome:
    from .fit import METRICS

    try:
        if (folder / METRICS).is_file():
            return Outcome(recipe.name, "finished before", _finished(recipe, folder / METRICS))
        resume = state_file(recipe, folder).is_file()
        if not resume and folder.is_dir() and {item.name for item in folder.iterdir()} <= LEFTOVERS:
            shutil.rmtree(folder)
        done = train_recipe(recipe, data.of(recipe), folder, resume=resume, threads=request.threads)
    except EdgebrainError as error:
        why = str(error)
    except Exception as error:  # noqa: BLE001 - whatever breaks one recipe, the others are to be trained
        traceback.print_exc()
        why = printable(f"{type(error).__name__}: {error}".splitlines()[0])
    else:
        return Outcome(recipe.name, "resumed" if resume else "trained", done.metrics)
    sys.stderr.write(f"edgebrain: {recipe.name}: {why}\n")
    return Outcome(recipe.name, "failed", {}, why)


def _finished(recipe: Recipe, path: Path) -> dict[str, Any]:
    try:
        figures: dict[str, Any] = json.loads(path.read_bytes())
        trained = kept_recipe(dict(figures["recipe"]), str(path))  # what older versions did not know gets its default
    except (OSError, ValueError, KeyError, TypeError, UsageError) as error:
        raise UsageError(f"{path} is damaged.", remedy="Remove its folder, and the recipe is trained anew.") from error
    wanted = recipe
    if recipe.data.rare_below:  # which labels are rare, the data says
        data = msgspec.structs.replace(recipe.data, labels=trained.data.labels)
        wanted = msgspec.structs.replace(recipe, data=data)
    if trained != wanted:
        raise UsageError(
            f"The run in {path.parent} was made with other values of the recipe.",
            remedy="Use the same --set options, or name another --output.",
        )
    return figures


def _cell(figure: float | dict[str, Any] | None) -> str:
    value = figure.get("value") if isinstance(figure, dict) else figure  # meta-learning has an interval with it
    return "" if value is None else f"{value:.4f}"


def _print_outcomes(outcomes: Sequence[Outcome]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("recipe", "", "parameters", "minutes", "val", "test", "test macro-F1", box=None, pad_edge=False)
    table.columns[0].no_wrap = True
    for column in table.columns[2:]:
        column.justify = "right"
    for one in outcomes:
        if not one.metrics:
            table.add_row(one.name, one.state)
            continue
        splits = one.metrics["splits"]
        figures = [("val", "accuracy"), ("test", "accuracy"), ("test", "macro_f1")]
        cells = [_cell(splits.get(split, {}).get(key)) for split, key in figures]
        minutes = f"{one.metrics['training_seconds'] / 60:.1f}"
        table.add_row(one.name, one.state, f"{one.metrics['parameters']:,}", minutes, *cells)
    console = Console(soft_wrap=True, highlight=False, markup=False)
    console.print(table)
    for one in outcomes:
        if one.why:
            console.print(f"{one.name}: {one.why}")
