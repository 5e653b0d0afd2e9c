from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from edgebrain.errors import TrainingError, UsageError
from edgebrain.train import search as searching
from edgebrain.train.config import load_recipe, recipe_tree
from edgebrain.train.drawing import drawn_values
from edgebrain.train.search import Plan, best_first, make_pruner, open_study, public_url, search, storage_errors
from edgebrain.train.space import Choices, Range, Space

SPACE: Space = {
    "optimizer.lr": Range(1e-4, 1e-1, log=True),
    "model.widths": Choices(([8, 16], [16, 32])),
    "trainer.batch_size": Range(8, 32, step=8),
}
Drawn = list[Mapping[str, Any]]


def study_at(folder: Path, name: str = "s", **other: Any) -> Study:
    options: dict[str, Any] = {"maximise": False, "seed": 3, "pruner": make_pruner("none", 4), "identity": {"data": 1}}
    return open_study(f"sqlite:///{folder / 's.db'}", name, **(options | other))


def run(study: Study, trials: int, drawn: Drawn | None = None) -> list[FrozenTrial]:
    """A search whose figure is smallest at a learning rate of 0.01."""
    ended: list[FrozenTrial] = []

    def objective(_: Trial, values: Mapping[str, Any]) -> float:
        if drawn is not None:
            drawn.append(values)
        return abs(float(values["optimizer.lr"]) - 0.01)

    search(study, Plan(SPACE, trials, seed=3), objective, ended.append)
    return ended


def test_values_are_drawn_from_the_space(tmp_path: Path) -> None:
    drawn: Drawn = []
    study = study_at(tmp_path)
    ended = run(study, 12, drawn)
    assert [trial.number for trial in ended] == list(range(12))
    for values, trial in zip(drawn, ended, strict=True):
        assert 1e-4 <= values["optimizer.lr"] <= 1e-1
        assert values["model.widths"] in ([8, 16], [16, 32])
        assert values["trainer.batch_size"] in (8, 16, 24, 32)
        assert drawn_values(trial.params, SPACE) == values
    assert len({values["optimizer.lr"] for values in drawn}) == 12
    best = best_first(study)
    assert [trial.value for trial in best] == sorted(abs(v["optimizer.lr"] - 0.01) for v in drawn)


def test_a_search_that_goes_on_draws_what_one_in_a_piece_draws(tmp_path: Path) -> None:
    whole: Drawn = []
    parts: Drawn = []
    run(study_at(tmp_path, "whole"), 14, whole)
    run(study_at(tmp_path, "parts"), 5, parts)
    run(study_at(tmp_path, "parts"), 14, parts)
    assert len(parts) == 14
    assert parts == whole
    run(study_at(tmp_path, "parts"), 14, parts)
    assert len(parts) == 14
    other: Drawn = []
    run(study_at(tmp_path, "other", seed=4), 1, other)
    assert other[0] != whole[0]


def test_other_work_under_the_same_name_is_refused(tmp_path: Path) -> None:
    recipe, other = (recipe_tree(load_recipe("edge", [f"seed={seed}"])) for seed in (1, 2))
    # An older version knew fewer values.
    study_at(tmp_path, identity={"data": 1, "recipe": {key: value for key, value in recipe.items() if key != "lite"}})
    study_at(tmp_path, identity={"data": 1, "recipe": recipe})
    with pytest.raises(UsageError, match="'s' was started with another recipe") as caught:
        study_at(tmp_path, identity={"data": 1, "recipe": other})
    study_at(tmp_path, identity={"data": 1, "marks": "x"})  # of groups and copies an older study says nothing
    with pytest.raises(UsageError, match="another data"):
        study_at(tmp_path, identity={"data": 2, "marks": "x"})
    assert "--name" in str(caught.value)


def test_storages_that_cannot_be_used(tmp_path: Path) -> None:
    for url in (f"sqlite:///{tmp_path}/no/such/s.db", "nonsense", "no_driver://me:secret@host/db"):
        with pytest.raises(UsageError, match="cannot be used") as caught:
            open_study(url, "s", maximise=False, seed=0, pruner=make_pruner("none", 4), identity={})
        assert "secret" not in str(caught.value)
    assert public_url("mysql://me:secret@host/db") == "mysql://me:***@host/db"
    (tmp_path / "s.db").write_text("this is no database, but long enough to be looked at as one " * 20)
    with pytest.raises(UsageError, match=r"s\.db cannot be used"):
        study_at(tmp_path)


def test_a_trial_that_cannot_be_trained_is_skipped_but_not_for_ever(tmp_path: Path) -> None:
    def sometimes(trial: Trial, _: Mapping[str, Any]) -> float:
        if trial.number in {0, 1, 3}:
            raise TrainingError(f"no memory {trial.number}")
        return 1.0

    study = study_at(tmp_path)
    search(study, Plan(SPACE, 3, seed=3), sometimes, lambda _: None)
    states = [trial.state.name for trial in study.trials]
    assert states == ["FAIL", "FAIL", "COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]
    assert study.trials[3].user_attrs["error"] == "no memory 3"

    def never(trial: Trial, _: Mapping[str, Any]) -> float:
        raise TrainingError(f"bad data {trial.number}")

    with pytest.raises(TrainingError, match="bad data 8"):
        search(study, Plan(SPACE, 9, seed=3), never, lambda _: None)


def test_what_was_given_up_counts(tmp_path: Path) -> None:
    def objective(trial: Trial, _: Mapping[str, Any]) -> float:
        trial.report(float(trial.number), 0)
        if trial.number % 2:
            raise optuna.TrialPruned
        return 1.0

    study = study_at(tmp_path)
    search(study, Plan(SPACE, 4, seed=3), objective, lambda _: None)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "PRUNED"] * 2


