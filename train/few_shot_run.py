"""Running the honest test: meta-train what each protocol allows, then the same episodes for every method."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from edgebrain.cpus import usable_cpus
from edgebrain.inner import Start
from edgebrain.intervals import Estimate
from edgebrain.labelled import ANY_TUMOR, NO_TUMOR, NOT_BRAIN_MRI, Sample
from edgebrain.types import Float32, InputSpec

from .config import Recipe
from .data import PreparedSet, digest, prepare_samples
from .episodes import Indices
from .few_shot import PUBLISHED, UNSEEN, Protocol, groups_of, protocols
from .few_shot_checks import chosen_protocols, given_run
from .heads import HeadConfig, meta_learn, standardise
from .judging import Solver, accuracy_of, head_solver, judge, recall_of
from .maml import FineTuning, Method, Prototypical, check_network, head_names
from .meta_fit import method_of, solver
from .meta_loop import Tasks, meta_train
from .meta_progress import Watch
from .models import Network, TrainedModel, build, load_model

LABELS = ("glioma", "meningioma", NO_TUMOR, "pituitary", ANY_TUMOR)
FINE_TUNING_RATES = (0.003, 0.01, 0.03, 0.1)
"""Tried on validation episodes; the best one is used, or the baseline would be a straw man."""
FINE_TUNING_STEPS = 20
_CHOOSING = 20
"""Validation episodes that choose."""


@dataclass(frozen=True)
class Plan:
    """What to run.

    Attributes:
        recipe: The MAML recipe: network, numbers and seed of what is trained here.
        shots: Numbers of support scans a class.
        queries: Query scans a class.
        episodes: Episodes of each figure.
        models: Trained models: networks whose embedding is judged, or meta-trained ones that need no new training.
        only: Names of protocols to run; all if empty.
        scratch: Meta-train the recipe's network; off leaves embeddings alone.
        threads: Threads of the tensor library.
    """

    recipe: Recipe
    shots: tuple[int, ...] = (1, 5, 10)
    queries: int = 15
    episodes: int = 600
    models: tuple[Path, ...] = ()
    only: tuple[str, ...] = ()
    scratch: bool = True
    threads: int | None = None


@dataclass(frozen=True)
class Row:
    """One figure: a method on the episodes of a protocol."""

    protocol: str
    model: str
    method: str
    shots: int
    episodes: int
    accuracy: Estimate
    recall: dict[str, float]
    trained_labels: tuple[str, ...]


def run_few_shot(plan: Plan, samples: Sequence[Sample]) -> list[Row]:
    """Run every protocol.

    Args:
        plan: What to run.
        samples: Labelled scans with splits.

    Returns:
        A row for each protocol, method and number of shots.

    Raises:
        TrainingError: The data serves no protocol, or a network cannot be meta-trained.
        UsageError: There is no protocol of a name, or a MAML run cannot stand in for what would be trained.
    """
    torch.set_num_threads(plan.threads or usable_cpus())
    models = [load_model(path) for path in plan.models]
    given = given_run(plan, models)
    wanted = [s for s in samples if s.label in LABELS and s.label != NOT_BRAIN_MRI]
    chosen_protocols(protocols(wanted), plan.only)  # before minutes of reading
    small = prepare_samples(wanted, LABELS, plan.recipe.input, None)
    chosen = chosen_protocols(protocols(small.samples), plan.only)
    plain = [(path, m) for path, m in zip(plan.models, models, strict=True) if m.recipe.meta.order == "none"]
    embedded = [_Embedded(path, m, small) for path, m in plain]
    _warn_of_other_data(plan.models, models, samples)
    bench = _Bench(plan, small, given)
    rows: list[Row] = []
    count = len(chosen) * len(plan.shots) * (3 * plan.scratch + 3 * len(embedded))
    with Watch(count * plan.episodes, "episodes", lines=False) as watch:
        for protocol in chosen:
            if plan.scratch:
                rows += bench.rows(protocol, bench.networks(protocol), plan.recipe.name, (), watch)
            for one in embedded:
                methods = one.methods(protocol, bench.groups, plan)
                rows += bench.rows(protocol, methods, one.name, one.trained.recipe.data.labels, watch)
    return rows


def _warn_of_other_data(paths: Sequence[Path], models: Sequence[TrainedModel], samples: Sequence[Sample]) -> None:
    """Say which models may have been trained on scans that judge them here."""
    for path, one in zip(paths, models, strict=True):
        if one.facts.get("data_sha256") != digest(samples, one.recipe.data.labels):
            sys.stderr.write(f"warning: {path} was made from other splits; it may know scans that judge it here\n")


SolverOf = Callable[[int], Solver]
"""A method for a number of shots."""


class _Bench:
    """Scans, and what was meta-trained on them so far."""

    def __init__(self, plan: Plan, prepared: PreparedSet, given: TrainedModel | None) -> None:
        self.plan = plan
        self.prepared = prepared
        self.groups = groups_of(prepared.samples)
        self.given = given
        self._trained: dict[str, dict[str, SolverOf]] = {}

    def rows(
        self, protocol: Protocol, methods: Mapping[str, SolverOf], model: str, labels: tuple[str, ...], watch: Watch
    ) -> Iterator[Row]:
        """Figures of some methods on one protocol's episodes."""
        plan = self.plan
        for name, solver_of in methods.items():
            for shots in plan.shots:
                test = protocol.sampler("test", self.groups, shots=shots, queries=plan.queries, seed=plan.recipe.seed)
                outcome = judge(solver_of(shots), test, plan.episodes, watch.step)
                recall = {label: recall_of(outcome, k) for k, label in enumerate(protocol.classes)}
                known = {label: round(value, 5) for label, value in recall.items() if value == value}  # noqa: PLR0124 - not nan
                accuracy = accuracy_of(outcome)
                yield Row(protocol.name, model, name, shots, plan.episodes, accuracy, known, labels)

    def networks(self, protocol: Protocol) -> dict[str, SolverOf]:
        """The recipe's network, trained in three ways on what the protocol allows."""
        if protocol.training not in self._trained:
            self._trained[protocol.training] = {
                "maml": self._maml(protocol),
                "prototypical": self._with(protocol, "prototypical", Prototypical()),
                "fine-tuning": self._fine_tuning(protocol),
            }
        return self._trained[protocol.training]

    def _maml(self, protocol: Protocol) -> SolverOf:
        given = self.given
        if given is not None and protocol.training == UNSEEN:
            solve = solver(given.net, method_of(given.recipe.meta, given.net), self.prepared)
            return lambda _: solve
        net = self._network(protocol)
        return self._with(protocol, "maml", method_of(self.plan.recipe.meta, net), net)

    def _with(self, protocol: Protocol, what: str, method: Method, net: Network | None = None) -> SolverOf:
        net = net or self._network(protocol)
        self._train(protocol, what, method, net)
        solve = solver(net, method, self.prepared)
        return lambda _: solve

    def _fine_tuning(self, protocol: Protocol) -> SolverOf:
        net = self._network(protocol)
        self._train(
            protocol, "plain training", FineTuning(FINE_TUNING_RATES[1], FINE_TUNING_STEPS, head_names(net)), net
        )
        chosen: dict[int, Solver] = {}

        def of(shots: int) -> Solver:
            if shots not in chosen:
                tries = [
                    solver(net, FineTuning(lr, FINE_TUNING_STEPS, head_names(net)), self.prepared)
                    for lr in FINE_TUNING_RATES
                ]
                chosen[shots] = self._best(protocol, tries, shots)
            return chosen[shots]

        return of

    def _best(self, protocol: Protocol, tries: Sequence[Solver], shots: int) -> Solver:
        val = protocol.sampler("val", self.groups, shots=shots, queries=self.plan.queries, seed=self.plan.recipe.seed)
        return max(tries, key=lambda one: float(judge(one, val, _CHOOSING).hits.mean()))

    def _network(self, protocol: Protocol) -> Network:
        """A fresh network with an output for every class of meta-training."""
        recipe = self.plan.recipe
        outputs = max(max(task) for task in protocol.train_tasks) + 1
        data = msgspec.structs.replace(recipe.data, labels=protocol.classes[:outputs])
        torch.manual_seed(recipe.seed)
        net = build(msgspec.structs.replace(recipe, data=data))
        check_network(net)
        return net

    def _train(self, protocol: Protocol, what: str, method: Method, net: Network) -> None:
        meta, seed = self.plan.recipe.meta, self.plan.recipe.seed
        train, val = (
            Tasks(
                self.prepared.images,
                protocol.sampler(part, self.groups, shots=meta.support, queries=meta.query, seed=seed),
            )
            for part in ("train", "val")
        )
        validation = [val.task(i) for i in range(meta.check_tasks)]
        with Watch(meta.iterations, f"{protocol.training}, {what}") as watch:
            meta_train(net, method, train, validation, meta, seed=seed, follow=watch.show)


