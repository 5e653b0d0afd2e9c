"""What ``edgebrain compare`` does."""

from __future__ import annotations

import importlib
import importlib.util
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgebrain.asked import as_asked
from edgebrain.cli.progress import progress
from edgebrain.cli.requests import ModelRequest
from edgebrain.errors import EXIT_OK, UsageError, printable
from edgebrain.evaluation.comparison import (
    Comparison,
    Entry,
    compare,
    evaluate_answers,
    figures_from,
    scans_digest,
)
from edgebrain.labelled import read_labelled
from edgebrain.manifest import MANIFEST

MODEL, SPLITS = "model.safetensors", "splits.csv"
_HALF = "train"


@dataclass(frozen=True)
class CompareRequest:
    """What was asked for; the fields are the options of the command."""

    paths: tuple[Path, ...]
    output: Path | None = None
    splits: Path | None = None
    allow_different: bool = False
    trained_only: bool = False
    threads: int | None = None


def run_compare(request: CompareRequest) -> int:
    """Measure models and show them in one table.

    Returns:
        EXIT_OK.

    Raises:
        EdgebrainError: A model or its scans cannot be used, or models were tested on other scans.
    """
    found = [folder for path in request.paths for folder in _models(path)]
    folders = [folder for folder in dict.fromkeys(found) if not _of_episodes(folder)]
    if not folders:
        raise UsageError("There is nothing to compare.", remedy="Meta-learned runs are measured by: edgebrain fewshot")
    runs = [folder for folder in folders if (folder / MODEL).is_file()]
    if request.output is not None:
        from edgebrain.report.write import check_report

        check_report(request.output)  # not after an hour of scans
    entries: list[Entry] = []
    with progress(sorted(folders, key=lambda folder: folder not in runs), "models") as shown:
        for folder in shown.items:
            one = _run(folder, request) if folder in runs else _bundle(folder, entries, request)
            entries.extend(shown.count([one]))
    if not request.trained_only:
        entries += _not_trained({entry.name for entry in entries if entry.kind == "run"}, request.splits, runs)
    comparison = compare(entries, allow_different=request.allow_different)
    _print(comparison)
    if request.output is not None:
        from edgebrain.report.comparison import write_comparison

        command = shlex.join(["edgebrain", *sys.argv[1:]])
        sys.stderr.write(f"report: {write_comparison(comparison, request.output, command=command)}\n")
    return EXIT_OK