def test_an_interrupted_trial_is_repeated_with_its_values(tmp_path: Path) -> None:
    seen: Drawn = []

    def objective(_: Trial, values: Mapping[str, Any]) -> float:
        seen.append(values)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return 1.0

    study = study_at(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        search(study, Plan(SPACE, 3, seed=3), objective, lambda _: None)
    search(study_at(tmp_path), Plan(SPACE, 3, seed=3), objective, lambda _: None)
    assert seen[2] == seen[1]
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]


def test_no_trial_starts_after_the_time(tmp_path: Path) -> None:
    study = study_at(tmp_path)
    search(study, Plan(SPACE, 3, seed=3, timeout=0), lambda *_: 1.0, lambda _: None)
    assert study.trials == []


@pytest.mark.parametrize("name", ["median", "hyperband"])
def test_bad_trials_are_given_up(name: Any, tmp_path: Path) -> None:
    def objective(trial: Trial, _: Mapping[str, Any]) -> float:
        figure = float(trial.number)
        for epoch in range(8):
            trial.report(figure, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        return figure

    study = study_at(tmp_path, pruner=make_pruner(name, 8))
    search(study, Plan(SPACE, 12, seed=3), objective, lambda _: None)
    pruned = study.get_trials(states=(TrialState.PRUNED,))
    assert pruned
    assert min(trial.number for trial in pruned) > 0
    assert len(pruned[-1].intermediate_values) < 8


WORKER = """
import sys, time
from pathlib import Path
from edgebrain.train import search as searching
from edgebrain.train.config import load_recipe, recipe_tree
searching.HEARTBEAT_SECONDS, searching.GRACE_SECONDS = 1, 3
from edgebrain.train.search import Plan, make_pruner, open_study, search
from edgebrain.train.space import Range

def objective(trial, values):
    print("start", trial.number, values["optimizer.lr"], flush=True)
    time.sleep(60 if sys.argv[2] == "hang" else 0.05)
    return values["optimizer.lr"]

study = open_study(
    f"sqlite:///{sys.argv[1]}", "s", maximise=False, seed=3, pruner=make_pruner("none", 4), identity={"data": 1}
)
search(study, Plan({"optimizer.lr": Range(1e-4, 1e-1, log=True)}, 6, 3), objective, lambda _: None)
"""


def worker(database: Path, how: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", WORKER, str(database), how], stdout=subprocess.PIPE, text=True)


def test_workers_share_a_study_and_repeat_what_was_killed(tmp_path: Path) -> None:
    with worker(tmp_path / "s.db", "hang") as first:
        assert first.stdout is not None
        started = first.stdout.readline().split()
        first.send_signal(signal.SIGKILL)
    assert started[:2] == ["start", "0"]
    # Fast workers would be done before the dead one's grace is over (3 s, and a second of heartbeat and of rounding).
    time.sleep(5)

    workers = [worker(tmp_path / "s.db", "work")]
    assert workers[0].stdout is not None
    taken = workers[0].stdout.readline()  # two that find the dead one at the same instant would both repeat it
    workers.append(worker(tmp_path / "s.db", "work"))
    outputs = [one.communicate(timeout=120)[0] for one in workers]
    outputs[0] = taken + outputs[0]
    assert [one.returncode for one in workers] == [0, 0]
    trials = study_at(tmp_path, identity={"data": 1}).trials
    states = [trial.state.name for trial in trials]
    assert states[0] == "FAIL"
    assert states.count("COMPLETE") == len(states) - 1
    # Two workers that ask for the last trial at once may both get one.
    assert 6 <= states.count("COMPLETE") <= 7
    rates = [trial.params["optimizer.lr"] for trial in trials]
    assert rates.count(float(started[2])) == 2
    lines = [json.dumps(line.split()[1]) for output in outputs for line in output.splitlines()]
    assert len(lines) == len(set(lines)) == len(states) - 1


def test_a_trial_that_another_worker_has_ended_costs_nothing(tmp_path: Path) -> None:
    study = study_at(tmp_path)
    values: list[float] = []

    def objective(trial: Trial, _: Mapping[str, Any]) -> float:
        if not values:
            study_at(tmp_path).tell(trial.number, 0.5)
        values.append(float(trial.number))
        return 1.0

    search(study, Plan(SPACE, 3, seed=3), objective, lambda _: None)
    assert [trial.value for trial in study.trials] == [0.5, 1.0, 1.0]


def test_an_error_of_the_storage_is_not_taken_for_that(tmp_path: Path) -> None:
    def objective(trial: Trial, _: Mapping[str, Any]) -> float:
        del trial
        raise ValueError("Cannot tell what this is")

    with pytest.raises(ValueError, match="Cannot tell what"):
        search(study_at(tmp_path), Plan(SPACE, 3, seed=3), objective, lambda _: None)


def test_a_heart_beats_several_times_before_it_is_taken_for_dead() -> None:
    assert 3 * searching.HEARTBEAT_SECONDS <= searching.GRACE_SECONDS


def test_only_opening_a_storage_takes_any_error_for_its_own() -> None:
    with pytest.raises(ValueError, match="of a trial"), storage_errors("sqlite://"):
        raise ValueError("of a trial")
    with pytest.raises(UsageError, match="cannot be used: no driver"), storage_errors("sqlite://", opening=True):
        raise ImportError("no driver")
