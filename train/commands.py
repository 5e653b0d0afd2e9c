"""What ``edgebrain train`` and ``edgebrain audit`` do. The tensor library is imported when a run really starts."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgebrain.asked import is_binary
from edgebrain.errors import EXIT_OK, MissingExtra, UsageError, printable

from . import audit as auditing
from .config import PUBLISHED_ARCHITECTURES, SPLITS_FILE, Recipe, load_recipe, recipe_names
from .dispatch import Done, check_meta_request, check_start, is_meta, train_recipe
from .given import labelled_samples
from .processes import Machines, is_first

NEEDED = ("torch", "lightning", "torchmetrics", "safetensors", "matplotlib", "tensorboard")

_FRACTIONS = 3  # train, val, test
_WIDTH = 100  # columns of the list of recipes


@dataclass(frozen=True)
class TrainRequest:
    """The options of ``train``; see its help."""

    recipe: str
    overrides: tuple[str, ...] = ()
    data: tuple[Path, ...] = ()
    splits: tuple[Path, ...] = ()
    output: Path | None = None
    threads: int | None = None
    resume: bool = False
    weights: str | None = None
    machines: Machines | None = None


@dataclass(frozen=True)
class AuditRequest:
    """The options of ``audit``; see its help."""

    paths: tuple[Path, ...]
    json_path: Path | None = None
    strict: bool = False
    copy_threshold: float | None = None
    group_threshold: float | None = None
    splits: Path | None = None
    seed: int = 0
    fractions: str = "0.7,0.15,0.15"
    held_out: str | None = None
    test_kept: bool = False


def require_training() -> None:
    """Make sure that all that training needs is installed, without importing it.

    Raises:
        MissingExtra: Something is not.
    """
    for module in NEEDED:
        if importlib.util.find_spec(module) is None:
            raise MissingExtra("training", extra="train", module=module)


def list_recipes() -> int:
    """Print the recipes as a table; parameters are counted where the tensor library is installed."""
    from rich.console import Console
    from rich.table import Table

    table = Table("name", "system", "architecture", "parameters", "input", "task", box=None, pad_edge=False)
    table.columns[0].no_wrap = True
    table.columns[3].justify = "right"
    for name in recipe_names():
        recipe = load_recipe(name)
        size = f"{recipe.input.width} x {recipe.input.height}"
        table.add_row(
            name, recipe.system, recipe.architecture, parameters_text(recipe), size, _task(recipe.data.labels)
        )
    console = Console()
    if not console.is_terminal:  # a pipe has no width; what reads it wants whole lines
        console = Console(width=max(console.width, _WIDTH))
    console.print(table)
    sys.stderr.write("parameters: trained / all; one number where all are trained\n")
    return EXIT_OK


def _task(labels: Sequence[str]) -> str:
    return "any tumour" if is_binary(labels) else f"{len(labels)} classes"


def run_train(request: TrainRequest) -> int:
    """Train a recipe and print where things are and how good they are.

    Returns:
        The exit code.

    Raises:
        EdgebrainError: The request, the data or the run folder cannot be used, or training is not installed.
    """
    recipe = recipe_of(request)
    folder = request.output or Path("runs", recipe.name)
    check_sources(request, folder)
    check_meta_request(recipe, request.machines or Machines(), request.overrides)
    require_training()
    check_start(recipe, folder, resume=request.resume)  # before an audit of minutes
    given = labelled_samples(request.data, request.splits, recipe, folder, resume=request.resume)
    done = train_recipe(
        recipe, given, folder, resume=request.resume, threads=request.threads, machines=request.machines
    )
    if is_first():
        _print_done(recipe, done, folder)
    return EXIT_OK


def run_audit(request: AuditRequest) -> int:
    """Audit labelled data; see :func:`edgebrain.train.audit.run_audit`.

    Returns:
        The exit code.

    Raises:
        UsageError: Options that make no sense, or data that cannot be audited.
    """
    if request.held_out is not None and request.test_kept:
        raise UsageError("--hold-out and --keep-test name two test splits.", remedy="Give one of them.")
    if request.splits is None and (request.held_out is not None or request.test_kept):
        raise UsageError(
            f"{'--keep-test' if request.test_kept else '--hold-out'} says how to split, and no splits are asked for.",
            remedy="Say where to write them: --splits FILE.csv",
        )
    copies, groups = request.copy_threshold, request.group_threshold
    return auditing.run_audit(
        request.paths,
        json_path=request.json_path,
        strict=request.strict,
        copy_threshold=auditing.COPY_THRESHOLD if copies is None else copies,
        group_threshold=auditing.GROUP_THRESHOLD if groups is None else groups,
        splits_path=request.splits,
        fractions=_fractions(request.fractions),
        held_out=request.held_out,
        test_kept=request.test_kept,
        seed=request.seed,
    )


def _fractions(text: str) -> tuple[float, float, float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != _FRACTIONS:
        raise UsageError(
            f"--fractions {text}: expected three numbers with commas between them.",
            remedy="Give the shares of train, val and test, such as 0.7,0.15,0.15.",
        )
    return numbers[0], numbers[1], numbers[2]


def parameters_text(recipe: Recipe) -> str:
    """Parameters that learn / all of them, or one number if all learn; ``?`` without the tensor library."""
    if any(importlib.util.find_spec(module) is None for module in ("torch", "lightning")):
        return "?"
    import torch

    from .models import build, parameter_counts

    try:
        with torch.device("meta"):
            counts = parameter_counts(build(recipe))
    except MissingExtra:
        return "?"
    return " / ".join(f"{n:,}" for n in dict.fromkeys(counts))


def recipe_of(request: TrainRequest) -> Recipe:
    """Read the recipe of a request, with its overrides and its weights.

    Raises:
        UsageError: There is no such recipe or file, a value is wrong, or the architecture takes no weights.
    """
    overrides = list(request.overrides)
    if request.weights is not None:
        overrides.append(f"transfer.weights={json.dumps(request.weights, ensure_ascii=False)}")
    recipe = load_recipe(request.recipe, overrides)
    weights = recipe.transfer.weights
    if recipe.architecture in PUBLISHED_ARCHITECTURES:
        if weights not in ("imagenet", "none") and not Path(weights).is_file():
            raise UsageError(f"There is no file of weights {weights}.", remedy="Give imagenet, none or a file.")
    elif request.weights is not None:
        raise UsageError(
            f"--weights {weights}: there are no published weights for {recipe.architecture}.",
            remedy=f"It is for {', '.join(PUBLISHED_ARCHITECTURES)}.",
        )
    return recipe


def check_sources(request: TrainRequest, folder: Path) -> None:
    """Say whether a request names its data in one way, before it is read.

    Raises:
        UsageError: It names none, or both ways.
    """
    if request.data and request.splits:
        raise UsageError("--data and --splits say the same.", remedy="Give one of them.")
    if not request.data and not request.splits and not (request.resume and (folder / SPLITS_FILE).is_file()):
        raise UsageError(
            "Nothing to train on.", remedy="Give --data DIR, or splits made by 'edgebrain audit --splits'."
        )


def _print_done(recipe: Recipe, done: Done, folder: Path) -> None:
    for reason in done.unreadable:
        sys.stderr.write(f"left out: {printable(reason)}\n")
    if is_meta(recipe):
        from .few_shot_tables import print_meta

        print_meta(done.metrics, folder)
    else:
        _print_figures(done.metrics, folder)


def _print_figures(metrics: dict[str, Any], folder: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    others = metrics["other_labels"]
    if others:
        counts = ", ".join(f"{label} {count}" for label, count in others.items())
        sys.stderr.write(
            f"left out: {sum(others.values())} scans with labels that the recipe does not ask for: {counts}\n"
        )
    splits = metrics["splits"]
    table = Table("", *splits, box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    table.add_row("scans", *(str(split["scans"]) for split in splits.values()))
    for title, key in (("accuracy", "accuracy"), ("macro-F1", "macro_f1")):
        table.add_row(title, *(f"{split[key]:.4f}" for split in splits.values()))
    for label in metrics["recipe"]["data"]["labels"]:
        table.add_row(f"recall {label}", *(f"{split['recall'][label]:.4f}" for split in splits.values()))
    console = Console(soft_wrap=True, highlight=False)
    console.print(table)
    console.print(
        f"model    {folder / 'model.safetensors'}\nfigures  {folder / 'metrics.json'}\ncurves   {folder / 'curves.png'}"
    )