def _models(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        raise UsageError(f"{path} is no folder.", remedy="Name a run, a bundle, or a folder that holds some.")
    kinds = (MODEL, MANIFEST)
    if any((path / name).is_file() for name in kinds):
        yield path
        return
    below = sorted(child for child in path.iterdir() if any((child / name).is_file() for name in kinds))
    if not below:
        raise UsageError(
            f"{path} holds no finished run ({MODEL}) and no bundle ({MANIFEST}).",
            remedy="A run that was stopped goes on with 'edgebrain train RECIPE --output DIR --resume'.",
        )
    yield from below


def _of_episodes(folder: Path) -> bool:
    """Whether a folder is a meta-learned run, whose figures are of other tasks; says so."""
    if not (folder / MODEL).is_file() or not _trains():
        return False
    _training("commands").require_training()
    if not _training("assess").is_meta_run(folder):
        return False
    sys.stderr.write(f"left out: {printable(str(folder))} is meta-learned; it is measured by: edgebrain fewshot\n")
    return True


def _run(folder: Path, request: CompareRequest) -> Entry:
    if not _trains():
        raise UsageError(f"{folder} is a run, and this installation has no training half.", remedy="Name bundles.")
    _training("commands").require_training()
    answers: Any = _training("assess").assess_run(folder, threads=request.threads)
    recipe, facts = answers.recipe, answers.facts
    evaluation = evaluate_answers(
        recipe.data.labels,
        answers.negative,
        answers.samples,
        answers.probabilities,
        failed=len(answers.tested) - len(answers.samples),
    )
    best = f"best {facts['best_epoch'] + 1}, " if "best_epoch" in facts else ""
    return Entry(
        name=recipe.name,
        kind="run",
        place=str(folder),
        system=recipe.system,
        labels=tuple(recipe.data.labels),
        scans=len(answers.samples),
        test=scans_digest(answers.tested),
        figures=figures_from(evaluation),
        recall={row.label: row.recall for row in evaluation.per_class},
        parameters=facts.get("parameters"),
        seconds=facts.get("training_seconds"),
        epochs=f"{best}at most {recipe.trainer.epochs}",
        command=answers.command,
        notes=_notes(recipe.data.labels, len(answers.tested) - len(answers.samples)),
    )


def _bundle(folder: Path, before: Sequence[Entry], request: CompareRequest) -> Entry:
    from edgebrain.evaluation.run import evaluate_samples

    with closing(ModelRequest(str(folder), threads=request.threads).load()) as classifier:
        manifest = classifier.bundle.manifest
        # Splits of a run with other labels may say less of a scan, such as that there is some tumour.
        alike = [Path(e.place) / SPLITS for e in before if e.kind == "run" and set(e.labels) == set(manifest.labels)]
        splits = request.splits or next(iter(alike), None)
        if splits is None:
            raise UsageError(
                f"No run with the labels of {folder} says which scans to test it with.",
                remedy="Name them with --splits CSV.",
            )
        given = as_asked(read_labelled(splits, split="test", labels=manifest.labels), manifest.labels)
        samples = [s for s in given if not s.copy_of and s.label in manifest.labels]
        if not samples:
            raise UsageError(f"{splits} has no test scan with a label of {folder}.")
        evaluation = evaluate_samples(classifier, samples)
        precision = str(classifier.model.precision)
    return Entry(
        name=f"{manifest.id} {manifest.version} ({precision})",
        kind="bundle",
        place=str(folder),
        system="",
        labels=tuple(manifest.labels),
        scans=evaluation.n,
        test=scans_digest(samples),
        figures=figures_from(evaluation),
        recall={row.label: row.recall for row in evaluation.per_class},
        parameters=None,
        seconds=None,
        epochs="",
        command="",
        notes=_notes(manifest.labels, evaluation.n_failed),
    )


def _trains() -> bool:
    return importlib.util.find_spec(f"edgebrain.{_HALF}") is not None


def _training(module: str) -> Any:
    """A module of the half that may be missing; only the command line knows of it."""
    return importlib.import_module(f"edgebrain.{_HALF}.{module}")


def _notes(labels: Sequence[str], failed: int) -> tuple[str, ...]:
    notes = (", ".join(labels),)
    return (*notes, f"{failed} scans could not be used") if failed else notes


def _not_trained(trained: set[str], splits: Path | None, runs: Sequence[Path]) -> list[Entry]:
    """A row for every recipe that has no run; none where the training half is not installed."""
    if not _trains():
        return []
    config = _training("config")
    rows = []
    for name in config.recipe_names():
        if name in trained:
            continue
        recipe = config.load_recipe(name)
        if recipe.meta.order != "none":
            continue
        known = splits or (runs[0] / SPLITS if runs else Path(SPLITS))
        words = ["edgebrain", "train", name, "--splits", str(known), "--output", f"runs/{name}"]
        if config.goes_on(name):
            words += ["--set", "start=FILE", "--set", "distill.teacher=FILE"]
        rows.append(
            Entry(
                name=name,
                kind="recipe",
                place="",
                system=recipe.system,
                labels=tuple(recipe.data.labels),
                scans=0,
                test="",
                figures={},
                recall={},
                parameters=None,
                seconds=None,
                epochs=f"at most {recipe.trainer.epochs}",
                command=shlex.join(words),
                notes=(),
            )
        )
    return rows


def _print(comparison: Comparison) -> None:
    from rich.console import Console

    from edgebrain.report.comparison import recall_grid, short_grid
    from edgebrain.report.write import print_grids

    console = Console()
    print_grids([short_grid(comparison), recall_grid(comparison)], console)
    for row in comparison.rows:
        if not row.figures:
            console.print(f"not trained here: {row.command}", markup=False, highlight=False, soft_wrap=True)
    for note in comparison.notes:
        console.print(f"Note: {note}", markup=False, highlight=False, soft_wrap=True)