class _Embedded:
    """Scans as a trained network sees them."""

    def __init__(self, path: Path, trained: TrainedModel, small: PreparedSet) -> None:
        self.name = f"{trained.recipe.name} ({path.parent.name})"
        self.trained = trained
        self.embedding = embeddings(trained, small.samples)

    def methods(self, protocol: Protocol, groups: Indices, plan: Plan) -> dict[str, SolverOf]:
        """What ``edgebrain adapt`` does from a meta-learned head, from prototypes and from nothing."""
        ways = len(protocol.train_tasks[0])
        rows = np.unique(np.concatenate(list(protocol.train.support.values())))
        base = standardise(self.embedding[rows], ways)
        features = base.features(self.embedding)
        config = HeadConfig()
        learned: dict[int, Start] = {}

        def head(shots: int) -> Solver:
            if shots not in learned:
                train, val = (
                    protocol.sampler(part, groups, shots=shots, queries=plan.queries, seed=plan.recipe.seed)
                    for part in ("train", "val")
                )
                learned[shots] = meta_learn(features, train, val, config, seed=plan.recipe.seed)
            return head_solver(features, learned[shots])

        def nothing(_: int) -> Solver:
            return head_solver(features, Start(ways, config.lr, 5 * config.steps, base.weight, base.bias))

        return {
            "meta-learned head": head,
            "prototypes": lambda _: head_solver(features, Start(ways, config.lr, 0)),
            "fine-tuned head": nothing,
        }


