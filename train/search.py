"""A hyper-parameter search that several workers share and that goes on where it was stopped.

Every trial draws values with the tree-structured Parzen estimator (Bergstra et al., "Algorithms for Hyper-Parameter
Optimization", NeurIPS 2011) from the trials known by then. What a trial draws depends on the seed, its number and those
trials alone, so a search that was stopped and goes on draws what it would have drawn.

A worker says every few seconds that it lives. One that was killed leaves a trial without a worker: the next worker that
asks for a trial marks it failed and repeats it with the same values. A trial that somebody interrupts is repeated, too.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import optuna
import sqlalchemy
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.storages._heartbeat import BaseHeartbeat
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from edgebrain.errors import TrainingError, UsageError

from .config import kept_recipe, recipe_tree
from .drawing import draw_values
from .space import Space

HEARTBEAT_SECONDS = 15
"""How often a worker says that it lives."""
GRACE_SECONDS = 90
"""After how long without a word it is taken for dead."""
REPEATS = 2
"""How often a trial of a dead worker is repeated: more, and it is the trial that kills them."""
FAILURES = 3
"""After how many trials in a row that could not be trained the search stops."""

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
_IDENTITY = "identity"
_WORDS = {"marks": "set of groups, copies or conflicts"}

Pruning = Literal["median", "hyperband", "none"]
Objective = Callable[[Trial, Mapping[str, Any]], float]


@dataclass(frozen=True)
class Plan:
    """What a search is to do.

    Attributes:
        space: What is drawn.
        trials: Trials that the study is to have in the end, those that were given up early included.
        seed: Seed of what is drawn.
        timeout: Seconds after which no new trial starts, or None.
    """

    space: Space
    trials: int
    seed: int
    timeout: float | None = None


class TrialSeededSampler(BaseSampler):
    """A TPE sampler whose random numbers depend on the seed and the number of the trial.

    Workers that start together would draw the same values with one seed each, and a search that goes on would draw
    other values than one that was never stopped.

    Args:
        seed: Seed.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._sampler = TPESampler(seed=seed)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Start the trial's own random numbers."""
        state = np.random.SeedSequence([self._seed, trial.number]).generate_state(1)[0]
        # A trial counts those that run elsewhere as bad ones, so that workers do not all try the same place.
        self._sampler = TPESampler(seed=int(state), constant_liar=True)
        self._sampler.before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """As TPE does."""
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """As TPE does."""
        return self._sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """As TPE does."""
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)


