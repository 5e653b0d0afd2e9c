"""What ``edgebrain tune`` does. The tensor library is imported when a search really starts."""

from __future__ import annotations

import importlib.util
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edgebrain.errors import EXIT_OK, MissingExtra, UsageError, printable

from .commands import TrainRequest, check_sources, require_training
from .config import SPLITS_FILE, load_recipe, search_space
from .dispatch import is_meta
from .given import labelled_samples
from .given_splits import write_given

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial
    from rich.table import Table

    from .search_results import Outcome

_SHOWN = 10
_WIDEST = 400


@dataclass(frozen=True)
class TuneRequest:
    """The options of ``tune``; see its help."""

    recipe: str
    trials: int
    overrides: tuple[str, ...] = ()
    data: tuple[Path, ...] = ()
    splits: tuple[Path, ...] = ()
    output: Path | None = None
    storage: str | None = None
    name: str | None = None
    objective: Literal["loss", "macro_f1"] = "loss"
    pruner: Literal["median", "hyperband", "none"] = "median"
    timeout: float | None = None
    threads: int | None = None


def run_tune(request: TuneRequest) -> int:
    """Search for better values of a recipe, and print what was found.

    Returns:
        The exit code.

    Raises:
        EdgebrainError: The request, the data, the storage or the folder cannot be used, or training is not installed.
    """
    recipe = load_recipe(request.recipe, list(request.overrides))
    if is_meta(recipe):
        raise UsageError(
            f"The recipe {recipe.name} is meta-learned, and a search trains as usual.",
            remedy="Use 'edgebrain train', or a recipe with meta.order = \"none\".",
        )
    space = search_space(recipe)
    if not space:
        raise UsageError(
            f"Recipe {request.recipe} has no [search] table.",
            remedy="Say what may change: --set 'search.optimizer.lr={low=1e-4, high=1e-2, log=true}'.",
        )
    folder = request.output or Path("searches", request.name or recipe.name)
    own = folder / SPLITS_FILE
    source = TrainRequest(
        request.recipe, data=request.data, splits=request.splits, resume=own.is_file() and not request.splits
    )
    check_sources(source, folder)
    require_training()
    if importlib.util.find_spec("optuna") is None:
        raise MissingExtra("a search", extra="train", module="optuna")
    given = labelled_samples(source.data, source.splits, recipe, folder, resume=source.resume)
    samples = given.samples
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder} cannot be made: {error.strerror}.", remedy="Name another --output.") from error

    from .data import digest
    from .search import Plan, make_pruner, open_study, public_url, search, storage_errors
    from .search_results import Outcome, write_results
    from .started import started_with
    from .trials import Bench

    data = digest(samples, recipe.data.labels)
    url = request.storage or f"sqlite:///{folder / 'study.db'}"
    study = open_study(
        url,
        request.name or recipe.name,
        maximise=request.objective != "loss",
        seed=recipe.seed,
        pruner=make_pruner(request.pruner, recipe.trainer.epochs),
        identity={**started_with(recipe, samples), "objective": request.objective},
    )
    if not own.is_file():
        write_given(own, samples, given.unreadable)
    bench = Bench(recipe, samples, folder, goal=request.objective, threads=request.threads)
    outcome = Outcome(recipe, space, request.objective, public_url(url), data, _command(request, folder))
    plan = Plan(space, request.trials, recipe.seed, request.timeout)
    with storage_errors(url):
        bench.tidy(study.get_trials(deepcopy=False))
        try:
            search(study, plan, bench, _follower(study, request.trials))
        finally:
            bench.tidy(study.get_trials(deepcopy=False))
            write_results(study, outcome, folder)  # also of a search that was stopped
    _print(study, outcome, folder)
    return EXIT_OK


def _command(request: TuneRequest, folder: Path) -> str:
    """A command that goes on with the search; an address with a password is not in it."""
    words = ["edgebrain", "tune", request.recipe, "--trials", str(request.trials), "--output", str(folder)]
    words += [word for item in request.overrides for word in ("--set", item)]
    words += ["--splits", str(folder / SPLITS_FILE)]
    words += ["--name", request.name] if request.name else []
    words += ["--objective", request.objective, "--pruner", request.pruner]
    return shlex.join(words) + (" --storage URL" if request.storage else "")


