"""What ``edgebrain evaluate`` does."""

from __future__ import annotations

import json
import shlex
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from edgebrain.cli.progress import progress
from edgebrain.errors import EXIT_OK, EXIT_SOME_FAILED
from edgebrain.evaluation.measure import Evaluation
from edgebrain.evaluation.run import evaluate_samples
from edgebrain.labelled import read_labelled

if TYPE_CHECKING:
    from edgebrain.cli.requests import ModelRequest


def run_evaluate(
    data: Path,
    split: str | None,
    model: ModelRequest,
    *,
    unique: bool,
    batch_size: int,
    report: Path | None,
    as_json: bool,
) -> int:
    """Classify labelled scans, measure, print and report.

    Returns:
        EXIT_OK, or EXIT_SOME_FAILED when a scan could not be used.

    Raises:
        EdgebrainError: The data, the model or the report folder cannot be used, or matplotlib is missing for a report;
            all of them are tried before the first scan.
    """
    with closing(model.load()) as classifier:
        samples = read_labelled(data, split=split, labels=classifier.bundle.manifest.labels)
        if unique:
            samples = [sample for sample in samples if not sample.copy_of]
        if report is not None:
            from edgebrain.report.write import check_report

            check_report(report)  # not after an hour of scans
        with progress(samples, "evaluating") as shown:
            evaluation = evaluate_samples(
                classifier, samples, batch_size=batch_size, follow=shown.count, complain=_complain
            )
        title = f"{classifier.model.id} {classifier.model.version} ({classifier.model.precision}) on {data}"
    if as_json:
        sys.stdout.write(json.dumps(evaluation.to_dict(), indent=2) + "\n")
    else:
        _print(evaluation, title)
    if report is not None:
        from edgebrain.report.write import write_report

        page = write_report(evaluation, report, title=title, command=shlex.join(["edgebrain", *sys.argv[1:]]))
        sys.stderr.write(f"report: {page}\n")
    return EXIT_SOME_FAILED if evaluation.n_failed else EXIT_OK


def _complain(message: str) -> None:
    sys.stderr.write(f"{message}\n")


def _print(evaluation: Evaluation, title: str) -> None:
    from rich.console import Console

    from edgebrain.report.write import print_summary

    console = Console()
    console.print(title, markup=False)
    print_summary(evaluation, console)