def make_pruner(name: Pruning, epochs: int) -> optuna.pruners.BasePruner:
    """What gives up a trial that falls behind.

    ``median`` gives up below the median of the others at the same epoch, after a quarter of the epochs; ``hyperband``
    is Hyperband (Li et al., JMLR 2018) with epochs as the resource.
    """
    if name == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=max(1, epochs // 4))
    if name == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=max(1, epochs // 9), max_resource=epochs)
    return optuna.pruners.NopPruner()


def open_study(
    url: str, name: str, *, maximise: bool, seed: int, pruner: optuna.pruners.BasePruner, identity: Mapping[str, Any]
) -> Study:
    """Open a study, or start it.

    Args:
        url: Where it is kept, ``sqlite:///FILE`` or the address of a server.
        name: Its name there.
        maximise: Whether larger values are better.
        seed: Seed of what is drawn.
        pruner: What gives up trials.
        identity: What all trials must have in common, as JSON types: what :func:`.started.started_with` says,
            and the objective.

    Raises:
        UsageError: The storage cannot be used, or its study of that name searches for something else.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with storage_errors(url, opening=True), warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        lite = url.startswith("sqlite")
        storage = optuna.storages.RDBStorage(
            url,
            engine_kwargs={"connect_args": {"timeout": 60}} if lite else {"pool_pre_ping": True},
            heartbeat_interval=HEARTBEAT_SECONDS,
            grace_period=GRACE_SECONDS,
            heartbeat_stale_trial_callback=optuna.storages.RetryHeartbeatStaleTrialCallback(max_retry=REPEATS),
        )
        study = optuna.create_study(
            storage=storage,
            study_name=name,
            sampler=TrialSeededSampler(seed),
            pruner=pruner,
            direction="maximize" if maximise else "minimize",
            load_if_exists=True,
        )
        known = study.user_attrs.get(_IDENTITY)
        if known is None:
            study.set_user_attr(_IDENTITY, dict(identity))
    if known is not None:
        _same(known, identity, name)
    return study


def _same(known: Mapping[str, Any], identity: Mapping[str, Any], name: str) -> None:
    # Studies from before a fact was kept go on without it, and what their recipes did not know gets its default.
    if "recipe" in known and "recipe" in identity:
        known = {**known, "recipe": recipe_tree(kept_recipe(dict(known["recipe"]), name))}
    facts = sorted(key for key in identity if known.get(key, identity[key]) != identity[key])
    other = [_WORDS.get(key, key) for key in facts]
    if other:
        raise UsageError(
            f"The study {name!r} was started with another {' and another '.join(other)}.",
            remedy="Use the same options, or start a new study with --name.",
        )


@contextmanager
def storage_errors(url: str, *, opening: bool = False) -> Iterator[None]:
    """Turn what a storage says into a UsageError that does not show a password.

    Args:
        url: Address of the storage.
        opening: It is opened here, where a wrong address or a missing driver shows as an error of any library.
    """
    known: tuple[type[Exception], ...] = (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError)
    known += (ImportError, ValueError) if opening else ()
    try:
        yield
    except known as error:
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise UsageError(
            f"The storage {public_url(url)} cannot be used: {reason}.",
            remedy="Give sqlite:///FILE, or the address of a database whose driver is installed.",
        ) from error


def public_url(url: str) -> str:
    """An address without its password."""
    try:
        return sqlalchemy.engine.make_url(url).render_as_string(hide_password=True)
    except sqlalchemy.exc.ArgumentError:
        return "given"


def count(study: Study, *states: TrialState) -> int:
    """Number of trials in one of some states."""
    return len(study.get_trials(deepcopy=False, states=states))


def search(study: Study, plan: Plan, objective: Objective, follow: Callable[[FrozenTrial], None]) -> None:
    """Run trials until the study has as many as planned; several workers may do so together.

    Args:
        study: The study.
        plan: What to do.
        objective: Trains with the values drawn, and gives the figure to judge by. ``optuna.TrialPruned`` gives a trial
            up, a TrainingError says that these values cannot be trained with.
        follow: Called with every trial that this worker has ended.

    Raises:
        TrainingError: Several trials in a row could not be trained.
        KeyboardInterrupt: Somebody stopped it; the trial that was running will be repeated.
    """
    end = None if plan.timeout is None else time.monotonic() + plan.timeout
    failed: list[TrainingError] = []

    def attempt(trial: Trial) -> float:
        _say_alive(trial)
        values = draw_values(trial, plan.space)
        try:
            figure = objective(trial, values)
        except TrainingError as error:
            trial.set_user_attr("error", str(error))
            failed.append(error)
            raise
        except optuna.TrialPruned:
            failed.clear()
            raise
        except KeyboardInterrupt:
            study.enqueue_trial(trial.params, user_attrs={"repeats": trial.number})
            raise
        failed.clear()
        return figure

    while count(study, *FINISHED) < plan.trials and not (end is not None and time.monotonic() >= end):
        if count(study, *FINISHED, TrialState.RUNNING) >= plan.trials:
            _wait(study)
            continue
        with _told_elsewhere(study):
            study.optimize(attempt, n_trials=1, catch=(TrainingError,), callbacks=[lambda _, trial: follow(trial)])
        if len(failed) >= FAILURES:
            raise failed[-1]


def _say_alive(trial: Trial) -> None:
    """The first word of a worker, before anything else is done.

    Its own thread may say it too late: a worker that was killed before would have left a trial that nobody takes for
    dead, and the others would wait for it for ever.
    """
    if isinstance(trial.storage, BaseHeartbeat):
        trial.storage.record_heartbeat(trial._trial_id)  # noqa: SLF001 - a trial has no other name in its storage


@contextmanager
def _told_elsewhere(study: Study) -> Iterator[None]:
    """Two workers that ask at the same instant can be given the same trial; the one that ends it second has no say."""
    before = count(study, *FINISHED)
    try:
        yield
    except ValueError as error:
        if "Cannot tell" not in str(error) or count(study, *FINISHED) == before:
            raise


def _wait(study: Study) -> None:
    """The last trials run in other workers: wait, and notice when one of them dies."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        optuna.storages.fail_stale_trials(study)
    time.sleep(min(2.0, HEARTBEAT_SECONDS))


def best_first(study: Study) -> list[FrozenTrial]:
    """Completed trials, the best first; of equals the earlier."""
    sign = -1 if study.direction == StudyDirection.MAXIMIZE else 1
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return sorted(done, key=lambda trial: (sign * _value(trial), trial.number))


def _value(trial: FrozenTrial) -> float:
    assert trial.value is not None
    return trial.value