def embeddings(trained: TrainedModel, samples: Sequence[Sample], batch: int = 64) -> Float32:
    """Embeddings [N, D] of scans by a trained network, each scan read and run once.

    Raises:
        TrainingError: The network has no embedding.
    """
    spec: InputSpec = trained.recipe.input
    images = prepare_samples(samples, LABELS, spec, None).images
    parts = []
    with torch.inference_mode(), Watch(len(images), "embedding", lines=False) as watch:
        for i in range(0, len(images), batch):
            output: Any = trained.net(torch.from_numpy(images[i : i + batch, np.newaxis]))
            parts.append(output.embedding.float().numpy())
            for _ in range(len(parts[-1])):
                watch.step()
    return np.concatenate(parts)


def rows_tree(plan: Plan, rows: Sequence[Row]) -> dict[str, Any]:
    """The figures as plain JSON-able types."""
    return {
        "schema": 1,
        "recipe": plan.recipe.name,
        "meta": msgspec.to_builtins(plan.recipe.meta),
        "episodes": plan.episodes,
        "queries": plan.queries,
        "fine_tuning": {"rates": list(FINE_TUNING_RATES), "steps": FINE_TUNING_STEPS},
        "head": asdict(HeadConfig()),
        "published_protocol": PUBLISHED,
        "rows": [asdict(row) for row in rows],
    }