def _follower(study: Study, trials: int) -> Callable[[FrozenTrial], None]:
    """Says how far the search is after every trial, on stderr; while one trains, training shows its own bar."""
    from .search import FINISHED, best_first, count

    spent: list[float] = []

    def follow(trial: FrozenTrial) -> None:
        done, best = count(study, *FINISHED), best_first(study)
        if trial.duration is not None:
            spent.append(trial.duration.total_seconds())
        value = "" if trial.value is None else f" {trial.value:.4f}"
        words = [f"trial {trial.number}: {_state(trial)}{value}", f"{done}/{trials} trials"]
        if best:
            words.append(f"best {best[0].value:.4f} (trial {best[0].number})")
        left = max(0, trials - done) * sum(spent) / max(1, len(spent))
        words.append(f"about {left / 60:.0f} min left")
        _show("  ".join(words), done, trials)

    return follow


def _show(line: str, done: int, total: int) -> None:
    if not sys.stderr.isatty():
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
        return
    from rich.console import Console
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    # Drawn once a trial: a bar that moves would fight with the one of the training over the screen.
    row = Table.grid(padding=(0, 1))
    row.add_row(ProgressBar(total=total, completed=min(done, total), width=24), line)
    Console(stderr=True, highlight=False).print(row)


def _state(trial: FrozenTrial) -> str:
    if trial.user_attrs.get("diverged"):
        return "given up, it diverged"
    if "error" in trial.user_attrs:
        return f"failed, {printable(trial.user_attrs['error'])}"
    return {"COMPLETE": "finished", "PRUNED": "given up early"}.get(trial.state.name, trial.state.name.lower())


def _print(study: Study, outcome: Outcome, folder: Path) -> None:
    from rich.console import Console

    from .search import best_first
    from .search_results import BEST

    console = Console(soft_wrap=True, highlight=False, markup=False)
    done = best_first(study)
    if done:
        table = _table(done[:_SHOWN], outcome)
        # Where lines are not as long as the table, they go on below: a figure that was cut off says nothing.
        # A console cuts what is wider than itself, so that the table gets one of its own.
        wide = console.measure(table, options=console.options.update(width=_WIDEST)).maximum
        Console(width=wide, highlight=False, markup=False).print(table, crop=False)
        console.print(f"best     {folder / BEST}")
        console.print(f"train it edgebrain train {folder / BEST} --splits {folder / SPLITS_FILE}")
    else:
        console.print("No trial was trained to its end: there is no best recipe yet.")
    console.print(f"figures  {folder / 'study.json'}\nplots    {folder / 'history.png'}")


def _table(trials: list[FrozenTrial], outcome: Outcome) -> Table:
    """The best trials; recall of the first label is shown, since a missed glioma costs most."""
    from rich.table import Table

    from .drawing import drawn_values

    label = "glioma" if "glioma" in outcome.recipe.data.labels else outcome.recipe.data.labels[0]
    keys = list(outcome.space)
    last = [key.rsplit(".", 1)[-1] for key in keys]
    short = [word if last.count(word) == 1 else key for key, word in zip(keys, last, strict=True)]
    names = ("trial", outcome.goal, "accuracy", "macro-F1", f"recall {label}", "epoch", *short)
    table = Table(*names, box=None, pad_edge=False)
    for column in table.columns:
        column.justify = "right"
    for trial in trials:
        known = trial.user_attrs
        values = drawn_values(trial.params, outcome.space)
        figures = (trial.value, known["accuracy"], known["macro_f1"], known["recall"][label])
        table.add_row(
            str(trial.number),
            *(f"{figure:.4f}" for figure in figures),
            str(known["best_epoch"] + 1),
            *(f"{value:.4g}" if isinstance(value, float) else str(value) for value in map(values.get, keys)),
        )
    return table
