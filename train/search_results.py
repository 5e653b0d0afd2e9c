"""What a search leaves: ``study.json``, two plots, and the best recipe, complete and ready to train."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import optuna
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from edgebrain.outputs import write_whole

from .config import Recipe, recipe_tree, with_values
from .drawing import drawn_values
from .recipe_text import recipe_text
from .search import FINISHED, best_first
from .search_plots import Point, history_plot, importance_plot
from .space import Space
from .trials import Goal

SCHEMA = 1
BEST = "best.toml"
_ENOUGH = 4  # finished trials below which an importance says nothing


@dataclass(frozen=True)
class Outcome:
    """What is told of a search.

    Attributes:
        recipe: The recipe that was searched around.
        space: What was drawn.
        goal: Figure to judge by.
        storage: Where the study is kept, without its password.
        data: Digest of the data.
        command: A command that goes on with the search.
    """

    recipe: Recipe
    space: Space
    goal: Goal
    storage: str
    data: str
    command: str


def write_results(study: Study, outcome: Outcome, folder: Path) -> None:
    """Write all that a search leaves; every file appears whole, workers may write at the same time.

    ``best.toml`` is written once a trial was trained to its end, ``importance.png`` once some were.
    """
    trials = study.get_trials(deepcopy=False)
    done = best_first(study)
    importance = importances(study)
    points = [Point(t.number, value, t.state == TrialState.PRUNED) for t in trials if (value := _figure(t)) is not None]
    maximise = outcome.goal != "loss"
    write_whole(folder / "history.png", history_plot(points, outcome.goal, maximise=maximise))
    if importance:
        write_whole(folder / "importance.png", importance_plot(importance))
    if done:
        write_whole(folder / BEST, _best(study, done[0], outcome).encode())
    record = {
        "schema": SCHEMA,
        "name": study.study_name,
        "storage": outcome.storage,
        "objective": f"val/{outcome.goal}",
        "direction": "maximize" if maximise else "minimize",
        "data_sha256": outcome.data,
        "space": {key: msgspec.to_builtins(entry) for key, entry in outcome.space.items()},
        "counts": {state.name.lower(): sum(t.state == state for t in trials) for state in TrialState},
        "best": _row(done[0], outcome.space) if done else None,
        "importance": importance,
        "trials": [_row(trial, outcome.space) for trial in trials],
        "recipe": recipe_tree(outcome.recipe),
    }
    write_whole(folder / "study.json", (json.dumps(record, indent=2) + "\n").encode())


def importances(study: Study) -> dict[str, float]:
    """How much of the spread each value explains (PED-ANOVA: Watanabe et al., IJCAI 2023), the largest first.

    Returns:
        Shares that add up to 1; empty where too few trials are finished, or all are alike.
    """
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(done) < _ENOUGH or len({trial.value for trial in done}) == 1:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        shares = optuna.importance.get_param_importances(
            study, evaluator=optuna.importance.PedAnovaImportanceEvaluator()
        )
    kept = {key: round(float(share), 4) for key, share in shares.items() if math.isfinite(share)}
    return dict(sorted(kept.items(), key=lambda item: -item[1]))


def _figure(trial: FrozenTrial) -> float | None:
    if trial.state == TrialState.COMPLETE:
        return trial.value
    if trial.state not in FINISHED or not trial.intermediate_values:
        return None
    return trial.intermediate_values[max(trial.intermediate_values)]


def _row(trial: FrozenTrial, space: Space) -> dict[str, Any]:
    seconds = None if trial.duration is None else round(trial.duration.total_seconds(), 1)
    return {
        "trial": trial.number,
        "state": trial.state.name.lower(),
        "value": _figure(trial),
        "epochs": len(trial.intermediate_values),
        "seconds": seconds,
        "values": drawn_values(trial.params, space),
        **_plain(trial.user_attrs),
    }


def _plain(known: Mapping[str, Any]) -> dict[str, Any]:
    return {key: known[key] for key in sorted(known)}


def _best(study: Study, trial: FrozenTrial, outcome: Outcome) -> str:
    values = drawn_values(trial.params, outcome.space)
    best = with_values(outcome.recipe, values, BEST)
    finished = len(study.get_trials(deepcopy=False, states=FINISHED))
    recall = trial.user_attrs.get("recall", {})
    recalls = ", ".join(f"{label} {share:.4f}" for label, share in recall.items())
    comments = (
        f"The best of {finished} trials of the study {study.study_name}: trial {trial.number}.",
        f"Validation {outcome.goal} {trial.value:.6f}; recall {recalls}.",
        f"Made by: {outcome.command}",
    )
    return recipe_text(msgspec.structs.replace(best, search=outcome.recipe.search), comments)
