"""Running the honest test: meta-train what each protocol allows, then the same episodes for every method."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import torch

from edgebrain.cpus import usable_cpus
from edgebrain.labelled import NOT_BRAIN_MRI, Sample

from .accelerator import say_device
from .data import digest, prepare_samples
from .dispatch import is_meta
from .few_shot import PUBLISHED, Protocol, protocols
from .few_shot_checks import chosen_protocols, given_run
from .few_shot_embedded import HEADS, LABELS, Embedded, names_of
from .few_shot_networks import BASELINE_LR, FINE_TUNING_RATES, METHODS, Networks
from .few_shot_tables import share
from .few_shot_work import Key, Plan, Row, Work
from .heads import HeadConfig
from .judging import Solver, accuracy_of, judge, recall_of
from .meta_progress import Course
from .models import TrainedModel, load_model
from .pace import Stage

SolverOf = Callable[[Protocol, str, int], Solver]
"""What solves the episodes of a protocol by a method, for a number of shots."""


class Found(NamedTuple):
    """What came out.

    Attributes:
        rows: A row for each protocol, method and number of shots.
        trainings: How long each meta-training took, and where it was best.
    """

    rows: list[Row]
    trainings: list[dict[str, Any]]


class _Job(NamedTuple):
    """A part of the work; ``run`` begins its stage itself."""

    stage: Stage
    run: Callable[[Course], None]


class _Entry(NamedTuple):
    """A model in the table."""

    name: str
    methods: tuple[str, ...]
    solver: SolverOf
    labels: tuple[str, ...]


def run_few_shot(plan: Plan, samples: Sequence[Sample], report: Path, *, resume: bool = False) -> Found:
    """Run every protocol.

    Args:
        plan: What to run.
        samples: Labelled scans with splits.
        report: Folder of the report; what is finished is kept there too, for a resume.
        resume: Go on with a test that was stopped there; nothing that it finished is done again.

    Raises:
        TrainingError: The data serves no protocol, or a network cannot be meta-trained.
        UsageError: There is no protocol of a name, a MAML run cannot stand in for what would be trained, a model is
            given twice, or there is nothing to go on with.
    """
    torch.set_num_threads(plan.threads or usable_cpus())
    models = [load_model(path) for path in plan.models]
    names = names_of(plan.models, [one.recipe.name for one in models])
    given = given_run(plan, models)
    wanted = [s for s in samples if s.label in LABELS and s.label != NOT_BRAIN_MRI]
    chosen_protocols(protocols(wanted), plan.only)  # before minutes of reading
    work = Work(report, plan, samples, resume=resume)
    small = prepare_samples(wanted, LABELS, plan.recipe.input, None)
    chosen = chosen_protocols(protocols(small.samples), plan.only)
    _warn_of_other_data(plan.models, models, samples)
    say_device()
    networks = Networks(plan, small, given, work)
    entries = [_Entry(plan.recipe.name, METHODS, networks.solver, ())] if plan.scratch else []
    for name, one in zip(names, models, strict=True):
        labels = one.recipe.data.labels
        missing = set(_keys(plan, chosen, name, HEADS)) - set(work.rows)
        if missing and not is_meta(one.recipe):
            seen = Embedded(one, small.samples, networks.groups, plan)
            entries.append(_Entry(name, HEADS, seen.solver, labels))
    jobs = list(_jobs(plan, chosen, entries, networks))
    with Course([job.stage for job in jobs]) as course:
        for job in jobs:
            job.run(course)
    wanted_keys = [
        key
        for protocol in chosen
        for name in (plan.recipe.name, *names)
        for key in _keys(plan, [protocol], name, (*METHODS, *HEADS))
    ]
    return Found([work.rows[key] for key in wanted_keys if key in work.rows], _trainings(chosen, work))


def _keys(plan: Plan, chosen: Sequence[Protocol], model: str, methods: Sequence[str]) -> list[Key]:
    return [(p.name, model, method, shots) for p in chosen for method in methods for shots in plan.shots]


def _jobs(plan: Plan, chosen: Sequence[Protocol], entries: Sequence[_Entry], networks: Networks) -> Iterator[_Job]:
    """All that is still to be done, in order: a training right before what is judged with it first."""
    trained: set[tuple[str, str]] = set()
    for protocol in chosen:
        for entry in entries:
            for method in entry.methods:
                todo = [
                    shots
                    for shots in plan.shots
                    if (protocol.name, entry.name, method, shots) not in networks.work.rows
                ]
                place = (protocol.training, method)
                if todo and method in METHODS and not networks.is_given(protocol, method) and place not in trained:
                    trained.add(place)
                    yield _training(plan, protocol, method, networks)
                for shots in todo:
                    yield _judging(networks, protocol, entry, method, shots)


def _training(plan: Plan, protocol: Protocol, method: str, networks: Networks) -> _Job:
    stage = Stage(f"training {method} for {protocol.training}", f"train {method}", plan.recipe.meta.iterations)
    return _Job(stage, lambda course: networks.train(protocol, method, course))


def _judging(networks: Networks, protocol: Protocol, entry: _Entry, method: str, shots: int) -> _Job:
    plan, work = networks.plan, networks.work
    stage = Stage(f"{protocol.name}, {entry.name}, {method}, {shots}-shot", f"judge {method} {shots}", plan.episodes)

    def run(course: Course) -> None:
        course.begin()
        sampler = protocol.sampler("test", networks.groups, shots=shots, queries=plan.queries, seed=plan.recipe.seed)
        outcome = judge(entry.solver(protocol, method, shots), sampler, plan.episodes, course.step)
        recall = {label: recall_of(outcome, k) for k, label in enumerate(protocol.classes)}
        known = {label: round(value, 5) for label, value in recall.items() if value == value}  # noqa: PLR0124 - not nan
        accuracy = accuracy_of(outcome)
        work.add(Row(protocol.name, entry.name, method, shots, plan.episodes, accuracy, known, entry.labels))
        course.tell(f"{share(accuracy)} % right")

    return _Job(stage, run)


def _trainings(chosen: Sequence[Protocol], work: Work) -> list[dict[str, Any]]:
    """Facts of the meta-trainings that the rows stand on."""
    found = []
    for training in dict.fromkeys(protocol.training for protocol in chosen):
        for method in METHODS:
            state = work.state(training, method)
            if state is not None:
                facts = {"iterations": state.iteration, "best_iteration": state.best_iteration}
                found.append({"training": training, "method": method, **facts, "seconds": round(state.seconds, 1)})
    return found


def _warn_of_other_data(paths: Sequence[Path], models: Sequence[TrainedModel], samples: Sequence[Sample]) -> None:
    """Say which models may have been trained on scans that judge them here."""
    for path, one in zip(paths, models, strict=True):
        if one.facts.get("data_sha256") != digest(samples, one.recipe.data.labels):
            sys.stderr.write(f"warning: {path} was made from other splits; it may know scans that judge it here\n")


def rows_tree(plan: Plan, found: Found) -> dict[str, Any]:
    """The figures as plain JSON-able types."""
    return {
        "schema": 1,
        "recipe": plan.recipe.name,
        "meta": msgspec.to_builtins(plan.recipe.meta),
        "baseline_lr": BASELINE_LR,
        "episodes": plan.episodes,
        "queries": plan.queries,
        "fine_tuning": {"rates": list(FINE_TUNING_RATES), "steps": plan.recipe.meta.test_steps},
        "head": asdict(HeadConfig()),
        "published_protocol": PUBLISHED,
        "trainings": found.trainings,
        "rows": [asdict(row) for row in found.rows],
    }
